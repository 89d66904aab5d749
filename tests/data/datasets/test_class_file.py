"""One small file says what labels stand for: names, colours, ids on disk, and what is ignored."""

import numpy as np
import pytest
from PIL import Image

from segkit.data.dataset import Pair, PairDataset
from segkit.data.datasets.class_file import read_classes
from segkit.errors import InputError

ENTRIES = (
    "[car]", "{car: [1, 2]}", "{car: [1, 2, 256]}", "{car: [1, 2, -1]}", "{car: [1, 2, 1.0]}", "{car: [064, 128, 0]}",
    "{car: [1, 2, [3]]}", "{car: red}", "{name: car, color: red}", "",
)  # fmt: skip


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


@pytest.mark.parametrize(("text", "ids", "classes"), [
    ("[road, sky]", [0, 1, 255], [0, 1, 255]),
    ("- road: 7\n- sky: 3\n", [7, 3, 255], [0, 1, 255]),
    ("- background: 0\n- cat: 255\n", [0, 255], [0, 1]),
    ("- ignored: 0\n- road: 1\n- sky: 2\n- ignored: 9\n", [0, 1, 2, 9, 255], [255, 0, 1, 255, 255]),
])  # fmt: skip
def test_ids_are_places_in_the_list_unless_they_are_given(labels_of, text, ids, classes):
    assert labels_of(text, [ids]) == [classes]


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
        ("", "list of 1 to 254"),
        ("road: [1, 2, 3]", "list of 1 to 254"),
        ("\n".join(f"- class {index}" for index in range(255)), "255 classes"),
        ("[road, sky, road]", "'road'"),
        ("- road: 7\n- sky", "'sky'"),
        ("- road: 7\n- sky: 7", "'id 7'"),
        ("- road\n- sky\n- ignored: 1", "'id 1'"),
        ("- road: 256\n- sky: 1", "entry 0 is {road: 256}"),
        ("- road: -1\n- sky: 1", "entry 0 is {road: -1}"),
        ("- road\n- sky\n- [tree\n", "line 4"),
        ("- ignored: 0", "0 classes"),
        *((f"- road\n- {entry}", f"entry 1 is {entry}") for entry in ENTRIES),
        (f"- road\n- [{'a' * 99}]", f"entry 1 is [{'a' * 76}..."),
    ],
    ids=str,
)
def test_what_does_not_fit_together_is_refused(tmp_path, text, named):
    found = refusal(tmp_path, text)
    assert found.startswith("classes.yaml")
    assert named in found


@pytest.mark.parametrize("content", [b"[" * 1200, b"\xff\xfe", b"\t- a", b"- &a [*a]\n- *b"])
def test_a_class_file_that_is_no_plain_yaml_is_refused(tmp_path, content):
    (tmp_path / "classes.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"classes.yaml cannot be read \(.*expected a YAML list of class names"):
        read_classes(tmp_path / "classes.yaml")


def test_a_missing_class_file_is_named(tmp_path):
    with pytest.raises(InputError, match="classes.yaml does not exist; expected a YAML list"):
        read_classes(tmp_path / "classes.yaml")


def test_names_are_text_as_written_and_colours_default_to_the_voc_colour_map(tmp_path):
    (tmp_path / "classes.yaml").write_text("[no, 7, 010, null, 2024-13-45, {road: [1, 2, 255]}]")
    classes = read_classes(tmp_path / "classes.yaml")
    assert classes.names == ("no", "7", "010", "null", "2024-13-45", "road")
    assert classes.palette.dtype == np.uint8
    assert classes.palette.tolist() == [
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [1, 2, 255],
    ]
    (tmp_path / "classes.yaml").write_text("\n".join(f"- class {index}" for index in range(254)))
    assert len(np.unique(read_classes(tmp_path / "classes.yaml").palette, axis=0)) == 254
