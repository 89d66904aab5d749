"""What one sample shows: its files' headers, its labels, its image."""

import hashlib
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segkit.data.classes import Classes
from segkit.data.dataset import Pair, PairDataset, read_label_file
from segkit.data.datasets.voc import voc_color
from segkit.data.files.headers import Header, other_format, palette, read_header, rotation
from segkit.data.files.images import MAX_PIXELS, read_image
from segkit.data.verify import kinds
from segkit.data.verify.kinds import Fault, Kind
from segkit.data.verify.masks import explain_colors, explain_ids
from segkit.data.verify.near_copies import appearance
from segkit.errors import InputError
from segkit.tensors import IGNORE

_OF_IMAGES = {
    "grey": kinds.GREY_IMAGE, "CMYK": kinds.CMYK_IMAGE, "palette": kinds.PALETTE_IMAGE,
    "grey and alpha": kinds.ALPHA_IMAGE, "RGB and alpha": kinds.ALPHA_IMAGE,
}  # fmt: skip
_ENDINGS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_SPARSE = 64  # pixels between those that are compared first


@dataclass(frozen=True)
class Seen:
    """What was seen of one sample, and is kept.

    Attributes:
        image, labels: headers; None: the file cannot be used.
        pixels: [K + 1] of each class and last void; empty: the labels were not read, or are wrong.
        wrong_ids: ids in labels that hold unknown ones.
        image_digest, labels_digest: of the decoded pixels; empty: not decoded, or one colour or class alone.
        appearance: perceptual hash of the image.
    """

    pair: Pair
    faults: tuple[Fault, ...] = ()
    image: Header | None = None
    labels: Header | None = None
    pixels: tuple[int, ...] = ()
    wrong_ids: frozenset[int] = frozenset()
    image_digest: bytes = b""
    labels_digest: bytes = b""
    appearance: int | None = None

    def adding(self, kind: Kind, path: Path, detail: str = "") -> "Seen":
        """The same with one more fault."""
        return replace(self, faults=(*self.faults, Fault(kind, str(path), detail)))


def see(dataset: PairDataset, index: int) -> Seen:
    """All that one sample shows."""
    return see_sizes(see_image(see_labels(see_headers(dataset.pairs[index]), dataset, index)))


def see_headers(pair: Pair) -> Seen:
    """What the first bytes of both files say: nothing is decoded."""
    seen = Seen(pair)
    headers: dict[str, Header | None] = {}
    for path, is_label in ((pair.image, False), (pair.labels, True)):
        header, wrong = _header(path, is_label=is_label)
        seen = seen if wrong is None else seen.adding(wrong[0], path, wrong[1])
        headers["labels" if is_label else "image"] = None if wrong else header
    return replace(seen, **headers)


def see_sizes(seen: Seen) -> Seen:
    """Whether image and labels have one size, as far as it is known."""
    one, other = seen.image, seen.labels
    if (
        one is None
        or other is None
        or not one.height
        or not other.height
        or (one.height, one.width) == (other.height, other.width)
    ):
        return seen
    return seen.adding(kinds.SIZES_DIFFER, seen.pair.image, _difference(one, other))


def _header(path: Path, *, is_label: bool) -> tuple[Header | None, tuple[Kind, str] | None]:
    """The header, and what is wrong with the file."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            return None, (kinds.UNREADABLE, "it is no plain file")
        header = read_header(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return None, (kinds.MISSING_LABEL if is_label else kinds.MISSING_IMAGE, "")
        return None, (kinds.UNREADABLE, error.strerror or str(error))
    except ValueError as error:  # damaged, or a path that no file can have
        return None, (kinds.DAMAGED, str(error))
    if header is None:
        if not about.st_size:
            return None, (kinds.EMPTY, "")
        other = other_format(path)
        return None, (kinds.NO_PNG if is_label else kinds.NO_IMAGE, f"it is {other}" if other else "")
    return header, _wrong_header(header, is_label=is_label)


def _wrong_header(header: Header, *, is_label: bool) -> tuple[Kind, str] | None:
    if is_label and header.format == "JPEG":
        return kinds.NO_PNG, "it is a JPEG file"
    if not is_label and header.format == "MAT":
        return kinds.NO_IMAGE, "it is a MATLAB file"
    if is_label and header.color in ("grey and alpha", "RGB and alpha"):
        return kinds.ALPHA_LABEL, header.color
    if header.depth > 8:
        return kinds.DEEP, f"{header.depth} bits"
    if header.height * header.width > MAX_PIXELS:
        return kinds.HUGE, f"{header.height}x{header.width} pixels; at most {MAX_PIXELS} are decoded"
    return None


def _difference(image: Header, labels: Header) -> str:
    one, other = (image.height, image.width), (labels.height, labels.width)
    how = ""
    if one == other[::-1]:
        how = ": transposed"
    elif abs(one[0] * other[1] - one[1] * other[0]) < max(*one, *other):  # one aspect, but for rounding
        how = f": scaled by {other[0] / one[0]:.3g}"
    return f"{one[0]}x{one[1]} (height x width), its label {other[0]}x{other[1]}{how}"


def see_labels(seen: Seen, dataset: PairDataset, index: int) -> Seen:
    """What the decoded labels show."""
    if seen.labels is None:
        return seen
    path, classes = seen.pair.labels, dataset.classes
    try:
        labels = dataset.labels(index)
    except InputError:
        return _see_wrong_labels(seen, classes)
    if not seen.labels.height:
        seen = replace(seen, labels=replace(seen.labels, height=labels.shape[0], width=labels.shape[1]))
    histogram = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    pixels = (*histogram[: len(classes.names)].tolist(), int(histogram[IGNORE]))
    seen = replace(seen, pixels=pixels, labels_digest=_digest(labels) if sum(map(bool, pixels[:-1])) > 1 else b"")
    if not any(pixels[:-1]):
        seen = seen.adding(kinds.VOID_LABEL, path)
    if pixels[0] and pixels[-1] and not any(pixels[1:-1]) and len(classes.names) > 1:
        raw = read_label_file(path)
        if raw.ndim == 2 and set(np.unique(raw).tolist()) == {0, 255}:
            seen = seen.adding(kinds.PERHAPS_ZERO_255, path, f"255: {pixels[-1] / sum(pixels):.0%} of it")
    if seen.labels is not None and seen.labels.color == "palette":
        seen = _see_palette(seen, classes)
    return seen


def _see_palette(seen: Seen, classes: Classes) -> Seen:
    """Whether the colours of a palette mask are those of the classes that it holds, where these were chosen."""
    stored, known = palette(seen.pair.labels), dict(classes.colors)
    for id, index in classes.ids.items():
        if (
            index == IGNORE or not seen.pixels[index] or tuple(classes.palette[index].tolist()) == voc_color(index + 1)
        ):  # by default
            continue
        if id < len(stored) and known.get(stored[id]) != index:
            detail = f"id {id} is {list(stored[id])}, '{classes.names[index]}' is {classes.palette[index].tolist()}"
            return seen.adding(kinds.PALETTE_DIFFERS, seen.pair.labels, detail)
    return seen


def _see_wrong_labels(seen: Seen, classes: Classes) -> Seen:
    """What is wrong with labels that cannot be used."""
    path = seen.pair.labels
    try:
        raw = read_label_file(path)
    except InputError as error:
        return _unreadable(replace(seen, labels=None), path, error)
    kind, detail = explain_ids(raw, classes) if raw.ndim == 2 else explain_colors(raw, classes)
    return replace(
        seen.adding(kind, path, detail), wrong_ids=frozenset(np.unique(raw).tolist()) if raw.ndim == 2 else frozenset()
    )


def _unreadable(seen: Seen, path: Path, error: InputError) -> Seen:
    """With what the reader says of a file whose header is good."""
    said = str(error).removeprefix(f"{path} ").partition(";")[0]
    return seen.adding(kinds.ANIMATED if "animation" in said else kinds.DAMAGED, path, said)


def see_image(seen: Seen) -> Seen:
    """What the decoded image shows."""
    path, header = seen.pair.image, seen.image
    if header is None:
        return seen
    try:
        image = read_image(path)
        turned = rotation(path)
    except InputError as error:
        return _unreadable(replace(seen, image=None), path, error)
    seen = replace(seen, image=replace(header, height=image.shape[0], width=image.shape[1]))
    if (image[::_SPARSE, ::_SPARSE] == image[0, 0]).all() and (image == image[0, 0]).all():
        seen = seen.adding(kinds.CONSTANT_IMAGE, path, str(image[0, 0].tolist()))
    else:
        seen = replace(seen, image_digest=_digest(image), appearance=appearance(image))
    if header.color in _OF_IMAGES:
        seen = seen.adding(_OF_IMAGES[header.color], path, header.color)
    if turned != 1:
        seen = seen.adding(kinds.ROTATED, path, f"orientation {turned}")
    if _ENDINGS.get(path.suffix.lower(), header.format) != header.format:
        seen = seen.adding(kinds.OTHER_ENDING, path, f"it is {header.format}")
    return seen


def _digest(array: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16, key=repr(array.shape).encode()).digest()
