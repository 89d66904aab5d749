"""A contact sheet shows every tile, and says which colour is which class."""

import numpy as np
import pytest

from segkit.errors import InputError
from segkit.viz.charts import png
from segkit.viz.contact_sheet import DARK, LIGHT, Row, Tile, contact_sheet, layer, swatches


def test_void_is_striped_and_padding_dotted_whatever_the_classes():
    labels = np.full((8, 24), 255, np.uint8)
    labels[:, :8] = 253  # the last id that 254 classes have
    made = layer(labels, np.arange(24) >= np.full((8, 1), 16))
    assert (made[:, :8] == 253).all()
    assert set(made[:, 8:].ravel()) == {DARK, LIGHT}
    assert (made[:, 8:16] == DARK).sum() == 32
    assert (made[:, 16:] == DARK).sum() < 32
    legend = [("a", 0), ("b", 1), ("void", DARK, LIGHT), ("padding", DARK, LIGHT)]
    assert [(name, *np.unique(ids)) for name, ids in swatches("ab", 16)] == legend


def tile(*shape):
    return Tile(np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8), ("x", "y"))


@pytest.mark.parametrize(("classes", "width", "tiles"), [(1, 1, 1), (11, 9, 5), (60, 40, 1), (60, 40, 5)])
def test_tiles_and_legend_lie_within_the_sheet_and_apart(classes, width, tiles):
    shapes = [(30, 40), (40, 30), (32, 32), (30, 40), (10, 90)][:tiles]
    row = Row("a", tuple(tile(*shape) for shape in shapes))
    names = [f"class {index} {'M' * width}" for index in range(classes)]
    figure = contact_sheet("title", [row, row], class_names=names, palette=np.zeros((classes, 3), np.uint8))
    figure.draw_without_rendering()
    box, boxes = figure.legends[0].get_window_extent(), [axes.get_window_extent() for axes in figure.axes]
    assert len(boxes) == 2 * tiles
    assert box.x1 <= figure.bbox.x1
    assert all(figure.bbox.x0 <= each.x0 < each.x1 <= figure.bbox.x1 and each.y1 <= figure.bbox.y1 for each in boxes)
    assert box.y1 <= min(each.y0 for each in boxes)
    assert max(each.y1 for each in boxes[tiles:]) < min(each.y0 for each in boxes[:tiles])
    for each, (height, width) in zip(boxes, 2 * shapes, strict=True):
        assert each.width / each.height == pytest.approx(width / height)
    assert png(figure).startswith(b"\x89PNG")


def test_more_samples_than_a_picture_can_hold_are_told():
    row = Row("a", (tile(90, 10),))
    with pytest.raises(InputError, match="a picture of 30 samples would be too large. Write a page instead"):
        contact_sheet("title", [row] * 30, class_names=["a"], palette=np.zeros((1, 3), np.uint8))
