"""Tables of the command line: each number by hand."""

import numpy as np
import pytest
import yaml
from PIL import Image

from segkit.build import load_config
from segkit.data.datasets.road_classes import CLASS_NAMES
from segkit.diagnostics.printed_tables import BoundaryMeasures, class_weight_rows, convention_rows
from segkit.errors import InputError
from segkit.tensors import IGNORE


def test_images_of_void_only_and_no_images_at_all_have_no_boundary_and_no_accuracy():
    """Otherwise these tables are tested through `segkit evaluate`."""
    measures = BoundaryMeasures(3)
    assert [value for _, value in measures.rows()] == ["-"] * 15
    void = np.full((12, 16), IGNORE, np.uint8)
    measures.add("", np.zeros_like(void), void)
    assert [value for _, value in measures.rows()] == ["0.0", "0.0", "-", "0.0", *["-"] * 11]
    rows = convention_rows(np.zeros((2, 2), np.int64), ["segnet", "fcn"])[1]
    assert [row[:5] for row in rows] == [["segnet", "-", "0.0", "0.0", "2"], ["fcn", "-", "-", "-", "0"]]


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
