"""Faults of lists before a file is opened, and how near is near."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from segkit.data import faults
from segkit.data.classes import plain_classes
from segkit.data.dataset import Pair
from segkit.data.datasets.folder import folder
from segkit.data.faults import Fault
from segkit.data.layout import Layout, Listed
from segkit.data.verify.sample import appearance
from segkit.data.verify.splits import list_faults, near_copies, unlisted_faults

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
    assert [*list_faults(layout("abc", sizes=sizes))] == [
        Fault(faults.OTHER_SIZE, "train", "3 images, expected 2"), Fault(faults.OTHER_SIZE, "val", "1 images, expected 2"),
    ]  # fmt: skip


def test_of_a_list_that_cannot_be_used_nothing_else_is_said():
    whole = layout("abc", sizes={"val": 9})
    broken = Layout(
        CLASSES, {**whole.splits, "val": Listed(Path("val.txt"), problems=("val.txt is empty",))}, sizes=whole.sizes
    )
    assert [*list_faults(broken)] == [Fault(faults.LIST, "val", "val.txt is empty")]


@pytest.mark.parametrize(("others", "count"), [(1, 1), (2, 0)])
def test_a_label_of_another_name_is_told_where_nine_of_ten_have_their_images(others, count):
    names = [*("x>y", "z>w")[:others], *"abcdefghi"]
    assert len([*list_faults(layout(names))]) == count


def test_test_being_val_is_told():
    assert [*list_faults(layout("ab", "cd", "dc"))] == [Fault(faults.TEST_IS_VAL, "test")]


def test_two_splits_that_share_most_images_are_one_finding():
    assert [*list_faults(layout("abcd", "bcd"))] == [
        Fault(faults.IN_TWO_SPLITS, "val", "3 of its 3 images are in train too, the first is", "b.jpg")
    ]
    assert [*list_faults(layout("abcd", "bcxy"))] == [
        Fault(faults.IN_TWO_SPLITS, f"{name}.jpg", "in train and val") for name in "bc"
    ]
    assert [*list_faults(layout("abcd", "a"))] == [Fault(faults.IN_TWO_SPLITS, "a.jpg", "in train and val")]


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


def test_a_folder_with_unlisted_files_is_one_finding(root):
    assert [*unlisted_faults(folder(root=root))] == []
    (root / "train.txt").write_text("a")
    (root / "val.txt").write_text("c")
    (root / "labels" / "d.png").unlink()
    assert [*unlisted_faults(folder(root=root))] == [
        Fault(faults.UNLISTED, f"{root}/images", "2 files, the first is", "b.jpg"),
        Fault(faults.UNLISTED, f"{root}/labels", "1 file:", "b.png"),
    ]


def test_the_hash_is_the_signs_about_the_median_without_the_mean_brightness():
    image = np.zeros((32, 32, 3), np.uint8)
    image[0, 0], image[1, 0] = 255, 120  # all low frequencies are positive, and the mean is the least of them
    low = dctn(image[..., 0].astype(np.float64), norm="ortho")[:8, :8].ravel()
    assert low[0] < np.median(low)
    expected = "".join("01"[int(value > np.sort(low[1:])[31] + 1e-4)] for value in low)  # that in the middle of 63
    assert f"{appearance(image):064b}" == expected
    assert expected.count("1") == 31


def test_up_to_6_of_64_bits_may_differ():
    ones, others = [0, (1 << 64) - 1], [0b111111, 0b1111111, (1 << 64) - 1, 0xFF << 20]
    assert [*near_copies(ones, others)] == [(0, 0, 6), (1, 2, 0)]
    assert [*near_copies([], others)] == []
