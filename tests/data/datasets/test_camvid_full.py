"""CamVid at full resolution: 32 colours, grouped into 11 classes by a table, in the tutorial's splits."""

import numpy as np
import pytest
from PIL import Image

from segkit.data.datasets.camvid import camvid
from segkit.data.datasets.camvid_full import CLASSES, ORIGINAL, camvid_full
from segkit.data.datasets.road_classes import CLASS_NAMES
from segkit.errors import InputError

NAMES = [*ORIGINAL]
COLORS = np.array([color for color, _ in ORIGINAL.values()], np.uint8)
FIRST = {"train": "0001TP_006690", "val": "0016E5_07959", "test": "0001TP_008550"}


@pytest.fixture
def full(tmp_path):
    """All 701 names as links to one image of 8x10 with every class, and its labels, in the layout that is asked for."""
    ids = np.arange(80).reshape(8, 10).astype(np.uint8) % 32

    def make(images="images", labels="labels", ending="_P", rgb=False):
        root = tmp_path / "CamVid"
        for folder in (images, labels):
            (root / folder).mkdir(parents=True)
        Image.fromarray(np.arange(240, dtype=np.uint8).reshape(8, 10, 3)).save(tmp_path / "image.png")
        Image.fromarray(COLORS[ids] if rgb else ids).save(tmp_path / "labels.png")
        for split in ("train", "val", "test"):
            for pair in camvid_full(root=root).splits[split].pairs:
                (root / images / f"{pair.id}.png").symlink_to(tmp_path / "image.png")
                (root / labels / f"{pair.id}{ending}.png").symlink_to(tmp_path / "labels.png")
        return root

    return make


@pytest.mark.parametrize(
    "layout",
    [
        {"images": "images", "labels": "labels", "ending": "_P"},
        {"images": "701_StillsRaw_full", "labels": "LabeledApproved_full", "ending": "_L", "rgb": True},
        {"images": "train", "labels": "train_labels", "ending": "_L", "rgb": True},
    ],
)
def test_every_layout_that_is_about_gives_the_same_samples(full, layout):
    data = camvid_full(root=full(**layout))
    assert {split: len(data.checked(split)) for split in FIRST} == {"train": 367, "val": 101, "test": 233}
    assert {split: data.checked(split)[0].id for split in FIRST} == FIRST
    sample = data.checked("val")[0]
    assert sample.image.shape == (8, 10, 3)
    expected = [255 if NAMES[i % 32] == "Void" else CLASS_NAMES.index(ORIGINAL[NAMES[i % 32]][1]) for i in range(80)]
    assert sample.labels.ravel().tolist() == expected


def test_the_grouping_is_the_published_one():
    groups = {name: {n for n, (_, group) in ORIGINAL.items() if group == name} for name in CLASS_NAMES}
    assert groups == {
        "sky": {"Sky"},
        "building": {"Archway", "Bridge", "Building", "Tunnel", "Wall"},
        "pole": {"Column_Pole", "TrafficCone"},
        "road": {"LaneMkgsDriv", "LaneMkgsNonDriv", "Road"},
        "pavement": {"ParkingBlock", "RoadShoulder", "Sidewalk"},
        "tree": {"Tree", "VegetationMisc"},
        "sign": {"Misc_Text", "SignSymbol", "TrafficLight"},
        "fence": {"Fence"},
        "car": {"Car", "OtherMoving", "SUVPickupTruck", "Train", "Truck_Bus"},
        "pedestrian": {"Animal", "CartLuggagePram", "Child", "Pedestrian"},
        "bicyclist": {"Bicyclist", "MotorcycleScooter"},
    }
    assert len(ORIGINAL) == 32
    assert len({color for color, _ in ORIGINAL.values()}) == 32
    assert sorted(NAMES, key=str.lower) == NAMES


def test_all_31_classes_can_be_kept(full):
    data = camvid_full(root=full(), grouping="none")
    assert len(data.classes.names) == len(CLASSES["none"].palette) == 31
    labels = data.checked("train")[0].labels.ravel()
    assert [data.classes.names[label] if label != 255 else "Void" for label in labels[:32]] == NAMES


def test_half_the_size_is_the_mean_of_four_pixels_and_one_label_of_four(full):
    root = full()
    whole, half = camvid_full(root=root).checked("train")[0], camvid_full(root=root, halve=True).checked("train")[0]
    assert half.image.shape == (4, 5, 3)
    np.testing.assert_allclose(half.image, whole.image.reshape(4, 2, 5, 2, 3).mean((1, 3)), atol=0.5)
    np.testing.assert_array_equal(half.labels, whole.labels[1::2, 1::2])
    np.testing.assert_array_equal(camvid_full(root=root, halve=True).checked("train").labels(0), half.labels)
    assert half.labels.base is None  # a view would keep the whole
    prints = {camvid_full(root=root, halve=halve).checked("val").fingerprint() for halve in (True, False)}
    assert len(prints) == 2


def test_the_splits_are_those_of_the_tutorial(real_camvid, full):
    data, tutorial = camvid_full(root=full()), camvid(root=real_camvid)
    for split in FIRST:
        assert [pair.id for pair in data.splits[split].pairs] == [pair.id for pair in tutorial.splits[split].pairs]


def test_a_missing_image_is_named_where_it_was_expected(full):
    root = full()
    (root / "images" / "0001TP_006690.png").unlink()
    with pytest.raises(InputError, match="/images/0001TP_006690.png: missing file"):
        camvid_full(root=root).checked("train")
