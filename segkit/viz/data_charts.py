"""Charts of a dataset's statistics, as matplotlib figures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from segkit.viz.charts import COLORS, MARKERS, STYLE, short


@rc_context(STYLE)
def dataset_figure(splits: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw for each split the share of pixels of each class (log), the share of images that hold it, and image sizes.

    A class without a pixel in a split has no mark there. Sizes are drawn only if images differ in size.

    Args:
        splits: split -> {classes: [{name, share, share_of_images}], sizes: [{height, width, images}]}, with the same
            names in all splits.
    """
    names = [short(each["name"]) for each in next(iter(splits.values()))["classes"]]
    differ = len({(size["height"], size["width"]) for each in splits.values() for size in each["sizes"]}) > 1
    figure = Figure(figsize=(9.6 if differ else 7.2, 1.1 + 0.2 * max(len(names), 10)), layout="constrained")
    panels = list(figure.subplots(1, 2 + differ, width_ratios=[1.3, 1, 1.2][: 2 + differ]))
    _by_class(panels[0], splits, "share", names)
    panels[0].set(xscale="log", xlabel="share of pixels (%)")
    panels[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _by_class(panels[1], splits, "share_of_images", ["" for _ in names])
    panels[1].set(xlim=(-3, 103), xlabel="images that hold the class (%)")
    if differ:
        _sizes(panels[2], splits)
    handles = [Line2D([], [], linestyle="none", **_marks(place)) for place in range(len(splits))]
    figure.legend(handles, list(splits), loc="outside lower center", ncols=len(splits), handlelength=1)
    return figure


def _by_class(axes: Axes, splits: Mapping[str, Mapping[str, Any]], key: str, names: list[str]) -> None:
    """Draw a row per class, with a mark per split."""
    rows = np.arange(len(names))
    for place, each in enumerate(splits.values()):
        shares = np.array([100 * one[key] for one in each["classes"]])
        offset = (place - (len(splits) - 1) / 2) * 0.22
        axes.plot(np.where(shares > 0, shares, np.nan), rows + offset, linestyle="none", **_marks(place))
    axes.grid(axis="y", visible=False)
    for edge in rows[:-1] + 0.5:
        axes.axhline(edge, color="#dddddd", linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(rows, names)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _sizes(axes: Axes, splits: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw a mark per image size; its area grows with the number of images of that size."""
    for place, each in enumerate(splits.values()):
        keys = ("width", "height", "images")
        width, height, images = (np.array([size[key] for size in each["sizes"]]) for key in keys)
        marks = {"edgecolors": COLORS[place], "marker": MARKERS[place], "linewidth": 1.2}
        axes.scatter(width, height, 14 + 200 * images / images.sum(), facecolors="none", **marks)
    axes.set(xlabel="width (pixels)", ylabel="height (pixels)")
    axes.set_aspect("equal", adjustable="datalim")


def _marks(place: int) -> dict[str, Any]:
    return {"color": COLORS[place], "marker": MARKERS[place], "markersize": 4.5}
