"""Tables of the command line: each number by hand."""

import numpy as np
import pytest
import yaml
from PIL import Image

from segkit.build import load_config
from segkit.data.datasets.road_classes import CLASS_NAMES
from segkit.diagnostics.printed_tables import BoundaryMeasures, class_weight_rows, convention_rows
from segkit.errors import InputError
from segkit.metrics.conventions import CONVENTIONS
from segkit.tensors import IGNORE

NAMES = [
    "BF of SegNet's script: what is predicted in void is wrong",
    "BF, void left out",
    "BF, void left out, classes in the labels (SegNet's paper)",
    "BF, void left out, by distance alone",
    "boundary IoU",
    *(
        f"{score} within {width} pixels of a boundary"
        for width in (1, 2, 4, 8, 16)
        for score in ("global accuracy", "mean IoU")
    ),
]
VOID = np.full((120, 160), IGNORE, np.uint8)


def stripes(*ends):
    """120x160 pixels, a diagonal of 200: class ids, each up to a column."""
    row, start = np.zeros(160, np.uint8), 0
    for k, end in ends:
        row[start:end], start = k, end
    return row[None].repeat(120, 0)


# BF has a tolerance of 1.5 pixels, boundary IoU a band of 4.
# With column 78 wrong, both classes have boundaries in columns 77, 78 and 79 where the labels have 79.
THIN = stripes((0, 78), (1, 79), (0, 80), (1, 160)), stripes((0, 80), (1, 160))
# Right but for the last 40 columns, whose class no label has; void is between the classes.
VOID_BETWEEN = stripes((0, 80), (1, 120), (2, 160)), stripes((0, 40), (IGNORE, 80), (1, 160))


def measured(*pairs, classes=3):
    measures = BoundaryMeasures(classes)
    for predicted, labels in pairs:
        measures.add("", predicted, labels)
    rows = measures.rows()
    assert [name for name, _ in rows] == NAMES
    return [value for _, value in rows]


# --- boundaries ---


def test_boundary_measures_of_two_images_one_with_void():
    script, code, paper, distance, bands, *trimaps = measured(THIN, VOID_BETWEEN)
    # THIN, one to one: P 1/3, R 1: F1 1/2 of either class. By distance columns 78 and 79 match: P 2/3: F1 4/5.
    # VOID_BETWEEN: class 0 is right, class 1 has P 1/2 (columns 79 and 119), R 1: F1 2/3, class 2 is predicted alone:
    # 0. With void as a class that is not scored, class 0 ends in column 39, and column 79 of the prediction is wrong.
    assert script == "36.1"  # (1/2 + (0 + 2/3 + 0) / 3) / 2
    assert code == "52.8"  # (1/2 + (1 + 2/3 + 0) / 3) / 2
    assert paper == "66.7"  # (1/2 + (1 + 2/3) / 2) / 2
    assert distance == "67.8"  # (4/5 + (1 + 2/3 + 0) / 3) / 2
    # Bands of a rectangle of 120 x 80 have 120*80 - 112*72 = 1536 pixels; x 78: 1520; x 40: 1216; x 1: 120.
    # Class 0: 8 rows along the frame share columns 0..77 and 79, the others 0..3, 76, 77 and 79: 8*79 + 112*7 = 1416;
    # then 1216 of 1216. Class 1: 1536 of 1536 + 120; then 8 rows share columns 80..119, the others 80..83: 8*40 + 112*4
    # = 768 of 1536 + 1216 - 768.
    assert (
        bands == "50.6"
    )  # ((1416 + 1216) / (1536 + 1640 - 1416 + 1216) + (1536 + 768) / (1656 + 1984) + 0 / 1216) / 3
    # Only THIN has labelled pixels of two classes side by side. Column 78 is wrong among 2, 4, 8, 16 and 32 columns, if
    # it is among them.
    assert trimaps[::2] == ["100.0", "75.0", "87.5", "93.8", "96.9"]
    assert trimaps[1::2] == [
        "100.0",
        "58.3",
        "77.5",
        "88.2",
        "93.9",
    ]  # means of 1/2 and 2/3, 3/4 and 4/5, 7/8 and 8/9, 15/16 and 16/17


def test_an_image_of_void_only_scores_0_by_segnets_script_and_counts_nowhere_else():
    before, after = measured(THIN, VOID_BETWEEN), measured(THIN, VOID_BETWEEN, (THIN[0], VOID))
    assert (after[0], after[1], after[3]) == ("24.1", "35.2", "45.2")  # two thirds of what they were
    assert [after[2], *after[4:]] == [before[2], *before[4:]]


def test_images_of_void_only_have_no_boundary_to_measure():
    assert measured((THIN[0], VOID), (VOID, VOID)) == ["0.0", "0.0", "-", "0.0", *["-"] * 11]


def test_without_an_image_there_is_no_measure():
    assert measured() == ["-"] * 15


def test_images_may_differ_in_size():
    small = np.array([[0, 1]], np.uint8)
    assert measured((small, small), (THIN[1], THIN[1]), classes=2) == ["100.0"] * 15


# --- conventions ---


def test_conventions_differ_in_a_class_that_is_only_predicted_and_one_that_is_nowhere():
    # class 0: 6 of 10 right, 2 taken for class 1 and 2 for class 2, which no label has: IoU 6/10. Class 1: IoU 10/12.
    # Class 3 is nowhere
    matrix = np.array([[6, 2, 2, 0], [0, 10, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    columns, rows = convention_rows(matrix, CONVENTIONS)
    assert columns == [
        "convention",
        "global accuracy",
        "class average accuracy",
        "mean IoU",
        "classes averaged",
        "source",
    ]
    assert [row[:5] for row in rows] == [
        ["fcn", "80.0", "80.0", "47.8", "3"],  # (6/10 + 1) / 2; (6/10 + 10/12 + 0) / 3
        ["segnet", "80.0", "40.0", "35.8", "4"],  # both are over 4 classes
        ["voc", "80.0", "-", "-", "4"],
        ["detectron2", "80.0", "80.0", "71.7", "2"],  # (6/10 + 10/12) / 2
        ["paddleseg", "80.0", "-", "60.8", "4"],  # (6/10 + 10/12 + 0 + 1) / 4
    ]
    assert rows[1][5] == "alexgkendall/SegNet-Tutorial Scripts/compute_test_results.m"


def test_conventions_appear_in_the_order_that_is_asked_for():
    rows = convention_rows(np.eye(2, dtype=np.int64), ["segnet", "fcn"])[1]
    assert [row[:5] for row in rows] == [
        ["segnet", "100.0", "100.0", "100.0", "2"],
        ["fcn", "100.0", "100.0", "100.0", "2"],
    ]


def test_without_a_labelled_pixel_conventions_have_no_accuracy():
    rows = convention_rows(np.zeros((2, 2), np.int64), ["fcn", "segnet"])[1]
    assert [row[:5] for row in rows] == [["fcn", "-", "-", "-", "0"], ["segnet", "-", "0.0", "0.0", "2"]]


# --- class weights ---

# The first image has classes 0 and 1, the second 0, 2 and void
LABELS = [[[0, 0, 0, 1], [1, 1, 1, 1]], [[0, 2, 2, 2], [2, 2, IGNORE, IGNORE]]]
COUNTED = ["median over classes", "median incl. void", "void left out", "all images", "all images incl. void"]


@pytest.fixture
def table(segkit, tmp_path):
    """Columns and rows of the table for some label maps, every pixel enlarged, and class names."""

    def build(names, maps, *, enlarged=1, weights="none"):
        for index, ids in enumerate(maps):
            pixels = np.array(ids, np.uint8).repeat(enlarged, 0).repeat(enlarged, 1)
            for kind in ("images", "labels"):
                path = tmp_path / "train" / kind / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        (tmp_path / "classes.yaml").write_text(yaml.safe_dump(list(names)))
        changes = [f"data={{name: folder, root: {tmp_path}}}", f"loss.class_weights={weights}"]
        config, _ = load_config("configs/streets/fcn32s.yaml", changes)
        return class_weight_rows(config)

    return build


def test_class_weights_of_two_images(table):
    columns, rows = table("abc", LABELS)
    assert columns == ["class", "% of pixels", "this config", *COUNTED]
    # frequencies: 4/16, 5/8, 5/8, void 2/8; of labelled pixels 4/14, 5/8, 5/6; of all images 4/16, 5/16, 5/16, void
    # 2/16 medians: 5/8; with void (2/8 + 5/8) / 2; 5/8; 5/16; with void 4.5/16
    assert rows == [
        ["a", "25.00", "1.0000", "2.5000", "1.7500", "2.1875", "1.2500", "1.1250"],
        ["b", "31.25", "1.0000", "1.0000", "0.7000", "1.0000", "1.0000", "0.9000"],
        ["c", "31.25", "1.0000", "1.0000", "0.7000", "0.7500", "1.0000", "0.9000"],
        ["void", "12.50", *["-"] * 6],
        # (4a + 5b + 5c) / 14, the mean weight of a labelled pixel; 14 / 2 labelled pixels an image
        ["rate, weight_sum", "", "x1.000", "x1.429", "x1.000", "x1.250", "x1.071", "x0.964"],
        ["rate, batch", "", *["/7"] * 6],
    ]


def test_camvids_classes_have_the_published_weights_beside_the_counted_ones(table):
    columns, rows = table(CLASS_NAMES, LABELS, enlarged=200, weights="segnet_published")
    assert columns[2:] == ["this config", *COUNTED, "SegNet"]
    assert [row[0] for row in rows] == [*CLASS_NAMES, "void", "off SegNet's", "rate, weight_sum", "rate, batch"]
    assert rows[0] == ["sky", "25.00", "0.2595", "2.5000", "1.7500", "2.1875", "1.2500", "1.1250", "0.2595"]
    assert rows[3] == ["road", "0.00", "0.1417", *["0.0000"] * 5, "0.1417"]
    assert rows[11] == ["void", "12.50", *["-"] * 7]
    assert rows[12][2:] == ["0.00", *["9.64"] * 5, "0.00"]  # sign, which these labels lack
    # the first (4 * 0.2595 + 5 * 0.1826 + 5 * 4.5640) / 14
    assert rows[13][2:] == [f"x{mean}" for mean in ("1.769", "1.429", "1.000", "1.250", "1.071", "0.964", "1.769")]
    assert rows[14][2:] == ["/280k"] * 7  # 7 pixels, enlarged


@pytest.mark.parametrize(
    "names", [CLASS_NAMES[::-1], CLASS_NAMES[:-1], (*CLASS_NAMES, "dog")], ids=["reversed", "10", "12"]
)
def test_other_classes_have_no_published_weights(table, names):
    assert table(names, LABELS)[0][2:] == ["this config", *COUNTED]


def test_labels_without_void_have_none_in_the_median(table):
    _, rows = table("ab", LABELS[:1])
    assert rows == [
        # frequencies 3/8 and 5/8, their median 4/8
        ["a", "37.50", "1.0000", *["1.3333"] * 5],
        ["b", "62.50", "1.0000", *["0.8000"] * 5],
        ["void", "0.00", *["-"] * 6],
        ["rate, weight_sum", "", *["x1.000"] * 6],
        ["rate, batch", "", *["/8"] * 6],
    ]


def test_labels_of_void_only_have_no_weights(table):
    with pytest.raises(InputError, match="no labelled pixel in the training split"):
        table("ab", [[[IGNORE]]])
