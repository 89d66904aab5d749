"""Files become samples with the right ids and colours, or one sentence that names the file."""

import pickle

import numpy as np
import pytest
from PIL import Image

from segkit.data import faults
from segkit.data.classes import plain_classes
from segkit.data.dataset import Pair, PairDataset
from segkit.data.faults import DataError, Fault

PALETTE = np.array([(10, 20, 30), (200, 100, 50), (7, 7, 7)], np.uint8)
CLASSES = ("road", "sky", "car")
IDS = np.array([[0, 1, 2, 255], [2, 2, 1, 0]], np.uint8)


@pytest.fixture
def files(tmp_path):
    """An image and its labels, 2x4 pixels."""
    pair = Pair("a", tmp_path / "a.png", tmp_path / "a_labels.png")
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3)).save(pair.image)
    Image.fromarray(IDS).save(pair.labels)
    return pair


def dataset(*pairs, palette=PALETTE, **options):
    return PairDataset(pairs, plain_classes(CLASSES, palette, **options))


def refused(function, *arguments):
    """Kind, place and detail of the fault."""
    with pytest.raises(DataError) as caught:
        function(*arguments)
    fault = caught.value.fault
    return fault.kind, fault.place, fault.detail


# --- samples ---


def test_a_sample_is_the_files_as_they_are(files):
    sample = dataset(files)[0]
    assert sample.id == "a"
    assert sample.image.dtype == sample.labels.dtype == np.uint8
    np.testing.assert_array_equal(sample.image, np.arange(24).reshape(2, 4, 3))
    np.testing.assert_array_equal(sample.labels, IDS)


# --- what is refused ---


def test_missing_files_are_named(files):
    files.labels.unlink()
    for read in (dataset(files).__getitem__, dataset(files).labels):
        assert refused(read, 0) == (faults.MISSING, str(files.labels), "")
    files.image.unlink()
    assert refused(dataset(files).__getitem__, 0) == (faults.MISSING, str(files.image), "")


@pytest.mark.parametrize(
    ("labels", "how"),
    [((90, 40), ": transposed"), ((20, 45), ": scaled by 0.5"), ((40, 80), ""), ((13, 30), ": scaled by 0.325")],
)
def test_how_sizes_differ_is_said(files, labels, how):
    Image.fromarray(np.zeros((40, 90, 3), np.uint8)).save(files.image)
    Image.fromarray(np.zeros(labels, np.uint8)).save(files.labels)
    detail = f"40x90 (height x width), its label {labels[0]}x{labels[1]}{how}"
    assert refused(dataset(files).__getitem__, 0) == (faults.SIZES_DIFFER, str(files.image), detail)


def test_ids_that_no_class_has_are_counted(files):
    Image.fromarray(np.array([[0, 3, 3, 255], [254, 2, 3, 0]], np.uint8)).save(files.labels)
    detail = "3 (3 pixels), 254 (1 pixels); expected 0..2, or 255 for void"
    assert refused(dataset(files).labels, 0) == (faults.UNKNOWN_IDS, str(files.labels), detail)


def test_an_error_says_the_first_fault_and_how_many_more_there_are(message):
    one, two, other = Fault(faults.EMPTY, "a.png"), Fault(faults.EMPTY, "b.png"), Fault(faults.DEEP, "c.png", "16 bits")
    start = f"a.png: empty file. {faults.EMPTY.advice}"
    assert str(DataError(one)) == start
    message(DataError(one, two), 1)
    message(DataError(one, two, two, other), 2, 1)
    message(DataError(other), "c.png", "16 bits")
    assert pickle.loads(pickle.dumps(DataError(one, other))).faults == (one, other)


# --- RGB masks ---


def save_colors(path, ids):
    """The mask `ids` [H, W] in the colours of the classes; 255 is black."""
    colors = np.zeros((256, 3), np.uint8)
    colors[:3] = PALETTE
    Image.fromarray(colors[ids]).save(path)


def test_a_colour_that_no_class_has_is_named_and_counted_even_if_it_is_near_one(files):
    save_colors(files.labels, IDS)
    colors = np.asarray(Image.open(files.labels)).copy()
    colors[1, 0] = (7, 7, 8)
    Image.fromarray(colors).save(files.labels)
    colors[0, :2] = (7, 7, 8)
    detail = "[0, 0, 0] (1 pixels), [7, 7, 8] (1 pixels)"
    assert refused(dataset(files).labels, 0) == (faults.UNKNOWN_COLORS, str(files.labels), detail)


def test_of_unknown_colours_the_five_most_frequent_are_listed(files, message):
    ramp = np.stack([np.arange(8).clip(max=6)] * 3, -1).astype(np.uint8) + 100
    Image.fromarray(ramp[None]).save(files.labels)
    message(refused(dataset(files).labels, 0)[2], "[106, 106, 106] (2 pixels), [100, 100, 100]", "2 more")


def test_an_rgb_mask_is_refused_where_two_classes_have_one_colour(files, message):
    same = PALETTE[[0, 1, 0]]
    np.testing.assert_array_equal(dataset(files, palette=same)[0].labels, IDS)  # ids need no colours
    save_colors(files.labels, IDS)
    detail = "[10, 20, 30] is 'car' and 'road'"
    assert refused(dataset(files, palette=same).labels, 0) == (faults.SHARED_COLOR, str(files.labels), detail)
    message(refused(dataset(files, void_color=(7, 7, 7)).labels, 0)[2], [7, 7, 7], "car", "ignored")


# --- the hash of a split ---


def test_the_fingerprint_follows_the_labels_and_not_the_images(files):
    before = dataset(files).fingerprint()
    assert before == dataset(files).fingerprint()
    Image.new("RGB", (4, 2)).save(files.image)
    assert dataset(files).fingerprint() == before
    changed = IDS.copy()
    changed[0, 0] = 1
    Image.fromarray(changed).save(files.labels)
    assert dataset(files).fingerprint() != before


def test_the_fingerprint_follows_how_labels_are_read(files):
    prints = {dataset(files).fingerprint(), dataset(files, void=2).fingerprint(), dataset(files, files).fingerprint()}
    renamed = PairDataset([files], plain_classes(("a", "b", "c"), PALETTE))
    assert len(prints | {renamed.fingerprint()}) == 4


def test_the_fingerprint_names_a_missing_label(files):
    files.labels.unlink()
    detail = "No such file or directory"
    assert refused(dataset(files).fingerprint) == (faults.UNREADABLE, str(files.labels), detail)


def test_the_fingerprint_follows_colours_where_masks_are_rgb_and_only_there(files):
    other = PALETTE[::-1]
    assert dataset(files).fingerprint() == dataset(files, palette=other).fingerprint()
    save_colors(files.labels, IDS)
    datasets = (dataset(files), dataset(files, palette=other), dataset(files, void_color=(0, 0, 0)))
    assert len({each.fingerprint() for each in datasets}) == 3
