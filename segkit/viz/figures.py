"""Figures for reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segkit.tensors import RawImage, RawLabels
from segkit.viz.palette import colorize


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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    titles = ["image", "label", *rows[0][2]]
    height, width = rows[0][0].shape[:2]
    inches = 2.4
    figure, axes = pyplot.subplots(
        len(rows), len(titles), figsize=(inches * len(titles), inches * height / width * len(rows) + 0.9), squeeze=False
    )
    for line, (image, labels, predictions) in zip(axes, rows, strict=True):
        pictures = [image, colorize(labels, palette), *(colorize(p, palette) for p in predictions.values())]
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    patches = [Patch(color=f"#{bytes(c.tolist()).hex()}", label=n) for n, c in zip(class_names, palette, strict=True)]
    figure.legend(handles=[*patches, Patch(color="black", label="void")], loc="lower center", ncol=6, fontsize=8, frameon=False)
    tall = figure.get_size_inches()[1]
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.3 / tall, bottom=0.55 / tall, wspace=0.03, hspace=0.05)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    pyplot.close(figure)
