"""PASCAL VOC: palette labels, ignored borders, lists by name."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat
from scipy.sparse import coo_array

from segkit.data.datasets.voc import CLASS_NAMES, voc, voc_color
from segkit.data.files.images import read_labels
from segkit.errors import InputError
from segkit.tensors import IGNORE


@pytest.fixture
def tiny_voc(tmp_path):
    """Three images of different size, one of them in `val`; labels with a palette, and a border of 255."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name, (height, width) in {"2007_000032": (12, 20), "2007_000033": (14, 15), "2007_000039": (16, 10)}.items():
        Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
        labels = np.full((height, width), 15, np.uint8)
        labels[0] = IGNORE
        image = Image.fromarray(labels).convert("P")
        image.putdata(labels.ravel().tolist())
        image.putpalette([channel for index in range(256) for channel in voc_color(index)])
        image.save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("2007_000032\n2007_000033\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_000039\n")
    return root


def test_labels_are_palette_indices_and_borders_are_ignored(tiny_voc):
    dataset = voc(root=tiny_voc).checked("train")
    assert len(dataset) == 2
    sample = dataset[0]
    assert (sample.id, sample.image.shape, sample.labels.shape) == ("2007_000032", (12, 20, 3), (12, 20))
    assert set(np.unique(sample.labels)) == {15, IGNORE}
    assert dataset.class_names[15] == "person"
    assert dataset.palette[15].tolist() == [192, 128, 128]


def test_the_folder_above_is_found_too_and_the_test_split_is_val_unless_told_otherwise(tiny_voc):
    assert [voc(root=tiny_voc.parent).checked("test")[0].id] == ["2007_000039"]
    (tiny_voc / "ImageSets/Segmentation/held_out.txt").write_text("2007_000033\n")
    (tiny_voc / "ImageSets/Segmentation/train.txt").write_text("2007_000032\n")
    layout = voc(root=tiny_voc, train="voc2012/train", test="held_out")
    assert [sample.id for sample in layout.checked("test")] == ["2007_000033"]
    assert [pair.id for pair in layout.splits["train"].pairs] == ["2007_000032"]


def test_an_rgb_mask_in_vocs_colours_gives_the_same_labels(tiny_voc):
    before = voc(root=tiny_voc).checked("train")[0].labels
    path = tiny_voc / "SegmentationClass/2007_000032.png"
    Image.open(path).convert("RGB").save(path)
    np.testing.assert_array_equal(voc(root=tiny_voc).checked("train")[0].labels, before)


def test_the_colour_map_is_that_of_the_development_kit():
    assert [voc_color(index) for index in (0, 1, 2, 15, 20, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (192, 128, 128), (0, 64, 128), (224, 224, 192),
    ]  # fmt: skip
    assert len(CLASS_NAMES) == 21


LISTS, LABELS = "ImageSets/Segmentation", "SegmentationClass"


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda root: (root / LISTS / "val.txt").unlink(), f"{LISTS}/val.txt"),
        (lambda root: (root / LISTS / "val.txt").write_text(""), f"{LISTS}/val.txt"),
        (lambda root: (root / LABELS / "2007_000039.png").unlink(), f"{LABELS}/2007_000039.png"),
        (lambda root: (root / LISTS / "val.txt").write_text("a -1\n"), f"{LISTS}/val.txt:1: 'a -1'"),
        (lambda root: (root / LISTS / "val.txt").write_text("\n../x\n"), f"{LISTS}/val.txt:2: '../x'"),
        (lambda root: (root / LISTS / "val.txt").write_text("a\nb\na"), f"{LISTS}/val.txt:3"),
        (lambda root: (root / LISTS / "train.txt").write_text("2007_000039\n"), "JPEGImages/2007_000039.jpg"),
        (lambda root: root.rename(root.parent / "moved"), "data.root"),
        (lambda root: (root / "JPEGImages").rename(root / "Images"), "JPEGImages"),
    ],
    ids=["no list", "empty list", "no label", "two words", "no id", "twice", "two splits", "no root", "no images"],
)
def test_what_is_missing_is_named(tiny_voc, message, damage, named):
    damage(tiny_voc)
    with pytest.raises(InputError) as caught:
        voc(root=tiny_voc).checked("val")
    message(caught.value, named)


@pytest.fixture
def tiny_sbd(tmp_path):
    """SBD beside it: one image of VOC's train and one of its val among SBD's train, one of neither in each list."""
    root = tmp_path / "SBD"
    for folder in ("img", "cls"):
        (root / folder).mkdir(parents=True)
    lists = {"val": ["2008_000008"], "train_noval": ["2008_000007"]}
    lists["train"] = ["2007_000032", "2007_000039", "2008_000007"]
    for name in {id for ids in lists.values() for id in ids}:
        Image.fromarray(np.full((9, 11, 3), 60, np.uint8)).save(root / "img" / f"{name}.jpg")
        struct = {"Segmentation": np.full((9, 11), 4, np.uint8), "Boundaries": 0, "CategoriesPresent": 4}
        savemat(root / "cls" / f"{name}.mat", {"GTcls": struct})
    for name, ids in lists.items():
        (root / f"{name}.txt").write_text("".join(f"{id}\n" for id in ids))
    return root


def test_sbd_labels_come_from_matlab_files(tiny_voc, tiny_sbd):
    dataset = voc(root=tiny_voc, sbd=tiny_sbd, train="sbd/train_noval").checked("train")
    (sample,) = dataset
    assert (sample.id, sample.image.shape, np.unique(sample.labels).tolist()) == ("2008_000007", (9, 11, 3), [4])
    assert dataset.fingerprint() != voc(root=tiny_voc).checked("train").fingerprint()


def test_trainaug_is_vocs_train_and_what_sbd_adds_without_vocs_val(tiny_voc, tiny_sbd):
    (tiny_voc / "ImageSets/Segmentation/trainaug.txt").write_text("2007_000032\n")  # made by others: SBD goes before it
    (tiny_sbd / "val.txt").write_text("2008_000008\n2008_000007\n2008_000008\n")  # what it lists twice is one sample
    layout = voc(root=tiny_voc, sbd=tiny_sbd, train="trainaug")
    assert {pair.id: pair.labels.parent.name for pair in layout.checked("train").pairs} == {
        "2007_000032": "SegmentationClass", "2007_000033": "SegmentationClass",
        "2008_000007": "cls", "2008_000008": "cls",
    }  # fmt: skip
    assert layout.sizes == {"train": 10582, "val": 1449, "test": 1449}


def test_trainaug_may_come_as_a_list_and_a_folder_that_others_made(tiny_voc):
    (tiny_voc / "ImageSets/Segmentation/trainaug.txt").write_text("2007_000032\n2007_000033\n")
    (tiny_voc / "SegmentationClass").rename(tiny_voc / "SegmentationClassAug")
    layout = voc(root=tiny_voc, train="trainaug")
    assert {pair.labels.parent.name for pair in layout.checked("train").pairs} == {"SegmentationClassAug"}


def test_sbds_train_and_vocs_val_overlap_and_are_refused_together(tiny_voc, tiny_sbd, message):
    with pytest.raises(InputError) as caught:
        voc(root=tiny_voc, sbd=tiny_sbd, train="sbd/train").checked("train")
    message(caught.value, "2007_000039.jpg")


def test_seg11valid_is_the_736_images_that_fcn_is_scored_on(tiny_voc, message):
    pairs = voc(root=tiny_voc, val="seg11valid").splits["val"].pairs
    assert len(voc(root=tiny_voc, val="seg11valid").splits["test"].pairs) == 736
    ids = [pair.id for pair in pairs]
    assert len(ids) == len(set(ids)) == 736
    assert (ids[0], ids[-1]) == ("2007_000033", "2011_003271")
    assert ids == sorted(ids)
    with pytest.raises(InputError) as caught:
        voc(root=tiny_voc, val="seg11valid").checked("val")
    message(caught.value, 1469, "2007_000042.jpg")


def test_a_split_of_sbd_asks_for_its_folder(tiny_voc, tmp_path, message):
    for name in ("sbd/train", "trainaug"):
        with pytest.raises(InputError) as caught:
            voc(root=tiny_voc, train=name).checked("train")
        message(caught.value, "data.sbd")
    layout = voc(root=tiny_voc, sbd=tmp_path / "SBD", train="sbd/train")
    with pytest.raises(InputError) as caught:
        layout.checked("train")
    message(caught.value, "data.sbd", tmp_path / "SBD")
    assert len(layout.checked("val")) == 1


def test_sbd_is_found_in_the_folders_of_its_archive(tiny_voc, tiny_sbd, tmp_path):
    (tmp_path / "archive" / "benchmark_RELEASE").mkdir(parents=True)
    tiny_sbd.rename(tmp_path / "archive" / "benchmark_RELEASE" / "dataset")
    assert len(voc(root=tiny_voc, sbd=tmp_path / "archive", train="sbd/train_noval").checked("train")) == 1


@pytest.mark.parametrize("compressed", [True, False])
def test_matlab_files_are_read_as_scipy_reads_them(tmp_path, compressed):
    ids = np.random.default_rng(0).integers(0, 21, (37, 50), np.uint8)
    contours = np.empty((20, 1), object)
    contours[:, 0] = [coo_array(ids == index) for index in range(20)]
    path = tmp_path / "a.mat"
    struct = {"Boundaries": contours, "Segmentation": ids, "CategoriesPresent": np.array([[4.0, 7.0]])}
    savemat(path, {"other": 3, "GTcls": struct}, do_compression=compressed)
    found = read_labels(path)
    np.testing.assert_array_equal(found, ids)
    np.testing.assert_array_equal(found, loadmat(path)["GTcls"]["Segmentation"][0][0])


@pytest.mark.parametrize("damage", [b"", b"x" * 500, "truncated", "other", "no struct", "int16"])
def test_a_damaged_matlab_file_is_named(tiny_voc, tiny_sbd, damage):
    path = tiny_sbd / "cls" / "2008_000007.mat"
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        ids = np.zeros((9, 11), np.int16)
        contents = {"other": {"x": 1}, "no struct": {"GTcls": ids}, "int16": {"GTcls": {"Segmentation": ids}}}
        savemat(path, contents[damage])
    dataset = voc(root=tiny_voc, sbd=tiny_sbd, train="sbd/train_noval").unchecked("train")
    with pytest.raises(InputError, match="2008_000007.mat"):
        dataset.labels(0)
