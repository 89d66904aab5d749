"""One small file says what labels stand for: names, colours, ids on disk, and what is ignored."""

import numpy as np
import pytest
from PIL import Image

from segkit.data.dataset import Pair, PairDataset
from segkit.data.datasets.class_file import read_classes
from segkit.errors import InputError


@pytest.fixture
def labels_of(tmp_path):
    """Labels that a mask stands for under a class file."""

    def read(text, mask):
        Image.fromarray(np.array(mask, np.uint8)).save(tmp_path / "mask.png")
        (tmp_path / "classes.yaml").write_text(text)
        pair = Pair("a", tmp_path / "mask.png", tmp_path / "mask.png")
        return PairDataset([pair], read_classes(tmp_path / "classes.yaml")).labels(0).tolist()

    return read


def refusal(tmp_path, text):
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_classes(tmp_path / "classes.yaml")
    return str(caught.value).removeprefix(f"{tmp_path}/")


def test_classes_have_their_places_as_ids_and_255_is_ignored(labels_of):
    assert labels_of("[road, sky]", [[0, 1, 255]]) == [[0, 1, 255]]


def test_an_id_on_disk_may_differ_from_the_place_in_the_list(labels_of):
    assert labels_of("- road: 7\n- sky: 3\n", [[7, 3, 255]]) == [[0, 1, 255]]


def test_masks_of_0_and_255_are_two_classes_where_the_file_says_so(labels_of):
    assert labels_of("- background: 0\n- cat: 255\n", [[0, 255]]) == [[0, 1]]


def test_ids_can_be_ignored(labels_of):
    assert labels_of("- ignored: 0\n- road: 1\n- sky: 2\n- ignored: 9\n", [[0, 1, 2, 9, 255]]) == [
        [255, 0, 1, 255, 255]
    ]


def test_an_ignored_entry_takes_no_place(labels_of):
    text = "- road: [1, 1, 1]\n- ignored: [0, 0, 0]\n- ignored: [9, 9, 9]\n- sky: [2, 2, 2]\n"
    assert labels_of(text, [[[1, 1, 1], [0, 0, 0], [9, 9, 9], [2, 2, 2]]]) == [[0, 255, 255, 1]]
    assert labels_of(text, [[0, 1, 255]]) == [[0, 1, 255]]


def test_an_id_that_no_class_has_is_refused(labels_of, message):
    with pytest.raises(InputError) as caught:
        labels_of("- road: 7\n- sky: 3\n", [[7, 0]])
    message(caught.value, 0, "(1 pixels)")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("- ignored\n- road", "entry 0 is ignored"),
        ("- road: 7\n- sky", "'sky'"),
        ("- road: 7\n- sky: 7", "'id 7'"),
        ("- road\n- sky\n- ignored: 1", "'id 1'"),
        ("- road: 256\n- sky: 1", "entry 0 is {road: 256}"),
        ("- road: -1\n- sky: 1", "entry 0 is {road: -1}"),
        ("- road\n- sky\n- [tree\n", "line 4"),
        ("- ignored: 0", "0 classes"),
    ],
    ids=["ignored", "no id", "id twice", "ignored id", "id too high", "id too low", "no YAML", "no class"],
)
def test_what_does_not_fit_together_is_refused(tmp_path, message, text, named):
    message(refusal(tmp_path, text), named)
