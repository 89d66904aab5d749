"""Samples overlaid with their labels, row by row, as one picture. Void is striped, padding is dotted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segkit.errors import InputError
from segkit.tensors import IGNORE, RawImage, RawLabels
from segkit.viz.charts import DPI, STYLE, short

DARK, LIGHT = 254, 255  # ids in a layer: the two greys of stripes and dots
GREYS = ((40, 40, 40), (235, 235, 235))
OPACITY = 0.55
LARGEST_SIDE = 2**16  # pixels; limit of matplotlib
# inches: width of a tile, gap between tiles, height of the lines above a row, height of the title
WIDTH, GAP, ABOVE, TITLE = 2.2, 0.08, 0.6, 0.3


@dataclass(frozen=True)
class Tile:
    """A picture uint8 [H, W, 3], the `layer` of its labels [H, W], its caption, and what the labels hold in words."""

    image: RawImage
    layer: RawLabels
    caption: tuple[str, ...]
    holds: str = ""


@dataclass(frozen=True)
class Row:
    """A sample's name and its tiles."""

    name: str
    tiles: tuple[Tile, ...]


def layer(labels: RawLabels, padding: np.ndarray | None = None) -> RawLabels:
    """Return labels uint8 [H, W] with stripes in void and dots in `padding` (bool [H, W]), of ids DARK and LIGHT."""
    height, width = labels.shape
    y, x = np.ogrid[:height, :width]
    side = max(2, min(height, width) // 50)
    stripes, dots = (x + y) // side % 2, 1 - (x // side % 3 == 1) * (y // side % 3 == 1)
    marks = stripes if padding is None else np.where(padding, dots, stripes)
    return np.where(labels == IGNORE, DARK + marks, labels).astype(np.uint8)


def layer_colors(palette: np.ndarray) -> np.ndarray:
    """Return uint8 [256, 3]: the colours of a layer's ids; `palette`: uint8 [K, 3], RGB."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[[DARK, LIGHT]] = GREYS
    return table


def swatches(class_names: Sequence[str], size: int) -> list[tuple[str, RawLabels]]:
    """Return name and layer [size, size] of each entry of the legend: classes, void, padding."""
    ignored = np.full((size, size), IGNORE, np.uint8)
    plain = [(name, np.full((size, size), index, np.uint8)) for index, name in enumerate(class_names)]
    return [*plain, ("void", layer(ignored)), ("padding", layer(ignored, ignored == IGNORE))]


@rc_context(STYLE)
def contact_sheet(title: str, rows: Sequence[Row], *, class_names: Sequence[str], palette: np.ndarray) -> Figure:
    """Draw the rows above a legend of the classes, each tile 2.2 inches wide; `palette`: uint8 [K, 3], RGB.

    Raises:
        InputError: if there are too many rows to draw.
    """
    colors, columns = layer_colors(palette), max(2, *(len(row.tiles) for row in rows))
    # the leading space: matplotlib leaves out names that begin with an underscore
    names = [f" {short(name)}" for name in (*class_names, "void", "padding")]
    patches = [Patch(facecolor=f"#{bytes(color.tolist()).hex()}", edgecolor="#888888") for color in palette]
    patches += [Patch(facecolor="white", edgecolor="black", hatch=hatch) for hatch in ("//////", "...")]
    heights = [max(tile.layer.shape[0] / tile.layer.shape[1] for tile in row.tiles) * WIDTH + ABOVE for row in rows]
    wide = columns * (WIDTH + GAP) + GAP
    ncols = max(1, int(wide / (0.4 + 0.065 * max(map(len, names)))))
    high = TITLE + sum(heights) + 0.3 + 0.16 * -(-len(names) // ncols)
    if high * DPI >= LARGEST_SIDE:
        raise InputError(
            f"a picture of {len(rows)} samples would be too large. Write a page instead (.html), or choose fewer."
        )
    figure = Figure(figsize=(wide, high))
    figure.text(GAP / wide, 1 - TITLE / high, short(title, 32 * columns), fontsize=10, verticalalignment="bottom")
    top = high - TITLE
    for row, height in zip(rows, heights, strict=True):
        for place, tile in enumerate(row.tiles):
            tall = WIDTH * tile.layer.shape[0] / tile.layer.shape[1]
            box = (GAP + place * (WIDTH + GAP)) / wide, (top - ABOVE - tall) / high, WIDTH / wide, tall / high
            axes = figure.add_axes(box, aspect="auto")
            axes.axis("off")
            mixed = (1 - OPACITY) * tile.image + OPACITY * colors[tile.layer]
            axes.imshow(np.rint(mixed).astype(np.uint8), aspect="auto")
            axes.set_title("\n".join(["" if place else short(row.name, 36), *tile.caption]), fontsize=7, pad=3)
        top -= height
    figure.legend(patches, names, loc="lower left", ncols=ncols, fontsize=7, handlelength=1.2, columnspacing=1.2)
    return figure
