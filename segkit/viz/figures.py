"""Figures for reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from warnings import catch_warnings

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segkit.files import write_atomically
from segkit.tensors import RawImage, RawLabels
from segkit.viz.palette import colorize


@rc_context({"text.parse_math": False})  # a name may hold a dollar sign
def side_by_side(
    path: Path,
    rows: Sequence[tuple[RawImage, RawLabels, Mapping[str, RawLabels]]],
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    dpi: int = 110,
) -> None:
    """Writes a picture with one row per sample: image, labels, and the prediction of each model, over a legend of the classes.

    Args:
        rows: (image, labels, {title: predicted labels}) of each sample; equal titles in all rows.
        dpi: pixels per inch of a figure 2.4 inches wide per column.
    """
    titles = ["image", "label", *rows[0][2]]
    height, width = rows[0][0].shape[:2]
    inches = 2.4
    figure = Figure(figsize=(inches * len(titles), inches * height / width * len(rows) + 0.9))
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (image, labels, predictions) in zip(axes, rows, strict=True):
        pictures = [image, colorize(labels, palette), *(colorize(p, palette) for p in predictions.values())]
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    patches = [Patch(color=f"#{bytes(color.tolist()).hex()}") for color in palette] + [Patch(color="black")]
    names = [f" {name}" for name in (*class_names, "void")]  # matplotlib leaves out names that open with an underscore
    figure.legend(patches, names, loc="lower center", ncol=6, fontsize=8, frameon=False)
    tall = figure.get_size_inches()[1]
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.3 / tall, bottom=0.55 / tall, wspace=0.03, hspace=0.05)
    with catch_warnings(action="ignore", category=UserWarning):  # a name in letters that no font has
        write_atomically(path, lambda partial: figure.savefig(partial, format="png", dpi=dpi))
