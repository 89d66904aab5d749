"""The data of a report's paired browser: images, label maps and counts, as plain values for JSON."""

import base64
import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from segkit.compare.collect import Method
from segkit.compare.stored import Predicted
from segkit.tensors import RawLabels

WIDTH, THUMBNAIL_WIDTH = 640, 112  # pixels, at most
QUALITY = 85  # of JPEG


def browsed_images(methods: Sequence[Method], limit: int) -> list[int]:
    """Ascending indices of at most `limit` test images: half where the methods differ most, the others evenly spread.

    The difference is that of the highest and the lowest mean IoU of the image, each the mean over the runs of a method;
    over the runs, if there is one method.
    """
    per_run = [method.image_mean_iou for method in methods]
    compared = per_run[0] if len(methods) == 1 else np.stack([values.mean(0) for values in per_run])
    differences = np.nan_to_num(compared.max(0) - compared.min(0), nan=-1)
    count = len(differences)
    if count <= limit:
        return list(range(count))
    order = np.argsort(-differences, kind="stable").tolist()
    chosen, others = order[: limit // 2], sorted(order[limit // 2 :])
    spread = np.linspace(0, len(others) - 1, limit - len(chosen)).round().astype(int)
    return sorted([*chosen, *(others[place] for place in spread)])


def browser_image(of_image: Predicted, matrices: np.ndarray) -> dict[str, Any]:
    """An image for the browser, at most WIDTH pixels wide: JPEG, label maps (`packed`) and full-size pixel counts.

    Args:
        matrices: the image's confusion matrices, int64 [R, K, K] over the runs.
    """
    sample = of_image.sample
    height, width = sample.labels.shape
    size = (width, height) if width <= WIDTH else (WIDTH, max(1, round(height * WIDTH / width)))
    return {
        "id": sample.id,
        "width": size[0],
        "height": size[1],
        "jpeg": _jpeg(sample.image, size),
        "thumbnail": _jpeg(sample.image, (THUMBNAIL_WIDTH, max(1, round(height * THUMBNAIL_WIDTH / width)))),
        "label": packed(sample.labels, size),
        "predictions": [packed(predicted, size) for predicted in of_image.predictions],
        "labelled": matrices[0].sum(1).tolist(),
        "predicted": matrices.sum(1).tolist(),
        "correct": matrices.diagonal(axis1=1, axis2=2).tolist(),
    }


def browser_data(
    methods: Sequence[Method], class_names: Sequence[str], palette: np.ndarray, images: list[dict[str, Any]], total: int
) -> dict[str, Any]:
    """Data of the browser: some `images` of the `total` in the test split, for every run of every method."""
    colors = [f"#{bytes(color.tolist()).hex()}" for color in palette]
    classes = [{"name": name, "color": color} for name, color in zip(class_names, colors, strict=True)]
    runs = [{"method": each.name, "seed": run.seed, "of": len(each.runs)} for each in methods for run in each.runs]
    return {"classes": classes, "runs": runs, "total": total, "images": images}


def packed(ids: RawLabels, size: tuple[int, int]) -> str:
    """Class ids at (width, height), row by row, a byte each, as zlib in base64: a browser unpacks exactly these."""
    scaled = Image.fromarray(ids).resize(size, Image.Resampling.NEAREST)
    return base64.b64encode(zlib.compress(scaled.tobytes())).decode()


def _jpeg(image: np.ndarray, size: tuple[int, int]) -> str:
    file = io.BytesIO()
    picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)  # a copy, if it is of that size
    picture.save(file, "JPEG", quality=QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode()
