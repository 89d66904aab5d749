"""Samples under the colours of their labels, row by row, as one picture. Void is striped, padding is dotted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segkit.tensors import IGNORE, RawImage, RawLabels
from segkit.viz.charts import short

DARK, LIGHT = 254, 255  # ids in a layer: the two greys of stripes and dots
GREYS = ((40, 40, 40), (235, 235, 235))
OPACITY = 0.55
WIDTH, GAP, TEXT = 320, 12, 15  # pixels: of a tile, between tiles, of a line of text


@dataclass(frozen=True)
class Tile:
    """A picture: `image` uint8 [H, W, 3], what `layer` makes of its labels [H, W], and the lines below it.

    `holds` says in words what the labels hold.
    """

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
    """Labels uint8 [H, W], 255 = ignored, with void as stripes and `padding` (bool [H, W]) as dots, of the ids DARK and LIGHT."""
    height, width = labels.shape
    y, x = np.ogrid[:height, :width]
    side = max(2, min(height, width) // 50)
    stripes, dots = (x + y) // side % 2, 1 - (x // side % 3 == 1) * (y // side % 3 == 1)
    marks = stripes if padding is None else np.where(padding, dots, stripes)
    return np.where(labels == IGNORE, DARK + marks, labels).astype(np.uint8)


def layer_colors(palette: np.ndarray) -> np.ndarray:
    """uint8 [256, 3]: the colours of a layer's ids.

    Args:
        palette: uint8 [K, 3], RGB.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[[DARK, LIGHT]] = GREYS
    return table


def swatches(class_names: Sequence[str], size: int) -> list[tuple[str, RawLabels]]:
    """Name and layer [size, size] of each entry of the legend: classes, void, padding."""
    ignored = np.full((size, size), IGNORE, np.uint8)
    plain = [(name, np.full((size, size), index, np.uint8)) for index, name in enumerate(class_names)]
    return [*plain, ("void", layer(ignored)), ("padding", layer(ignored, ignored == IGNORE))]


def contact_sheet(title: str, rows: Sequence[Row], *, class_names: Sequence[str], palette: np.ndarray) -> Image.Image:
    """The title, a legend of the classes, and the rows, each tile 320 pixels wide.

    Args:
        palette: uint8 [K, 3], RGB.
    """
    colors = layer_colors(palette)
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), TEXT)
    tiles = max(3, *(len(row.tiles) for row in rows))  # the legend needs some room
    sheet = Image.new("RGB", (tiles * (WIDTH + GAP) + GAP, 1), "white")
    parts = [_text(title, font, sheet.width), _legend(swatches(class_names, TEXT), colors, font, sheet.width)]
    for row in rows:
        parts += [_text(row.name, font, sheet.width), _pictures(row.tiles, colors, font, sheet.width)]
    sheet = sheet.resize((sheet.width, sum(part.height for part in parts) + GAP))
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def _text(line: str, font: ImageFont.FreeTypeFont, width: int) -> Image.Image:
    part = Image.new("RGB", (width, TEXT + 2 * GAP), "white")
    ImageDraw.Draw(part).text((GAP, GAP), short(line, width // 10), "black", font, stroke_width=0.4)
    return part


def _legend(entries: list[tuple[str, RawLabels]], colors: np.ndarray, font: ImageFont.FreeTypeFont, width: int) -> Image.Image:
    """Entries in as many lines as they need."""
    names, places, x, y = [short(name, 40) for name, _ in entries], [], GAP, 0
    for name in names:
        wide = TEXT + 6 + font.getlength(name) + 2 * GAP
        if x > GAP and x + wide > width:
            x, y = GAP, y + TEXT + 8
        places.append((int(x), y))
        x += wide
    part = Image.new("RGB", (width, y + TEXT + GAP), "white")
    draw = ImageDraw.Draw(part)
    for (left, top), name, (_, swatch) in zip(places, names, entries, strict=True):
        part.paste(Image.fromarray(colors[swatch]), (left, top))
        draw.rectangle((left, top, left + TEXT - 1, top + TEXT - 1), outline="#888888")
        draw.text((left + TEXT + 6, top - 1), name, "black", font)
    return part


def _pictures(tiles: Sequence[Tile], colors: np.ndarray, font: ImageFont.FreeTypeFont, width: int) -> Image.Image:
    """Tiles side by side, each no higher than wide, and their captions."""
    pictures = []
    for tile in tiles:
        mixed = np.rint((1 - OPACITY) * tile.image + OPACITY * colors[tile.layer]).astype(np.uint8)
        ratio = min(WIDTH / mixed.shape[1], WIDTH / mixed.shape[0])
        size = (max(1, round(mixed.shape[1] * ratio)), max(1, round(mixed.shape[0] * ratio)))
        pictures.append(Image.fromarray(mixed).resize(size, Image.Resampling.BOX if ratio < 1 else Image.Resampling.NEAREST))
    high = max(picture.height for picture in pictures)
    lines = max(len(tile.caption) for tile in tiles)
    part = Image.new("RGB", (width, high + 6 + lines * (TEXT + 4) + GAP), "white")
    draw = ImageDraw.Draw(part)
    for place, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        left = GAP + place * (WIDTH + GAP)
        part.paste(picture, (left, 0))
        draw.multiline_text((left, picture.height + 4), "\n".join(tile.caption), "#444444", font)
    return part
