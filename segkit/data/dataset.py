"""From pairs of files to samples: RGB images and label maps, as they are on disk."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from segkit.errors import InputError
from segkit.tensors import IGNORE, RawImage, RawLabels

MAX_PIXELS = 100_000_000


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
        class_names: names of class 0..K-1.
        palette: uint8 [K, 3], RGB, one colour per class.
        void: label id on disk that means "ignored" besides 255, or None.
    Raises:
        InputError: on access, if a file is missing, unreadable or truncated, if sizes differ, or if a label id is out of range.
    """

    def __init__(self, pairs: Sequence[Pair], *, class_names: Sequence[str], palette: np.ndarray, void: int | None = None):
        self.pairs = tuple(pairs)
        self.class_names = tuple(class_names)
        self.palette = palette
        self._lookup = np.full(256, IGNORE - 1, np.uint8)  # IGNORE - 1: an id nobody may use
        self._lookup[: len(self.class_names)] = np.arange(len(self.class_names))
        self._lookup[IGNORE] = IGNORE
        if void is not None:
            self._lookup[void] = IGNORE

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image, labels = read_image(pair.image), self.labels(index)
        if image.shape[:2] != labels.shape:
            raise InputError(
                f"{pair.image} is {_size(image)} but its labels {pair.labels} are {_size(labels)}: "
                "expected equal sizes. Resize neither by hand; find the matching pair of files."
            )
        return Sample(pair.id, image, labels)

    def labels(self, index: int) -> RawLabels:
        """Labels alone, uint8 [H, W], 255 = ignored."""
        path = self.pairs[index].labels
        raw = read_index_mask(path)
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
        """SHA-256 over the bytes of every label file and the classes they are read into."""
        digest = hashlib.sha256(repr((self.class_names, self._lookup.tolist())).encode())
        for pair in self.pairs:
            try:
                digest.update(hashlib.sha256(pair.labels.read_bytes()).digest())
            except OSError as error:
                raise InputError(f"{pair.labels} cannot be read: {error.strerror}; expected a label PNG. Restore the file.") from None
        return digest.hexdigest()


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]} (height x width)"


def _open(path: Path, *formats: str) -> Image.Image:
    expected = " or ".join(formats)
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):  # the limit is ours
            file = Image.open(path, formats=formats)
        with file as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            image.load()
        return image
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected a {expected} file. Check the dataset's folder and split lists.") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path} declares more than {MAX_PIXELS} pixels; nothing was decoded. Crop or shrink the image first.") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is no {expected} file. Copy it again from its source, or convert it first.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be decoded ({error}); expected a whole {expected} file. Copy it again from its source.") from None


def read_image(path: Path) -> RawImage:
    """RGB image, uint8 [H, W, 3]. Grey and palette images are converted, alpha is dropped; EXIF rotation is ignored, as for labels."""
    image = _open(path, "PNG", "JPEG")
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{path} has mode {image.mode} (more than 8 bits a channel); expected 8-bit RGB or grey. Convert it first.")
    image.info.pop("transparency", None)  # Pillow warns that it drops it
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_index_mask(path: Path) -> RawLabels:
    """Class ids as stored, uint8 [H, W]: palette masks give their palette index, never their colour. JPEG would change ids."""
    image = _open(path, "PNG")
    if image.mode not in ("L", "P", "1"):
        raise InputError(
            f"{path} has mode {image.mode}; expected one 8-bit channel of class ids (mode L or P). "
            "Save the mask as indices, not as colours."
        )
    return np.asarray(image).astype(np.uint8)
