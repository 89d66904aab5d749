"""The figure of a dataset shows every class of every split, and no share that is 0 on a logarithmic axis."""

import numpy as np
import pytest

from segkit.viz.data_charts import dataset_figure


def split(shares, sizes):
    classes = [{"name": f"class {n}", "share": share, "share_of_images": bool(share)} for n, share in enumerate(shares)]
    return {"classes": classes, "sizes": [{"height": height, "width": width, "images": 1} for height, width in sizes]}


@pytest.mark.parametrize("classes", [1, 150])
def test_each_split_has_a_mark_for_each_class_that_it_holds(classes):
    train, val = split([0.5, *[0.001] * classes], [(3, 4)]), split([0, *[1] * classes], [(3, 4)])
    figure = dataset_figure({"train": train, "val": val})
    figure.draw_without_rendering()
    pixels, images = figure.axes
    lines = [line for line in pixels.lines if line.get_marker() in ("o", "s")]
    assert [np.isfinite(line.get_ydata() + line.get_xdata()).sum() for line in lines] == [classes + 1, classes]
    assert lines[0].get_xdata()[0] == 50
    assert pixels.get_xscale() == "log"
    assert [text.get_text() for text in pixels.get_yticklabels()] == [f"class {index}" for index in range(classes + 1)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "val"]


def test_sizes_are_drawn_where_they_differ():
    figure = dataset_figure({"train": split([1], [(3, 4), (5, 6)]), "val": split([1], [(3, 4)])})
    assert [points.get_offsets().tolist() for points in figure.axes[2].collections] == [[[4, 3], [6, 5]], [[4, 3]]]
