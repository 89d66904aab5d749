"""Readers of image and label files, whose errors are one sentence that names the file.

Only PNG and JPEG are read, recognized by content and not by name; MATLAB files with labels are recognized by name. EXIF
rotation is ignored for images and labels alike, so that pairs stay aligned.
"""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from segkit.data import faults
from segkit.data.faults import DataError, Fault, data_error
from segkit.data.files.mat import decode_mat
from segkit.errors import InputError
from segkit.tensors import RawImage, RawLabels, Size

MAX_PIXELS = 89_000_000  # Pillow rejects images with 0.5% more as decompression bombs
MAX_BYTES = 400_000_000  # of a file; MAX_PIXELS take less, even uncompressed
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_OTHERS = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", _JPEG: "a JPEG file"}
_ALPHA = {"LA": "grey and alpha", "RGBA": "RGB and alpha"}


def read_image(path: Path) -> RawImage:
    """Read an RGB image, uint8 [H, W, 3].

    Grey, palette and CMYK images are converted, alpha is dropped, EXIF rotation is ignored. Only the first picture of a
    JPEG file is read; some cameras write several.

    Raises:
        DataError: if the file is missing, damaged, of another format, animated, too large, or has 16 bits a channel.
    """
    return decode_image(read_file(path), path)[0]


def read_labels(path: Path) -> RawLabels | RawImage:
    """Read ids as stored, uint8 [H, W], or the colours of an RGB mask, uint8 [H, W, 3].

    Palette masks give their palette indices, never their colours. JPEG is rejected, because it changes ids.

    Raises:
        DataError: as `read_image`, and for a mask with alpha.
    """
    return decode_labels(read_file(path), path)[0]


def read_index_mask(path: Path) -> RawLabels:
    """Read class ids as stored, uint8 [H, W].

    Raises:
        InputError: as `read_labels`, and for an RGB mask.
    """
    mask = read_labels(path)
    if mask.ndim == 3:
        raise InputError(f"{path} is an RGB mask; expected class ids in one 8-bit channel. Save indices, not colours.")
    return mask


def file_fault(path: Path) -> Fault | None:
    """Return the fault of a file that cannot be opened, is too large or is empty; None if there is none."""
    try:
        about = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Fault(faults.MISSING, str(path))
    except (OSError, ValueError) as error:  # ValueError: an impossible path
        return Fault(faults.UNREADABLE, str(path), getattr(error, "strerror", None) or str(error))
    if not stat.S_ISREG(about.st_mode):  # reading a pipe may never end
        what = "it is a folder" if stat.S_ISDIR(about.st_mode) else "it is not a plain file"
        return Fault(faults.UNREADABLE, str(path), what)
    if about.st_size > MAX_BYTES:
        return Fault(faults.HUGE, str(path), f"{about.st_size} bytes; at most {MAX_BYTES} are read")
    return None if about.st_size else Fault(faults.EMPTY, str(path))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, or raise a DataError that it is missing, empty, too large, not a regular file, or not readable."""
    if fault := file_fault(path):
        raise DataError(fault)
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise data_error(faults.UNREADABLE, path, error.strerror or str(error)) from None


def read_file(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        DataError: if it is missing, empty, too large, not a regular file, or not readable.
    """
    with _opened(path) as file:
        return file.read()


def read_image_size(path: Path) -> Size:
    """Return the (height, width) of an image file, without decoding it.

    Raises:
        DataError: if its header already shows that the file cannot be used.
    """
    with _opened(path) as file, _damage_named(path):
        image = _open(file, path, label=False)
        return image.height, image.width


def decode_image(content: bytes, path: Path) -> tuple[RawImage, Image.Image]:
    """Decode the bytes of an image file as `read_image` does, and return Pillow's image too; `path` is for messages."""
    image = _decode(content, path, label=False)
    image.info.pop("transparency", None)  # Pillow would warn that it drops it
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), image


def decode_labels(content: bytes, path: Path) -> tuple[RawLabels | RawImage, Image.Image | None]:
    """Decode the bytes of a label file as `read_labels` does, and return Pillow's image too; `path` is for messages."""
    if path.suffix == ".mat":
        try:
            return decode_mat(content), None
        except ValueError as error:
            raise data_error(faults.DAMAGED, path, str(error)) from None
    image = _decode(content, path, label=True)
    labels = np.asarray(image).astype(np.uint8)
    if image.mode == "L":
        labels //= {2: 85, 4: 17}.get(content[24], 1)  # undo Pillow's scaling of ids of 2 or 4 bits to 0..255
    return labels, image


def _decode(content: bytes, path: Path, *, label: bool) -> Image.Image:
    with _damage_named(path), _open(io.BytesIO(content), path, label=label) as image:
        if image.format == "PNG":
            with Image.open(io.BytesIO(content), formats=("PNG",)) as again:
                again.verify()  # the checksums of the pixels, and the end
        image.load()
        return image


def _open(file: BinaryIO, path: Path, *, label: bool) -> Image.Image:
    """Read the header of an image or a label map, and reject a format, bits or a size that cannot be used."""
    start = file.read(512)
    file.seek(0)
    if not start.startswith(_PNG if label else (_PNG, _JPEG)):
        found = _other_format(start)
        raise data_error(faults.NO_PNG if label else faults.NO_IMAGE, path, f"it is {found}" if found else "")
    image = Image.open(file, formats=("PNG", "JPEG"))
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    if label and image.mode in _ALPHA:
        raise data_error(faults.ALPHA_LABEL, path, _ALPHA[image.mode])
    if any("16" in str(tile.args) for tile in image.tile):  # such as RGB;16B
        raise data_error(faults.DEEP, path, "16 bits")
    if (
        image.format == "PNG" and (frames := getattr(image, "n_frames", 1)) > 1
    ):  # further pictures of a JPEG file are fine
        raise data_error(faults.ANIMATED, path, f"{frames} frames")
    return image


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Raise Pillow's errors as DataError."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise data_error(faults.HUGE, path, f"at most {MAX_PIXELS} pixels are decoded") from None
    except UnidentifiedImageError:
        raise data_error(faults.DAMAGED, path, "it cannot be identified") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise data_error(faults.DAMAGED, path, str(error)) from None


def _other_format(start: bytes) -> str:
    """Return the format of a file that cannot be used; empty if unknown."""
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "HTML, such as a login page in place of a download"
    return next((name for signature, name in _OTHERS.items() if start.startswith(signature)), "")
