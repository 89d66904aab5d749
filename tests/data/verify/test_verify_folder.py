"""What all labels of a dataset together show: `segkit data verify` on folders of images and masks."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from planted import image, labels
from scipy.io import savemat

from segkit.data.datasets.folder import folder
from segkit.data.faults import ZERO_255
from segkit.data.verify.verify import verify

COLORS = [[10, 20, 30], [200, 30, 90], [90, 180, 20], [60, 60, 250]]
NAMES = ["road", "sky", "tree", "car"]


@pytest.fixture
def root(tmp_path):
    """A folder dataset of four classes: 6, 3 and 3 images."""
    root, rng = tmp_path / "data", np.random.default_rng(0)
    for split, count in {"train": 6, "val": 3, "test": 3}.items():
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(image(rng)).save(root / split / "images" / f"{split}{index}.png")
            Image.fromarray(labels(rng, 4)).save(root / split / "labels" / f"{split}{index}.png")
    (root / "classes.yaml").write_text(
        "".join(f"- {name}: {color}\n" for name, color in zip(NAMES, COLORS, strict=True))
    )
    return root


def change(root, places, make):
    """Puts what `make` gives in place of labels."""
    for path in sorted(root.glob(places)):
        Image.fromarray(np.ascontiguousarray(make(np.asarray(Image.open(path))))).save(path)


@pytest.fixture
def found(verified, root):
    return lambda: verified(root, "configs/streets/fcn8s.yaml", f"data={{name: folder, root: {root}}}")


def void(ids):
    return np.where(np.arange(ids.shape[1]) < 40, 255, ids).astype(np.uint8)


def white(ids):
    return (ids % 2 * 255).astype(np.uint8)


@pytest.mark.parametrize(("changes", "code", "kinds"), [
    ({}, 0, {}),
    ({"*/labels/*.png": lambda ids: np.array(COLORS, np.uint8)[ids]}, 0, {}),  # RGB masks in the classes' colours
    ({"test/labels/*.png": void}, 0, {"more than half of a split is void": {"test": "62.5% of its pixels"}}),
    ({"train/labels/*.png": lambda ids: np.minimum(ids, 2), "val/labels/*.png": lambda ids: np.maximum(ids, 2)}, 0, {
        "classes without a pixel in train": {"train": "car"},
        "classes without a pixel in val or test": {"val": "road, sky"},
    }),
    ({"train/labels/*.png": np.ones_like}, 2, {"all training labels hold one and the same class": {"train": "sky"}}),
    ({"test/labels/*.png": np.ones_like}, 0, {"all labels of a split hold one and the same class": {"test": "sky"}}),
], ids=["sound", "RGB", "half void", "absent", "one class in train", "one class in test"])  # fmt: skip
def test_what_the_labels_of_a_split_show(found, root, changes, code, kinds):
    for places, make in changes.items():
        change(root, places, make)
    assert found() == (code, kinds)


@pytest.mark.parametrize(("places", "make", "code", "kinds"), [
    # outside of train, masks of 0 and 255 may be meant
    ("val/labels/*.png", white, 0, {
        "label holds 0 and 255 alone: a 0/255 mask?", "all labels of a split hold one and the same class",
    }),
    # and in train, where a label holds another class
    ("train/labels/train[0-4].png", white, 0, {"label holds 0 and 255 alone: a 0/255 mask?"}),
    ("*/labels/*.png", lambda ids: ids + np.uint8(1), 2, {"label ids begin at 1"}),
    # one class too many
    ("val/labels/val1.png", lambda ids: ids + np.uint8(1), 2, {"label ids that no class has"}),
    ("val/labels/*.png", lambda ids: np.full_like(ids, 255), 2, {
        "split without a labelled pixel", "label is void everywhere",
    }),
])  # fmt: skip
def test_kinds_of_faults_that_all_labels_show(found, root, places, make, code, kinds):
    change(root, places, make)
    found_code, found_kinds = found()
    assert (found_code, {*found_kinds}) == (code, kinds)


def test_masks_of_0_and_255_alone_are_recognised(found, root):
    change(root, "train/labels/*.png", white)
    code, kinds = found()
    assert code == 2
    masks = kinds.pop("0/255 masks: 255 means void, so only the first class would be learned")
    assert masks.keys() == {f"train/labels/train{index}.png" for index in range(6)}
    assert kinds == {"all training labels hold one and the same class": {"train": "road"}}


@pytest.mark.parametrize("other", [9, 77])
def test_ids_that_are_void_or_unknown_show_too_that_train_has_no_0_255_masks(found, root, other):
    (root / "classes.yaml").write_text((root / "classes.yaml").read_text() + "- ignored: 9\n")
    change(root, "train/labels/*.png", white)
    change(root, "train/labels/train4.png", lambda ids: np.minimum(ids, other))
    assert len(found()[1]["label holds 0 and 255 alone: a 0/255 mask?"]) == 5


def test_the_advice_about_0_255_masks_is_a_class_file_that_can_be_read(found, root):
    change(root, "*/labels/*.png", white)
    (root / "classes.yaml").write_text("".join(f"{entry}\n" for entry in re.findall("'(- .*?)'", ZERO_255.advice)))
    assert found() == (0, {})


def test_a_label_with_0_and_one_class_too_many_is_not_taken_for_ids_that_begin_at_1(found, root):
    change(root, "*/labels/*.png", lambda ids: ids + np.uint8(1))
    path = root / "train/labels/train3.png"
    ids = np.asarray(Image.open(path)).copy()
    ids[0, 0], ids[1, 0] = 0, 4
    Image.fromarray(ids).save(path)
    assert found()[1].keys() == {"label ids that no class has"}


def test_equal_images_whose_labels_have_the_same_pixels_elsewhere_are_a_conflict(found, root):
    shutil.copy(root / "train/images/train1.png", root / "train/images/train2.png")
    Image.fromarray(np.asarray(Image.open(root / "train/labels/train1.png"))[::-1]).save(
        root / "train/labels/train2.png"
    )
    assert found() == (2, {
        "equal images within a split": {"train/images/train2.png": "as train/images/train1.png"},
        "equal images with different labels": {"train/labels/train2.png": "unlike train/labels/train1.png"},
    })  # fmt: skip


def test_equal_images_whose_labels_are_one_class_each_are_a_conflict_where_it_differs(found, root):
    shutil.copy(root / "train/images/train1.png", root / "train/images/train2.png")
    for index in (1, 2):
        change(root, f"train/labels/train{index}.png", lambda ids, index=index: np.full_like(ids, index))
    assert "equal images with different labels" in found()[1]


def test_a_palette_is_compared_with_colours_that_were_chosen_alone(found, root):
    path = root / "train/labels/train0.png"
    indexed = Image.fromarray(np.asarray(Image.open(path)))
    indexed.putpalette([9, 9, 9] * 256)
    indexed.save(path)
    assert found()[1].keys() == {"palette of the label differs from the classes' colours"}
    (root / "classes.yaml").write_text("".join(f"- {name}\n" for name in NAMES))
    assert found() == (0, {})


def test_classes_that_share_a_colour_are_a_problem_where_labels_are_rgb(found, root):
    change(root, "train/labels/train0.png", lambda ids: np.array(COLORS, np.uint8)[ids])
    (root / "classes.yaml").write_text((root / "classes.yaml").read_text().replace(str(COLORS[1]), str(COLORS[0])))
    kinds = {
        "two classes share a colour, and labels are RGB": {
            "train/labels/train0.png": "[10, 20, 30] is 'road' and 'sky'"
        }
    }
    assert found() == (2, kinds)


def test_a_split_that_is_missing_or_empty_is_a_problem(found, root):
    shutil.rmtree(root / "val" / "labels")
    for path in (root / "test").rglob("*.png"):
        path.unlink()
    code, kinds = found()
    assert code == 2
    lists = kinds["list or folder of a split cannot be used"]
    assert lists["val"].startswith("val/labels does not exist")
    assert lists["test"].startswith("test/images holds no image")
    assert verify(folder(root=root), workers=1, progress=lambda _: None).splits.keys() == {"train"}


def test_test_images_that_are_the_val_images_are_no_copies(found, root):
    shutil.rmtree(root / "test")
    (root / "test").symlink_to("val")
    assert found() == (0, {"test is val": {"test": ""}})


def test_a_link_to_an_image_of_another_split_is_named_once(found, root):
    shutil.copy(root / "train/labels/train2.png", root / "val/labels/link.png")
    (root / "val/images/link.png").symlink_to(root / "train/images/train2.png")
    assert found() == (2, {"image in two splits": {"val/images/link.png": "in train and val"}})


def test_labels_in_matlab_files_are_verified_too(segkit, tmp_path):
    voc, sbd, rng = tmp_path / "VOC2012", tmp_path / "sbd", np.random.default_rng(0)
    for path in (
        voc / "JPEGImages",
        voc / "SegmentationClass",
        voc / "ImageSets/Segmentation",
        sbd / "img",
        sbd / "cls",
    ):
        path.mkdir(parents=True)
    masks = {"sound": labels(rng, 21), "wide": labels(rng, 21)[:, :40], "strange": np.full((48, 64), 77, np.uint8)}
    for name, mask in masks.items():
        Image.fromarray(image(rng)).save(sbd / "img" / f"{name}.jpg")
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": mask}})
    (sbd / "train.txt").write_text("\n".join(masks))
    Image.fromarray(image(rng)).save(voc / "JPEGImages/val.jpg")
    Image.fromarray(labels(rng, 21)).save(voc / "SegmentationClass/val.png")
    (voc / "ImageSets/Segmentation/val.txt").write_text("val")
    config = ["configs/voc/fcn8s.yaml", f"data={{name: voc, root: {voc}, sbd: {sbd}, train: sbd/train}}"]
    code, out, _ = segkit("data", "verify", *config, "--json")
    problems = {entry["title"]: entry["found"] for entry in json.loads(out)["entries"] if entry["level"] == "problem"}
    assert code == 2
    assert {kind: [each["place"] for each in found] for kind, found in problems.items()} == {
        "image and label differ in size": [f"{sbd}/img/wide.jpg"],
        "label ids that no class has": [f"{sbd}/cls/strange.mat"],
    }
