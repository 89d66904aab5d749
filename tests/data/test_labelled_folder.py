"""A folder of images and masks becomes one that can be trained on, by files that a user may edit."""

import numpy as np
import pytest
from PIL import Image

from segkit.data.folder import folder
from segkit.data.labelled_folder import start
from segkit.errors import InputError


@pytest.fixture
def root(tmp_path):
    """Twenty images, JPEG and PNG, of which two have no mask; masks hold what is asked for."""

    def make(mask):
        for kind in ("images", "labels"):
            (tmp_path / "own" / kind / "more").mkdir(parents=True)
        for index in range(20):
            name = f"more/{index:02d}" if index % 3 == 0 else f"{index:02d}"
            Image.new("RGB", (len(mask[0]), 2), (index, 0, 0)).save(tmp_path / "own" / "images" / f"{name}.{'jpg' if index % 2 else 'png'}")
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
        ([[0, 1, 2]], ("class 0", "class 1", "class 2"), [0, 1, 2]),
        ([[0, 1, 255]], ("class 0", "class 1"), [0, 1, 255]),
        ([[0, 255, 0]], ("class 0: 0", "class 255: 255"), [0, 1, 0]),
        ([[1, 2, 3]], ("class 1: 1", "class 2: 2", "class 3: 3"), [0, 1, 2]),
        ([[[9, 9, 9], [0, 0, 7], [9, 9, 9]]], ("class 0: [0, 0, 7]", "class 1: [9, 9, 9]"), [1, 0, 1]),
    ],
)
def test_the_class_file_holds_what_the_masks_hold(root, mask, entries, expected):
    path = root(mask)
    assert begin(path).entries == entries
    assert labels(path) == expected


def test_what_a_user_has_written_is_kept(root):
    path = root([[0, 1, 2]])
    (path / "classes.yaml").write_text("[sky, road, car]")
    begin(path)
    (path / "val.txt").write_text("07.jpg\n")
    found = begin(path)
    assert (found.classes, found.sizes) == (None, {})
    assert (path / "val.txt").read_text() == "07.jpg\n"
    assert (path / "classes.yaml").read_text() == "[sky, road, car]"


def test_what_cannot_be_started_is_refused_and_nothing_is_written(root, tmp_path):
    def refusal(path, **options):
        before = sorted(path.rglob("*"))
        with pytest.raises(InputError) as caught:
            begin(path, **options)
        assert sorted(path.rglob("*")) == before
        return str(caught.value)

    assert "images does not exist; expected" in refusal(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (1, 200, 3))
    assert "the masks hold more than 128 colours" in refusal(root(noise))


def test_lists_that_are_there_in_part_are_refused(root):
    path = root([[0, 1]])
    (path / "val.txt").write_text("")
    with pytest.raises(InputError, match="holds val.txt; expected train.txt, val.txt and test.txt, or none"):
        begin(path)


def test_shares_that_leave_nothing_to_train_on_are_refused(root):
    path = root([[0, 1]])
    with pytest.raises(InputError, match="leave no image for training"):
        begin(path, val=0.5, test=0.5)
    assert sorted(each.name for each in path.iterdir()) == ["images", "labels"]
