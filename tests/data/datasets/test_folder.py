"""A user's folders of images and labels, and the class file beside them."""

import shutil

import numpy as np
import pytest
from PIL import Image

from segkit.data.datasets.folder import folder
from segkit.errors import InputError


@pytest.fixture
def root(tmp_path):
    """Two training images and a class file."""
    for kind in ("images", "labels"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    for index, name in enumerate(("b.jpg", "a.png")):
        Image.new("RGB", (6, 4), (index, 0, 0)).save(tmp_path / "train" / "images" / name)
    ids = np.array([[0, 1, 255]], np.uint8).repeat(4, 0).repeat(2, 1)
    for name in ("a.png", "b.png"):
        Image.fromarray(ids).save(tmp_path / "train" / "labels" / name)
    (tmp_path / "train" / "images" / "notes.txt").write_text("left alone")
    (tmp_path / "train" / "labels" / "unused.png").write_text("left alone")
    (tmp_path / "classes.yaml").write_text("- road\n- sky\n")
    return tmp_path


def opened(root, split):
    return folder(root=root).checked(split)


def refusal(function, *arguments, **options):
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_images_and_labels_are_paired_by_name_in_order(root):
    dataset = folder(root=root).checked("train")
    assert [sample.id for sample in dataset] == ["a", "b"]
    assert dataset.class_names == ("road", "sky")
    assert dataset[0].image[0, 0].tolist() == [1, 0, 0]
    assert dataset[0].labels[0].tolist() == [0, 0, 1, 1, 255, 255]


def test_images_in_folders_below_are_samples_too(root):
    for kind in ("images", "labels"):
        (root / "train" / kind / "day 2").mkdir()
        shutil.copy(root / "train" / kind / "a.png", root / "train" / kind / "day 2" / "a.png")
    assert [sample.id for sample in folder(root=root).checked("train")] == ["a", "b", "day 2/a"]


def test_a_list_finds_names_without_their_ending_whatever_its_case(root):
    (root / "train" / "images" / "b.jpg").rename(root / "train" / "images" / "b.JPG")
    for kind in ("images", "labels"):
        (root / kind).symlink_to(root / "train" / kind)
    (root / "val.txt").write_text("b\na.png\n")
    shutil.rmtree(root / "test", ignore_errors=True)
    assert [pair.image.name for pair in folder(root=root).splits["val"].pairs] == ["b.JPG", "a.png"]


@pytest.mark.parametrize("line", [".", "..", "a\0b", "/etc/a.png", "../a.png"])
def test_a_line_that_is_no_name_is_malformed(root, line, message):
    (root / "val.txt").write_text(f"{line}\n")
    message(refusal(opened, root, "val"), f"{root}/val.txt", line)


def test_the_class_file_may_lie_elsewhere(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere") / "names.yaml"
    path.write_text("[one, two, three]")
    assert folder(root=root, classes=path).checked("train").class_names == ("one", "two", "three")


def test_a_missing_split_is_named(root, message):
    message(refusal(opened, root, "val"), f"{root}/val/images")
    (root / "val" / "images").mkdir(parents=True)
    message(refusal(opened, root, "val"), f"{root}/val/labels")
    (root / "val" / "labels").mkdir()
    message(refusal(opened, root, "val"), f"{root}/val/images")


def test_an_image_without_a_label_is_named(root):
    (root / "train" / "labels" / "b.png").unlink()
    assert refusal(opened, root, "train").startswith(f"{root}/train/labels/b.png: missing file. ")


def test_one_name_with_two_endings_is_refused(root, message):
    Image.new("RGB", (6, 4)).save(root / "train" / "images" / "a.jpeg")
    message(refusal(opened, root, "train"), f"{root}/train/images", "'a'")


def test_rgb_masks_are_read_through_the_class_file_and_the_colour_of_void(root):
    (root / "classes.yaml").write_text("- road: [10, 20, 30]\n- sky: [0, 0, 9]\n")
    first = folder(root=root).checked("train")
    colors = np.array([[[0, 0, 9], [10, 20, 30], [255, 255, 255]]], np.uint8).repeat(4, 0).repeat(2, 1)
    for name in ("a.png", "b.png"):
        Image.fromarray(colors).save(root / "train" / "labels" / name)
    assert "[255, 255, 255] (8 pixels)" in refusal(first.labels, 0)
    (root / "classes.yaml").write_text("- road: [10, 20, 30]\n- ignored: [255, 255, 255]\n- sky: [0, 0, 9]\n")
    assert folder(root=root).checked("train")[0].labels[0].tolist() == [1, 1, 0, 0, 255, 255]


def test_splits_that_lead_to_one_image_are_refused(root, message):
    (root / "val" / "labels").mkdir(parents=True)
    (root / "val" / "images").mkdir()
    (root / "val" / "images" / "c.png").symlink_to(root / "train" / "images" / "a.png")
    message(refusal(opened, root, "train"), f"{root}/val/images/c.png")


def test_equal_names_in_two_splits_are_two_images_and_test_may_be_val(root):
    shutil.copytree(root / "train", root / "val")
    (root / "test").symlink_to("val")
    assert [len(folder(root=root).checked(split)) for split in ("train", "val", "test")] == [2, 2, 2]
