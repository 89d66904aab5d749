"""Datasets of samples: RGB images and label maps, as they are on disk."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from segkit.data import faults
from segkit.data.classes import Classes, LabelReader
from segkit.data.faults import DataError, Fault, data_error
from segkit.data.files.images import decode_labels, read_file, read_image
from segkit.data.files.png import RGB
from segkit.tensors import IGNORE, RawImage, RawLabels, Size


@dataclass(frozen=True)
class Sample:
    """One image and its labels: `image` uint8 [H, W, 3] RGB, `labels` uint8 [H, W] with 255 = ignored."""

    id: str
    image: RawImage
    labels: RawLabels


class Dataset(Protocol):
    """A dataset split for training, evaluation and counting. `palette` is uint8 [K, 3], RGB."""

    class_names: tuple[str, ...]
    palette: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def labels(self, index: int) -> RawLabels:
        """Return only the labels [H, W], for counting pixels."""
        ...

    def fingerprint(self) -> str:
        """Return a hex digest that changes whenever any label of the split changes."""
        ...


@dataclass(frozen=True)
class Pair:
    """The files of one sample."""

    id: str
    image: Path
    labels: Path


class PairDataset:
    """Samples from (image file, label file) pairs.

    Args:
        pairs: one `Pair` per sample.
        classes: classes of the labels.
        reduction: file pixels per pixel of a sample, along each side; images are averaged, labels subsampled.
    Raises:
        DataError: on access, if a file is missing, unreadable or truncated, if sizes differ, or if a label id or colour
            belongs to no class.
    """

    def __init__(self, pairs: Sequence[Pair], classes: Classes, *, reduction: int = 1):
        self.pairs, self.classes, self.reduction = tuple(pairs), classes, reduction
        self.class_names, self.palette = classes.names, classes.palette
        self.reader = LabelReader(classes)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image, labels = read_image(pair.image), self.decode(read_file(pair.labels), pair.labels)
        if fault := size_fault(pair, (image.shape[0], image.shape[1]), (labels.shape[0], labels.shape[1])):
            raise DataError(fault)
        labels = self.reduced(labels)
        if self.reduction > 1:
            image = cv2.resize(image, labels.shape[::-1], interpolation=cv2.INTER_AREA)
        return Sample(pair.id, image, labels)

    def labels(self, index: int) -> RawLabels:
        """Return only the labels, uint8 [H, W], 255 = ignored."""
        path = self.pairs[index].labels
        return self.reduced(self.decode(read_file(path), path))

    def decode(self, content: bytes, path: Path) -> RawLabels:
        """Return the class ids of a label file at its own size; `path` is for messages."""
        return self.reader(decode_labels(content, path)[0], path)

    def reduced(self, labels: RawLabels) -> RawLabels:
        """Return labels at the size of samples."""
        step = self.reduction
        return np.ascontiguousarray(labels[step // 2 :: step, step // 2 :: step]) if step > 1 else labels

    def fingerprint(self) -> str:
        """Return the SHA-256 of all label files and of the classes that they are read into."""
        digest, has_colors = hashlib.sha256(self.reader.digest_text(colors=False).encode()), False
        for pair in self.pairs:
            try:
                content = pair.labels.read_bytes()
            except OSError as error:
                raise data_error(faults.UNREADABLE, pair.labels, error.strerror or str(error)) from None
            digest.update(hashlib.sha256(content).digest())
            has_colors |= content[25:26] == bytes([RGB])
        if self.reduction > 1:
            digest.update(str(self.reduction).encode())
        if has_colors:
            digest.update(repr(self.classes.colors).encode())
        return digest.hexdigest()


def size_fault(pair: Pair, image: Size, labels: Size) -> Fault | None:
    """Return the fault of an image and a label that differ in size; None if they do not."""
    if image == labels:
        return None
    how = ""
    if image == labels[::-1]:
        how = ": transposed"
    elif abs(image[0] * labels[1] - image[1] * labels[0]) < max(*image, *labels):  # same aspect ratio, up to rounding
        how = f": scaled by {labels[0] / image[0]:.3g}"
    detail = f"{image[0]}x{image[1]} (height x width), its label {labels[0]}x{labels[1]}{how}"
    return Fault(faults.SIZES_DIFFER, str(pair.image), detail)


def pixels_of_classes(labels: RawLabels, num_classes: int) -> np.ndarray:
    """Return int64 [K + 1]: pixels of each class in a label map, then void."""
    histogram = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    return np.append(histogram[:num_classes], histogram[IGNORE])
