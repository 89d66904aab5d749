"""From pairs of files to samples: RGB images and label maps, as they are on disk."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from segkit.data.classes import Classes
from segkit.data.color_map import ColorMap
from segkit.data.files.images import read_image, read_mask
from segkit.data.files.mat import read_mat_mask
from segkit.data.files.png import RGB
from segkit.errors import InputError
from segkit.tensors import IGNORE, RawImage, RawLabels


@dataclass(frozen=True)
class Sample:
    """One image and its labels: `image` uint8 [H, W, 3] RGB, `labels` uint8 [H, W] with 255 = ignored."""

    id: str
    image: RawImage
    labels: RawLabels


class Dataset(Protocol):
    """What training, evaluation and counting ask of a dataset split. `palette` is uint8 [K, 3], RGB."""

    class_names: tuple[str, ...]
    palette: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def labels(self, index: int) -> RawLabels:
        """Labels alone, [H, W]: what counting pixels needs."""
        ...

    def fingerprint(self) -> str:
        """Hex digest that changes whenever any label of the split changes."""
        ...


@dataclass(frozen=True)
class Pair:
    """Where one sample lies on disk."""

    id: str
    image: Path
    labels: Path


class PairDataset:
    """Samples from (image file, label file) pairs.

    Args:
        pairs: one `Pair` per sample.
        classes: what labels stand for.
        reduction: file pixels per pixel of a sample, along each side: the mean of an image, one of the labels.
    Raises:
        InputError: on access, if a file is missing, unreadable or truncated, if sizes differ, or if a label id or
            colour stands for no class.
    """

    def __init__(self, pairs: Sequence[Pair], classes: Classes, *, reduction: int = 1):
        self.pairs, self.classes, self.reduction = tuple(pairs), classes, reduction
        self.class_names, self.palette = classes.names, classes.palette
        self._lookup = np.full(256, IGNORE - 1, np.uint8)  # IGNORE - 1: an id nobody may use
        self._lookup[IGNORE] = IGNORE
        self._lookup[list(classes.ids)] = list(classes.ids.values())
        self._colors = ColorMap(classes)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image, labels = read_image(pair.image), self._whole_labels(pair.labels)
        if image.shape[:2] != labels.shape:
            raise InputError(
                f"{pair.image} is {_size(image)} but its labels {pair.labels} are {_size(labels)}: "
                "expected equal sizes. Resize neither by hand; find the matching pair of files."
            )
        if self.reduction > 1:
            height, width = self._reduced(labels).shape
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return Sample(pair.id, image, self._reduced(labels))

    def labels(self, index: int) -> RawLabels:
        """Labels alone, uint8 [H, W], 255 = ignored."""
        return self._reduced(self._whole_labels(self.pairs[index].labels))

    def _reduced(self, labels: RawLabels) -> RawLabels:
        step = self.reduction
        return np.ascontiguousarray(labels[step // 2 :: step, step // 2 :: step]) if step > 1 else labels

    def _whole_labels(self, path: Path) -> RawLabels:
        raw = read_label_file(path)
        if raw.ndim == 3:
            return self._colors.ids(raw, path)
        labels = self._lookup[raw]
        if (labels == IGNORE - 1).any():
            ids, counts = np.unique(raw[labels == IGNORE - 1], return_counts=True)
            found = ", ".join(f"{i} ({n} pixels)" for i, n in zip(ids[:5], counts[:5], strict=True))
            raise InputError(
                f"{path} holds label ids that no class has: {found}; expected 0..{len(self.class_names) - 1}, or 255 for ignored. "
                "Fix the file, or name every class of the dataset."
            )
        return labels

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of every label file and the classes they are read into; with RGB masks, over the
        colours too."""
        digest, has_colors = hashlib.sha256(repr((self.class_names, self._lookup.tolist())).encode()), False
        for pair in self.pairs:
            try:
                content = pair.labels.read_bytes()
            except OSError as error:
                raise InputError(
                    f"{pair.labels} cannot be read: {error.strerror}; expected a file of labels. Restore it."
                ) from None
            digest.update(hashlib.sha256(content).digest())
            has_colors |= content[25:26] == bytes([RGB])
        if self.reduction > 1:
            digest.update(str(self.reduction).encode())
        if has_colors:
            digest.update(repr(self.classes.colors).encode())
        return digest.hexdigest()


def read_label_file(path: Path) -> RawLabels | RawImage:
    """What a label file holds, before ids or colours are those of classes: `read_mask`, or of a .mat file
    `read_mat_mask`."""
    return read_mat_mask(path) if path.suffix == ".mat" else read_mask(path)


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]} (height x width)"
