"""A folder of images and masks becomes one that can be trained on, by files that a user may edit."""

import numpy as np
import pytest
from PIL import Image

from segkit.data.datasets.folder import folder
from segkit.data.datasets.new_folder import start
from segkit.errors import InputError


@pytest.fixture
def root(tmp_path):
    """Twenty images, JPEG and PNG, of which two have no mask; masks hold what is asked for."""

    def make(mask):
        for kind in ("images", "labels"):
            (tmp_path / "own" / kind / "more").mkdir(parents=True)
        for index in range(20):
            name = f"more/{index:02d}" if index % 3 == 0 else f"{index:02d}"
            Image.new("RGB", (len(mask[0]), 2), (index, 0, 0)).save(
                tmp_path / "own" / "images" / f"{name}.{'jpg' if index % 2 else 'png'}"
            )
            if index not in (4, 5):
                Image.fromarray(np.array(mask, np.uint8).repeat(2, 0)).save(tmp_path / "own" / "labels" / f"{name}.png")
        return tmp_path / "own"

    return make


def begin(root, **options):
    return start(root, **{"val": 0.15, "test": 0.15, "seed": 0, **options})


def labels(root):
    return folder(root=root).checked("train")[0].labels[0].tolist()


def test_images_with_a_mask_are_shared_out_once_each(root):
    path = root([[0, 1, 2]])
    found = begin(path)
    assert found.sizes == {"train": 12, "val": 3, "test": 3}
    assert found.unlabelled == 2
    ids = [pair.id for split in ("train", "val", "test") for pair in folder(root=path).splits[split].pairs]
    assert len(ids) == len(set(ids)) == 18
    assert len(folder(root=path).checked("train")) == 12


def test_equal_seeds_give_equal_lists(root):
    path = root([[0, 1, 2]])
    texts = []
    for seed in (0, 0, 1):
        begin(path, seed=seed)
        texts.append((path / "val.txt").read_text())
        for split in ("train", "val", "test"):
            (path / f"{split}.txt").unlink()
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("mask", "entries", "expected"),
    [
        ([[0, 127, 255]], ("class 0: 0", "class 127: 127", "ignored: 255"), [0, 1, 255]),
        ([[0, 1, 2]], ("class 0", "class 1", "class 2"), [0, 1, 2]),
        ([[0, 1, 255]], ("class 0", "class 1"), [0, 1, 255]),
        ([[0, 255, 0]], ("class 0: 0", "class 255: 255"), [0, 1, 0]),
        ([[1, 2, 3]], ("class 1: 1", "class 2: 2", "class 3: 3"), [0, 1, 2]),
        ([[[9, 9, 9], [0, 0, 7], [9, 9, 9]]], ("class 0: [0, 0, 7]", "class 1: [9, 9, 9]"), [1, 0, 1]),
    ],
)
def test_the_class_file_holds_what_the_masks_hold(root, mask, entries, expected):
    path = root(mask)
    found = begin(path)
    assert (found.entries, labels(path)) == (entries, expected)
    assert found.white == expected.count(255) / len(expected)


def test_what_a_user_has_written_is_kept(root):
    path = root([[0, 1, 2]])
    (path / "classes.yaml").write_text("[sky, road, car]")
    begin(path)
    (path / "val.txt").write_text("07.jpg\n")
    found = begin(path)
    assert (found.classes, found.sizes) == (None, {})
    assert (path / "val.txt").read_text() == "07.jpg\n"
    assert (path / "classes.yaml").read_text() == "[sky, road, car]"


def test_what_cannot_be_started_is_refused_and_nothing_is_written(root, tmp_path, message):
    def refusal(path, **options):
        before = sorted(path.rglob("*"))
        with pytest.raises(InputError) as caught:
            begin(path, **options)
        assert sorted(path.rglob("*")) == before
        return str(caught.value)

    message(refusal(tmp_path), tmp_path / "images")
    noise = np.random.default_rng(0).integers(0, 256, (1, 300, 3))
    path = root(noise)
    message(refusal(path), 300)
    (path / "images" / "01.png").touch()
    assert "holds '01' with two endings" in refusal(path)
    (path / "images" / "01.png").rename(path / "images" / " new.png")
    message(refusal(path), " new.png")
    (path / "images" / " new.png").unlink()
    assert "leave no image for training" in refusal(path, val=0.5, test=0.5)
    grey = [[[0, 0, 0], [1, 1, 1], [2, 2, 2]]]
    for mask in (path / "labels").rglob("*.png"):
        Image.fromarray(np.array(grey, np.uint8)).save(mask)
    assert "ids in three equal channels" in refusal(path)
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path / "labels" / "01.png")
    assert "holds masks of ids and masks of colours; expected one kind" in refusal(path)
    (path / "val.txt").touch()
    assert "holds val.txt; expected train.txt, val.txt and test.txt, or none" in refusal(path)


@pytest.mark.parametrize("rgb", [False, True])
def test_masks_that_were_scaled_or_compressed_are_no_classes(root, rgb, message):
    row = np.full(4000, 200)
    row[:2000], row[-30:] = 0, np.arange(1, 31) * 5  # a blend of two classes at an edge
    with pytest.raises(InputError) as caught:
        begin(root([np.stack([row, row // 2, row], -1) if rgb else row]))
    message(caught.value, 32)


def test_rare_classes_in_order_are_classes(root):
    row = np.zeros(40000, np.uint8)
    row[:40] = np.arange(40)
    assert len(begin(root([row])).entries) == 40


def test_palette_masks_lend_the_classes_their_colours(root):
    path = root([[0, 1, 1]])
    for mask in (path / "labels").rglob("*.png"):
        image = Image.open(mask).convert("P")
        image.putpalette([9, 8, 7, 200, 100, 0])
        image.save(mask)
    assert begin(path).entries == ("class 0: [9, 8, 7]", "class 1: [200, 100, 0]")
    assert labels(path) == [0, 1, 1]


def test_masks_that_are_named_otherwise_are_shown(root, message):
    path = root([[0, 1]])
    for mask in (path / "labels").rglob("*.png"):
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    with pytest.raises(InputError) as caught:
        begin(path)
    message(caught.value, 20, "00_mask.png", "01_mask.png", "01.png")


def test_hidden_files_are_no_images(root):
    path = root([[0, 1]])
    (path / "images" / "._01.png").write_bytes(b"macOS")
    (path / "labels" / "._01.png").write_bytes(b"macOS")
    assert sum(begin(path).sizes.values()) == 18


def test_each_split_gets_an_image_however_small_its_share(root):
    assert begin(root([[0, 1]]), val=0.0, test=0.0).sizes == {"train": 16, "val": 1, "test": 1}
