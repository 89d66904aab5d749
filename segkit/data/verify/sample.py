"""Checks of one sample: its faults, and a few numbers that are kept for checks across samples."""

import hashlib
import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from segkit.data import faults
from segkit.data.class_weights import LabelRow
from segkit.data.dataset import Pair, PairDataset, pixels_of_classes, size_fault
from segkit.data.datasets.voc import voc_color
from segkit.data.faults import DataError, Fault, Kind
from segkit.data.files.images import decode_image, decode_labels, read_file, read_image_header
from segkit.tensors import IGNORE, RawImage, Size

_OF_IMAGES = {
    "grey": faults.GREY_IMAGE, "CMYK": faults.CMYK_IMAGE, "palette": faults.PALETTE_IMAGE,
    "grey and alpha": faults.ALPHA_IMAGE, "RGB and alpha": faults.ALPHA_IMAGE,
}  # fmt: skip
_ENDINGS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_ORIENTATION = 0x0112  # EXIF tag
_SPARSE = 64  # stride of the pixels that are compared first


@dataclass(frozen=True)
class Look:
    """Findings in one sample.

    Attributes:
        size: (height, width) of the image in pixels; None if the file cannot be used, or only decoding can tell.
        pixels: [K + 1], pixels of each class, then void; empty if the labels cannot be used.
        wrong_ids: all ids in the labels, if some of them belong to no class.
        image_digest, labels_digest: digests of the decoded pixels; empty if not decoded, or if all are of one colour or
            class.
        appearance: perceptual hash of the image.
    """

    pair: Pair
    faults: tuple[Fault, ...]
    size: Size | None = None
    pixels: tuple[int, ...] = ()
    wrong_ids: frozenset[int] = frozenset()
    image_digest: bytes = b""
    labels_digest: bytes = b""
    appearance: int | None = None


def look(dataset: PairDataset, index: int) -> Look:
    """Decode and check the image and labels of a sample."""
    pair = dataset.pairs[index]
    found, size, digest, hash = _look_at_image(pair)
    labels = look_at_labels(dataset, index)
    found += labels.faults
    if size and labels.size and (fault := size_fault(pair, size, labels.size)):
        found += (fault,)
    return Look(pair, found, size, labels.pixels, labels.wrong_ids, digest, labels.labels_digest, hash)


def check_header(dataset: PairDataset, index: int, row: LabelRow | Exception) -> Look:
    """Check the image header of a sample whose labels were counted.

    Args:
        row: counts or error of its labels, from `read_label_rows`.
    """
    pair, found, size = dataset.pairs[index], [], None
    try:
        header = read_image_header(pair.image)
        size = (header.height, header.width) if header.height else None
    except DataError as error:
        found.append(error.fault)
    if not isinstance(row, LabelRow):
        labels = look_at_labels(dataset, index)
        return Look(pair, (*found, *labels.faults), size, wrong_ids=labels.wrong_ids)
    if size and (fault := size_fault(pair, size, row.size)):
        found.append(fault)
    return Look(pair, tuple(found), size, row.pixels)


def _look_at_image(pair: Pair) -> tuple[tuple[Fault, ...], Size | None, bytes, int | None]:
    """Return faults, size, digest and appearance of an image."""
    path, found = pair.image, []

    def add(kind: Kind, detail: str) -> None:
        found.append(Fault(kind, str(path), detail))

    try:
        content = read_file(path)
        image, header = decode_image(content, path)
    except DataError as error:
        return (error.fault,), None, b"", None
    digest, hash = b"", None
    if (image[::_SPARSE, ::_SPARSE] == image[0, 0]).all() and (image == image[0, 0]).all():
        add(faults.CONSTANT_IMAGE, str(image[0, 0].tolist()))
    else:
        digest, hash = _digest(image), appearance(image)
    if header.color in _OF_IMAGES:
        add(_OF_IMAGES[header.color], header.color)
    if (orientation := _orientation(content)) != 1:
        add(faults.ROTATED, f"orientation {orientation}")
    if _ENDINGS.get(path.suffix.lower(), header.format) != header.format:
        add(faults.OTHER_ENDING, f"it is {header.format}")
    return tuple(found), (image.shape[0], image.shape[1]), digest, hash


def look_at_labels(dataset: PairDataset, index: int) -> Look:
    """Decode and check only the labels of a sample; the size is theirs."""
    pair, classes, found = dataset.pairs[index], dataset.classes, []

    def add(kind: Kind, detail: str = "") -> None:
        found.append(Fault(kind, str(pair.labels), detail))

    try:
        content = read_file(pair.labels)
        raw, header = decode_labels(content, pair.labels)
    except DataError as error:
        return Look(pair, (error.fault,))
    size = raw.shape[0], raw.shape[1]
    try:
        labels = dataset.reduced(dataset.reader(raw, pair.labels))
    except DataError as error:
        wrong = np.unique(raw).tolist() if raw.ndim == 2 else []
        return Look(pair, (error.fault,), size, wrong_ids=frozenset(wrong))
    pixels = tuple(pixels_of_classes(labels, len(classes.names)).tolist())
    present = sum(map(bool, pixels[:-1]))
    if not present:
        add(faults.VOID_LABEL)
    if only_first_and_void(pixels) and raw.ndim == 2 and {*np.unique(raw).tolist()} == {0, 255}:
        add(faults.PERHAPS_ZERO_255, f"255: {pixels[-1] / sum(pixels):.0%} of it")
    if header.color == "palette" and (detail := _palette_differs(content, pixels, dataset)):
        add(faults.PALETTE_DIFFERS, detail)
    return Look(pair, tuple(found), size, pixels, labels_digest=_digest(labels) if present > 1 else b"")


def only_first_and_void(pixels: tuple[int, ...]) -> bool:
    """Return True if a label map holds only void and the first of several classes, as 0/255 masks do."""
    return len(pixels) > 2 and bool(pixels[0] and pixels[-1]) and not any(pixels[1:-1])


def _palette_differs(content: bytes, pixels: tuple[int, ...], dataset: PairDataset) -> str:
    """Describe the first palette colour of a mask that differs from its class's colour, ignoring default colours."""
    classes = dataset.classes
    with Image.open(io.BytesIO(content)) as image:
        values = image.getpalette("RGB") or []
    stored, known = list(zip(values[::3], values[1::3], values[2::3], strict=True)), dict(classes.colors)
    for id, index in classes.ids.items():
        if index == IGNORE or not pixels[index] or tuple(classes.palette[index].tolist()) == voc_color(index + 1):
            continue  # void, absent, or a default colour
        if id < len(stored) and known.get(stored[id]) != index:
            return f"id {id} is {list(stored[id])}, '{classes.names[index]}' is {classes.palette[index].tolist()}"
    return ""


def _orientation(content: bytes) -> int:
    """Return the EXIF orientation of a file, 1..8; 1 means as stored. PNG chunks after the pixels are ignored."""
    with Image.open(io.BytesIO(content)) as image:
        if image.format == "PNG" and "exif" not in image.info:  # else Pillow decodes all to find it
            return 1
        try:
            found = image.getexif().get(_ORIENTATION, 1)
        except Exception:  # metadata may be anything
            return 1
    return found if isinstance(found, int) else 1


def appearance(image: RawImage) -> int:
    """Return a 64-bit hash that hardly changes with size, compression and brightness: the signs of low frequencies.

    Source: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions, section 3.2 (DCT based
        hash).
    """
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes())  # median without mean brightness


def _digest(array: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16, key=repr(array.shape).encode()).digest()
