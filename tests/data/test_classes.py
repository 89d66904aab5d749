"""What went wrong with ids and colours, told from labels that are nearly alike."""

from pathlib import Path

import numpy as np
import pytest

from segkit.data import faults
from segkit.data.classes import Classes, LabelReader, plain_classes
from segkit.data.faults import DataError

COLORS = np.array([[10, 20, 30], [200, 30, 90], [90, 180, 20], [60, 60, 250]], np.uint8)
CLASSES = plain_classes(["road", "sky", "tree", "car"], COLORS)


def kind_of(raw):
    with pytest.raises(DataError) as caught:
        LabelReader(CLASSES)(raw, Path("a.png"))
    return caught.value.fault.kind


@pytest.mark.parametrize(
    ("step", "kind"), [(3, faults.UNKNOWN_IDS), (4, faults.STRETCHED_IDS), (80, faults.STRETCHED_IDS)]
)
def test_ids_are_stretched_where_their_step_is_that_of_no_two_classes(step, kind):
    assert kind_of(np.array([[0, step, 2 * step, 3 * step]], np.uint8)) == kind


def test_zero_alone_is_an_unknown_id_where_no_class_has_it(message):
    reader = LabelReader(Classes(("a",), COLORS[:1], {7: 0}, (((1, 2, 3), 0),)))
    with pytest.raises(DataError) as caught:
        reader(np.zeros((2, 2), np.uint8), Path("a.png"))
    message(caught.value.fault.detail, "0 (4 pixels)", 7)


@pytest.mark.parametrize(("away", "kind"), [(24, faults.BLENDED_COLORS), (25, faults.UNKNOWN_COLORS)])
def test_colours_are_blends_where_they_are_near_those_of_classes(away, kind):
    raw = np.array([[[200, 30, 90 + away - index] for index in range(10)]], np.uint8)
    raw[0, 1:, 2] = 90 + away
    raw[0, 1:, 0] += np.arange(9, dtype=np.uint8)
    assert kind_of(raw) == kind


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([255], "255"),
        ([0, 1], "0..1, or 255 for void"),
        ([0, 1, 2, 7, 20, 21, 33], "0..2, 7, 20..21, 33, or 255 for void"),
    ],
)
def test_expected_ids_are_ranges(ids, words):
    names = tuple(map(str, ids))
    classes = Classes(names, COLORS[: len(ids)], {id: index for index, id in enumerate(ids)}, ())
    assert classes.expected_ids == words
