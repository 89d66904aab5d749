"""What went wrong with ids and colours, told from labels that are nearly alike."""

import numpy as np
import pytest

from segkit.data.classes import Classes, plain_classes
from segkit.data.verify import kinds
from segkit.data.verify.masks import expected_ids, explain_colors, explain_ids

COLORS = np.array([[10, 20, 30], [200, 30, 90], [90, 180, 20], [60, 60, 250]], np.uint8)
CLASSES = plain_classes(["road", "sky", "tree", "car"], COLORS)


@pytest.mark.parametrize(
    ("step", "kind"), [(3, kinds.UNKNOWN_IDS), (4, kinds.STRETCHED_IDS), (80, kinds.STRETCHED_IDS)]
)
def test_ids_are_stretched_where_their_step_is_that_of_no_two_classes(step, kind):
    assert explain_ids(np.array([[0, step, 2 * step, 3 * step]], np.uint8), CLASSES)[0] is kind


@pytest.mark.parametrize(("away", "kind"), [(24, kinds.BLENDED_COLORS), (25, kinds.UNKNOWN_COLORS)])
def test_colours_are_blends_where_they_are_near_those_of_classes(away, kind):
    raw = np.array([[[200, 30, 90 + away - index] for index in range(10)]], np.uint8)
    raw[0, 1:, 2] = 90 + away
    raw[0, 1:, 0] += np.arange(9, dtype=np.uint8)
    assert explain_colors(raw, CLASSES)[0] is kind


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
    assert expected_ids(Classes(names, COLORS[: len(ids)], {id: index for index, id in enumerate(ids)}, ())) == words
