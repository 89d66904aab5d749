"""Samples of an experiment's dataset as the network sees them, on one page or in one picture."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segkit import build
from segkit.config.schema import RunConfig
from segkit.data.dataset import Dataset, Sample
from segkit.data.threads import in_threads
from segkit.data.transforms.training import TrainingTransform, sample_seed
from segkit.errors import InputError, nearest
from segkit.system.files import write_atomically, write_text
from segkit.system.machine import require_writable
from segkit.tensors import IGNORE, RawImage, RawLabels
from segkit.tracking.console import progress_bar
from segkit.viz.charts import png
from segkit.viz.contact_sheet import Row, Tile, contact_sheet, layer
from segkit.viz.sample_page import sample_page

LARGEST_SIDE = 640  # pixels of a tile; larger images are shown smaller


def browse(
    config: RunConfig,
    out: Path,
    *,
    split: str = "train",
    samples: int = 12,
    versions: int | None = None,
    classes: Sequence[str] = (),
) -> list[str]:
    """Write a contact sheet of some samples: each as it is on disk, and as training transforms it in its first epochs.

    Args:
        out: file to write, a page (.html) or a picture (.png).
        samples: how many are shown, evenly spread over the split.
        versions: epochs, 0 to versions - 1; None: 4 of the train split, and none of others, which are only scaled for
            the network.
        classes: show only samples that hold one of these.
    Returns:
        The ids of the samples.
    Raises:
        InputError: if a file cannot be read, `out` cannot be written, a class is unknown or no sample holds one.
    """
    if out.suffix not in (".html", ".png") or out.is_dir():
        raise InputError(f"--out {out}: expected a file ending in .html or .png{', this is a folder' * out.is_dir()}.")
    require_writable(out.parent, "--out")
    known = build.build_classes(config)
    names, palette = known.names, known.palette
    wanted = [_class_id(name, names) for name in classes]
    versions = (4 if split == "train" else 0) if versions is None else versions
    dataset = build.build_dataset(config, split)
    indices = _spread(_holding(dataset, split, wanted) if wanted else list(range(len(dataset))), samples)
    if not indices:
        raise InputError(
            f"no image of the '{split}' split holds {' or '.join(classes)}. Choose another class or --split."
        )
    with torch.device("meta"):
        transform = build.build_training_transform(config, build.build_model(config, len(names), restore=True))
    with progress_bar("transforming", len(indices)) as advance:
        rows = []
        for index in indices:
            rows.append(_row(dataset[index], transform, seed=config.seed, versions=versions, names=names))
            advance(1)
    title = f"{config.name}: {len(rows)} of {len(dataset)} samples of {config.data.name}, {split}"
    filtered = f" Only samples with {' or '.join(classes)}." if classes else ""
    if out.suffix == ".png":
        picture = png(
            contact_sheet(f"{title}.{filtered}" if classes else title, rows, class_names=names, palette=palette)
        )
        write_atomically(out, lambda partial: partial.write_bytes(picture))
    else:
        style = (files("segkit.compare") / "browser" / "page.css").read_text(encoding="utf-8")
        transforms = "transforms" if split == "train" else "would transform"
        transformed = f", then as training {transforms} it in epochs 0 to {versions - 1}, seed {config.seed}"
        subtitle = f"Each as it is on disk{transformed if versions else ''}.{filtered}"
        write_text(out, sample_page(title, subtitle, rows, class_names=names, palette=palette, style=style))
    return [row.name for row in rows]


def _class_id(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise InputError(
            f"--classes {name}: the dataset has no such class.{nearest(name, names)} It has {', '.join(names)}."
        )
    return names.index(name)


def _holding(dataset: Dataset, split: str, wanted: Sequence[int]) -> list[int]:
    """The samples whose labels hold one of some classes."""
    with progress_bar(f"reading {split} labels", len(dataset)) as advance:
        found = []
        for index, holds in enumerate(
            in_threads(lambda index: np.isin(dataset.labels(index), wanted).any(), len(dataset))
        ):
            found += [index] if holds else []
            advance(1)
    return found


def _spread(indices: list[int], count: int) -> list[int]:
    """`count` of them or all, at even distances: the middles of equal parts."""
    count = min(count, len(indices))
    return [indices[(2 * place + 1) * len(indices) // (2 * count)] for place in range(count)]


def _row(sample: Sample, transform: TrainingTransform, *, seed: int, versions: int, names: Sequence[str]) -> Row:
    tiles = [_tile("on disk", sample.image, sample.labels, np.zeros_like(sample.labels, bool), names)]
    for epoch in range(versions):
        image, labels = (tensor.numpy() for tensor in transform(sample, sample_seed(seed, epoch, sample.id)))
        padding = (labels == IGNORE) & (image == 0).all(
            0
        )  # no pixel of an image is at the mean, unless that is 0 and the pixel black
        restored = image.transpose(1, 2, 0) * transform.std + transform.mean
        tiles.append(
            _tile(
                f"epoch {epoch}",
                np.rint(restored).clip(0, 255).astype(np.uint8),
                labels.astype(np.uint8),
                padding,
                names,
            )
        )
    return Row(sample.id, tuple(tiles))


def _tile(title: str, image: RawImage, labels: RawLabels, padding: np.ndarray, names: Sequence[str]) -> Tile:
    height, width = labels.shape
    shares = np.bincount(labels.ravel(), minlength=IGNORE + 1) / labels.size
    most = [index for index in np.argsort(-shares[: len(names)], kind="stable") if shares[index]]
    marked = [f"void {100 * (shares[IGNORE] - padding.mean()):.1f}%"] + (
        [f"padding {100 * padding.mean():.1f}%"] if padding.any() else []
    )
    holds = ", ".join(f"{names[index]} {100 * shares[index]:.1f}%" for index in most) or "none"
    ratio = LARGEST_SIDE / max(height, width)
    if ratio < 1:
        size = max(1, round(width * ratio)), max(1, round(height * ratio))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        labels, padding = (
            np.asarray(Image.fromarray(array).resize(size, Image.Resampling.NEAREST)) for array in (labels, padding)
        )
    return Tile(image, layer(labels, padding), (f"{title}, {height}x{width}", ", ".join(marked)), holds)
