"""CamVid's lists lead to its files, wherever they were written."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from segkit.data import faults
from segkit.data.datasets.camvid import camvid
from segkit.data.datasets.road_classes import CLASS_NAMES, PALETTE
from segkit.data.faults import DataError
from segkit.data.layout import Listed
from segkit.errors import InputError


def refused(root, split="train"):
    """Kind, place and detail of each fault, with paths below the root."""
    with pytest.raises(DataError) as caught:
        camvid(root=root).checked(split)
    return [
        (each.kind, *(text.replace(f"{root}/", "") for text in (each.place, f"{each.detail} {each.other}".strip())))
        for each in caught.value.faults
    ]


def test_every_split_of_the_list_is_there(tiny_camvid):
    assert [len(camvid(root=tiny_camvid).checked(split)) for split in ("train", "val", "test")] == [7, 3, 4]
    dataset = camvid(root=tiny_camvid).checked("val")
    assert [pair.id for pair in dataset.pairs] == ["val_0", "val_1", "val_2"]
    assert dataset.class_names == CLASS_NAMES
    np.testing.assert_array_equal(dataset.palette, PALETTE)


def test_label_11_is_ignored_and_so_is_black_in_rgb_masks(tiny_camvid):
    path = tiny_camvid / "trainannot" / "train_0.png"
    stored = np.asarray(Image.open(path))
    assert (stored == 11).any()
    for _ in range(2):
        found = camvid(root=tiny_camvid).checked("train")[0].labels
        np.testing.assert_array_equal(found, np.where(stored == 11, 255, stored))
        Image.fromarray(np.vstack([PALETTE, [[0, 0, 0]]]).astype(np.uint8)[stored]).save(path)


@pytest.mark.parametrize(
    "line",
    [
        "/SegNet/CamVid/train/train_0.png /SegNet/CamVid/trainannot/train_0.png",
        "/home/CamVid/old/CamVid/train/train_0.png /home/CamVid/old/CamVid/trainannot/train_0.png",
        "train/train_0.png trainannot/train_0.png",
        "./train/train_0.png   /trainannot/train_0.png",
        r"C:\SegNet\CamVid\train\train_0.png C:\SegNet\CamVid\trainannot\train_0.png",
    ],
)
def test_paths_of_other_machines_are_found_below_root(tiny_camvid, line):
    (tiny_camvid / "train.txt").write_text(line)
    (pair,) = camvid(root=tiny_camvid).checked("train").pairs
    assert pair.image == tiny_camvid / "train" / "train_0.png"
    assert pair.labels == tiny_camvid / "trainannot" / "train_0.png"


@pytest.mark.parametrize(
    "word", ["../secret.png", "/x/CamVid/../secret.png", "train/../../secret.png", r"..\secret.png"]
)
def test_no_path_leaves_root(tiny_camvid, word):
    Image.new("L", (4, 4)).save(tiny_camvid.parent / "secret.png")
    (tiny_camvid / "train.txt").write_text(f"{word} {word}")
    found = refused(tiny_camvid)
    assert [(kind, detail) for kind, _, detail in found] == [(faults.MISSING, "")] * 2
    assert not any(place.startswith(("/", "..")) for _, place, _ in found)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_blank_lines_and_windows_line_ends_are_fine(tiny_camvid, encoding):
    content = "train/train_0.png trainannot/train_0.png\n\n  \ntrain/train_1.png\ttrainannot/train_1.png\n\n"
    (tiny_camvid / "train.txt").write_bytes(content.replace("\n", "\r\n").encode(encoding))
    assert [sample.id for sample in camvid(root=tiny_camvid).checked("train")] == ["train_0", "train_1"]


@pytest.mark.parametrize("name", ["nowhere", "a" * 300, "a\0b"], ids=["nowhere", "long", "null"])
def test_a_missing_folder_is_named(tmp_path, name, message):
    root = tmp_path / name
    with pytest.raises(InputError) as caught:
        camvid(root=root)
    message(caught.value, root, "train.txt", "data.root")


def test_a_missing_list_is_named(tmp_path, message):
    ((kind, place, detail),) = refused(tmp_path, "val")
    assert (kind, place) == (faults.LIST, "val")
    message(detail, "val.txt")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "train.txt"),
        (b"\n \r\n", "train.txt"),
        (b"train/train_0.png trainannot/train_0.png\n\na b c\n", "train.txt:3: 'a b c'"),
        (b"\xff\xfe\x00\x01", "byte 0"),
    ],
    ids=["empty", "blank", "three words", "no UTF-8"],
)
def test_a_list_that_cannot_be_used_is_refused(tiny_camvid, message, content, named):
    (tiny_camvid / "train.txt").write_bytes(content)
    ((kind, place, detail),) = refused(tiny_camvid)
    assert (kind, place) == (faults.LIST, "train")
    message(detail, named)


def test_an_image_that_is_listed_twice_is_refused_with_both_lines(tiny_camvid):
    with (tiny_camvid / "train.txt").open("a") as listing:
        listing.write("\ntrain/train_2.png trainannot/train_2.png\n")
    assert refused(tiny_camvid) == [(faults.NAMED_TWICE, "train.txt:9", "'train_2' is on line 3 too")]


@pytest.mark.parametrize(("one", "other"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_an_image_in_two_splits_is_refused_whichever_is_asked_for(tiny_camvid, one, other):
    line = f"/elsewhere/CamVid/{one}/{one}_1.png /elsewhere/CamVid/{one}annot/{one}_1.png\n"
    with (tiny_camvid / f"{other}.txt").open("a") as listing:
        listing.write(line)
    for split in ("train", "val", "test"):
        assert refused(tiny_camvid, split) == [(faults.IN_TWO_SPLITS, f"{one}/{one}_1.png", f"in {one} and {other}")]


def test_the_real_camvid_has_its_published_sizes(real_camvid):
    splits = {split: camvid(root=real_camvid).checked(split) for split in ("train", "val", "test")}
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 367, "val": 101, "test": 233}
    names = [pair.id for dataset in splits.values() for pair in dataset.pairs]
    assert len(set(names)) == 701
    for dataset in splits.values():
        for index in range(0, len(dataset), 60):
            sample = dataset[index]
            assert sample.image.shape == (360, 480, 3)
            assert sample.labels.shape == (360, 480)
            assert set(np.unique(sample.labels)) <= {*range(11), 255}


def test_the_edition_of_labels_is_told_by_checksum(real_camvid, tiny_camvid):
    layout = camvid(root=real_camvid)
    assert {layout.edition(split) for split in ("train", "val", "test")} == {
        "labels of December 2015, today's: SegNet's class weights follow from older ones"
    }
    assert camvid(root=tiny_camvid).edition("train") is None
    pairs = layout.splits["val"].pairs[::-1]  # the order of a list is no matter
    turned = replace(layout, splits={"val": Listed(real_camvid, pairs)})
    assert turned.edition("val") == layout.edition("val")


def test_the_first_editions_list_has_all_pairs_on_one_line(tiny_camvid):
    names = [f"/SegNet/CamVid/train/train_{i}.png /SegNet/CamVid/trainannot/train_{i}.png" for i in range(3)]
    (tiny_camvid / "train.txt").write_text(" ".join(names))
    assert [sample.id for sample in camvid(root=tiny_camvid).checked("train")] == ["train_0", "train_1", "train_2"]
