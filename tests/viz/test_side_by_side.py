"""A picture of labels lets one read which colour is which class."""

import numpy as np
import pytest

from segkit.viz.side_by_side import side_by_side

IMAGE, LABELS = np.zeros((12, 16, 3), np.uint8), np.zeros((12, 16), np.uint8)


@pytest.mark.parametrize(("classes", "models"), [(1, 0), (11, 1), (21, 0), (21, 4)])
def test_the_legend_names_every_class_within_the_picture_and_below_the_images(classes, models):
    names = [f"class {index}" for index in range(classes)]
    row = (IMAGE, LABELS, {f"model {index}": LABELS for index in range(models)})
    figure = side_by_side([row, row], class_names=names, palette=np.zeros((classes, 3), np.uint8))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == [*names, "void"]
    box, bounds = legend.get_window_extent(), figure.bbox
    assert bounds.x0 <= box.x0 < box.x1 <= bounds.x1
    assert bounds.y0 <= box.y0
    assert box.y1 <= min(axes.get_window_extent().y0 for axes in figure.axes)
    assert len(figure.axes) == 2 * (2 + models)
