"""Pictures of images, labels and predictions side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segkit.tensors import RawImage, RawLabels
from segkit.viz.palette import colorize


@rc_context({"text.parse_math": False})  # a name may hold a dollar sign
def side_by_side(
    rows: Sequence[tuple[RawImage, RawLabels, Mapping[str, RawLabels]]],
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
) -> Figure:
    """Draw a row per sample (image, labels, prediction of each model), above a legend; columns are 2.4 inches wide.

    Args:
        rows: (image, labels, {model: predicted labels}) of each sample, with the same models in all rows.
    """
    titles = ["image", "label", *rows[0][2]]
    height, width = rows[0][0].shape[:2]
    inches = 2.4
    names = [f" {name}" for name in (*class_names, "void")]  # matplotlib leaves out names that begin with an underscore
    columns = min(6, int(inches * len(titles) / 1.15))
    below = 0.25 + 0.15 * -(-len(names) // columns)  # inches of the legend
    figure = Figure(figsize=(inches * len(titles), inches * height / width * len(rows) + 0.35 + below))
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (image, labels, predictions) in zip(axes, rows, strict=True):
        pictures = [image, colorize(labels, palette), *(colorize(p, palette) for p in predictions.values())]
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    patches = [Patch(color=f"#{bytes(color.tolist()).hex()}") for color in palette] + [Patch(color="black")]
    figure.legend(patches, names, loc="lower center", ncol=columns, fontsize=8, frameon=False)
    tall = figure.get_size_inches()[1]
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.3 / tall, bottom=below / tall, wspace=0.03, hspace=0.05)
    return figure
