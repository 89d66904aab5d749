"""Samples overlaid with their labels, as one HTML file that needs no network."""

import base64
import io
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from PIL import Image

from segkit.tensors import RawLabels
from segkit.viz.contact_sheet import OPACITY, Row, Tile, layer_colors, swatches
from segkit.viz.palette import palette_image


def sample_page(
    title: str, subtitle: str, rows: Sequence[Row], *, class_names: Sequence[str], palette: np.ndarray, style: str
) -> str:
    """Return the HTML of the page, with controls to hide labels and set their opacity; all names are escaped.

    Args:
        palette: uint8 [K, 3], RGB.
        style: CSS.
    """
    colors = layer_colors(palette)
    legend = [
        f'<li><img class="swatch" alt="" src="{_png(ids, colors)}">{escape(name)}</li>'
        for name, ids in swatches(class_names, 16)
    ]
    return Template((files("segkit.viz") / "samples.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        style=style,
        opacity=OPACITY,
        legend="\n".join(legend),
        samples="\n".join(_section(index, row, colors) for index, row in enumerate(rows)),
    )


def _section(index: int, row: Row, colors: np.ndarray) -> str:
    figures = "\n".join(_figure(row.name, tile, colors) for tile in row.tiles)
    heading = f'<h2 id="sample-{index}">{escape(row.name)}</h2>'
    return f'<section aria-labelledby="sample-{index}">{heading}<div class="tiles">\n{figures}\n</div></section>'


def _figure(name: str, tile: Tile, colors: np.ndarray) -> str:
    height, width = tile.layer.shape
    caption = "".join(f"<span>{escape(line)}</span>" for line in tile.caption)
    alt = escape(f"{name}, {tile.caption[0]}")
    jpeg = _data_url(Image.fromarray(tile.image), "jpeg", quality=90)
    image = f'<img alt="{alt}" width="{width}" height="{height}" src="{jpeg}">'
    labels = f'<img class="labels" alt="{escape(f"labels: {tile.holds}")}" src="{_png(tile.layer, colors)}">'
    return f'<figure><div class="stack">{image}{labels}</div><figcaption>{caption}</figcaption></figure>'


def _png(ids: RawLabels, colors: np.ndarray) -> str:
    return _data_url(palette_image(ids, colors), "png", optimize=True)


def _data_url(picture: Image.Image, kind: str, **settings: int) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
