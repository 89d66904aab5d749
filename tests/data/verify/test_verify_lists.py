"""What lists show before a file is opened."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.data.classes import plain_classes
from segkit.data.dataset import Pair
from segkit.data.datasets.folder import folder
from segkit.data.layout import Layout, Listed
from segkit.data.verify import kinds
from segkit.data.verify.kinds import Fault
from segkit.data.verify.lists import see_lists, see_unlisted

CLASSES = plain_classes(["road", "sky"], np.zeros((2, 3), np.uint8))


def layout(train, val=("v",), test=("t",), **about):
    """Splits of images of these names; `x>y` has y's label."""
    splits = {
        split: Listed(
            Path(f"{split}.txt"), tuple(Pair(name, Path(f"{name[0]}.jpg"), Path(f"{name[-1]}.png")) for name in names)
        )
        for split, names in (("train", train), ("val", val), ("test", test))
    }
    return Layout(CLASSES, splits, **about)


def test_a_split_with_more_images_than_the_papers_is_told_like_one_with_fewer():
    sizes = {"train": 2, "val": 2, "test": 1}
    assert [*see_lists(layout("abc", sizes=sizes))] == [
        Fault(kinds.OTHER_SIZE, "train", "3 images, expected 2"), Fault(kinds.OTHER_SIZE, "val", "1 images, expected 2"),
    ]  # fmt: skip


def test_of_a_list_that_cannot_be_used_nothing_else_is_said():
    whole = layout("abc", sizes={"val": 9})
    broken = Layout(
        CLASSES, {**whole.splits, "val": Listed(Path("val.txt"), problems=("val.txt is empty",))}, sizes=whole.sizes
    )
    assert [*see_lists(broken)] == [Fault(kinds.LIST, "val", "val.txt is empty")]


@pytest.mark.parametrize(("others", "count"), [(1, 1), (2, 0)])
def test_a_label_of_another_name_is_told_where_nine_of_ten_have_their_images(others, count):
    names = [*("x>y", "z>w")[:others], *"abcdefghi"]
    assert len([*see_lists(layout(names))]) == count


def test_test_being_val_is_told():
    assert [*see_lists(layout("ab", "cd", "dc"))] == [Fault(kinds.TEST_IS_VAL, "test")]


def test_two_splits_that_share_most_images_are_one_finding():
    assert [*see_lists(layout("abcd", "bcd"))] == [
        Fault(kinds.IN_TWO_SPLITS, "val", "3 of its 3 images are in train too, the first is", "b.jpg")
    ]
    assert [*see_lists(layout("abcd", "bcxy"))] == [
        Fault(kinds.IN_TWO_SPLITS, f"{name}.jpg", "in train and val") for name in "bc"
    ]
    assert [*see_lists(layout("abcd", "a"))] == [Fault(kinds.IN_TWO_SPLITS, "a.jpg", "in train and val")]


@pytest.fixture
def root(tmp_path):
    """A folder with lists: images a to f, two in each split."""
    for kind, ending in (("images", "jpg"), ("labels", "png")):
        (tmp_path / kind).mkdir()
        for name in "abcdef":
            Image.new("L", (3, 2)).save(tmp_path / kind / f"{name}.{ending}")
    (tmp_path / "classes.yaml").write_text("[road, sky]")
    for split, names in {"train": "ab", "val": "cd", "test": "ef"}.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(names))
    return tmp_path


@pytest.mark.parametrize("ending", ["", ".jpg"])
def test_names_that_begin_with_images_are_explained(root, ending):
    (root / "train.txt").write_text(f"images/a{ending}\nimages/b{ending}\n")
    assert [*see_lists(folder(root=root))] == [
        Fault(kinds.LIST, "train", f"{root}/train.txt: names are relative to images/. Take 'images/' from each line.")
    ]
    (root / "train.txt").write_text(f"images/a{ending}\nimages/nowhere{ending}\n")
    assert [*see_lists(folder(root=root))] == []


def test_a_folder_with_unlisted_files_is_one_finding(root):
    assert [*see_unlisted(folder(root=root))] == []
    (root / "train.txt").write_text("a")
    (root / "val.txt").write_text("c")
    (root / "labels" / "d.png").unlink()
    assert [*see_unlisted(folder(root=root))] == [
        Fault(kinds.UNLISTED, f"{root}/images", "2 files, the first is", "b.jpg"),
        Fault(kinds.UNLISTED, f"{root}/labels", "1 file:", "b.png"),
    ]
