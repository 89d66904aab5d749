"""Samples of an experiment's dataset as the network sees them, on one page or in one picture."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segkit import build
from segkit.config.schema import RunConfig
from segkit.data.dataset import Sample, pixels_of_classes
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
    """Write a contact sheet of some samples: each as it is on disk, and as training transforms it in the first epochs.

    Args:
        out: file to write, a page (.html) or a picture (.png).
        samples: number of samples, evenly spread over the split.
        versions: number of epochs to show, from 0; None: 4 for the train split, and 0 for others, which are only scaled
            for the network.
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
    for name in classes:
        if name not in names:
            known_names = f"{nearest(name, names)} It has {', '.join(names)}"
            raise InputError(f"--classes {name}: the dataset has no such class.{known_names}.")
    versions = (4 if split == "train" else 0) if versions is None else versions
    dataset = build.build_dataset(config, split)
    indices = list(range(len(dataset)))
    if classes:
        wanted, indices = [names.index(name) for name in classes], []
        with progress_bar(f"reading {split} labels", len(dataset)) as advance:
            holds = in_threads(lambda index: np.isin(dataset.labels(index), wanted).any(), len(dataset))
            for index, held in enumerate(holds):
                indices += [index] if held else []
                advance(1)
    indices = _spread(indices, samples)
    if not indices:
        held = f"no image of the '{split}' split holds {' or '.join(classes)}"
        raise InputError(f"{held}. Choose another class or --split.")
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
        title = f"{title}.{filtered}" if classes else title
        picture = png(contact_sheet(title, rows, class_names=names, palette=palette))
        write_atomically(out, lambda partial: partial.write_bytes(picture))
    else:
        style = (files("segkit.compare") / "browser" / "page.css").read_text(encoding="utf-8")
        transforms = "transforms" if split == "train" else "would transform"
        transformed = f", then as training {transforms} it in epochs 0 to {versions - 1}, seed {config.seed}"
        subtitle = f"Each as it is on disk{transformed if versions else ''}.{filtered}"
        write_text(out, sample_page(title, subtitle, rows, class_names=names, palette=palette, style=style))
    return [row.name for row in rows]


def _spread(indices: list[int], count: int) -> list[int]:
    """Return `count` of the indices, or all, at even distances: the middles of equal parts."""
    count = min(count, len(indices))
    return [indices[(2 * place + 1) * len(indices) // (2 * count)] for place in range(count)]


def _row(sample: Sample, transform: TrainingTransform, *, seed: int, versions: int, names: Sequence[str]) -> Row:
    tiles = [_tile("on disk", sample.image, sample.labels, np.zeros_like(sample.labels, bool), names)]
    for epoch in range(versions):
        image, labels = (tensor.numpy() for tensor in transform(sample, sample_seed(seed, epoch, sample.id)))
        # no pixel of an image equals the mean exactly, except a black one if the mean is 0
        padding = (labels == IGNORE) & (image == 0).all(0)
        restored = np.rint(image.transpose(1, 2, 0) * transform.std + transform.mean).clip(0, 255).astype(np.uint8)
        tiles.append(_tile(f"epoch {epoch}", restored, labels.astype(np.uint8), padding, names))
    return Row(sample.id, tuple(tiles))


def _tile(title: str, image: RawImage, labels: RawLabels, padding: np.ndarray, names: Sequence[str]) -> Tile:
    height, width = labels.shape
    shares = pixels_of_classes(labels, len(names)) / labels.size
    most = [index for index in np.argsort(-shares[:-1], kind="stable") if shares[index]]
    padded = f", padding {100 * padding.mean():.1f}%" if padding.any() else ""
    marked = f"void {100 * (shares[-1] - padding.mean()):.1f}%{padded}"
    holds = ", ".join(f"{names[index]} {100 * shares[index]:.1f}%" for index in most) or "none"
    ratio = LARGEST_SIDE / max(height, width)
    if ratio < 1:
        size = max(1, round(width * ratio)), max(1, round(height * ratio))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        small = [Image.fromarray(array).resize(size, Image.Resampling.NEAREST) for array in (labels, padding)]
        labels, padding = map(np.asarray, small)
    return Tile(image, layer(labels, padding), (f"{title}, {height}x{width}", marked), holds)
