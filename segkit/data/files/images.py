"""Readers of image and label files, whose errors are one sentence that names the file.

Only PNG and JPEG are read, recognized by content and not by name; MATLAB files with labels are recognized by name. EXIF
rotation is ignored for images and labels alike, so that pairs stay aligned.
"""

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from segkit.data import faults
from segkit.data.faults import Fault, data_error
from segkit.data.files.headers import MAX_PIXELS, Header, read_header
from segkit.data.files.mat import decode_mat
from segkit.data.files.png import read_png, require_all_rows
from segkit.errors import InputError
from segkit.tensors import RawImage, RawLabels

MAX_BYTES = 400_000_000  # of a file; MAX_PIXELS take less, even uncompressed


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


def read_file(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        DataError: if it is missing, empty, too large, not a regular file, or not readable.
    """
    if fault := file_fault(path):
        raise faults.DataError(fault)
    try:
        return path.read_bytes()
    except OSError as error:
        raise data_error(faults.UNREADABLE, path, error.strerror or str(error)) from None


def read_image_header(path: Path) -> Header:
    """Read the header of an image file, without decoding it.

    Raises:
        DataError: if the header already shows that the file cannot be used.
    """
    if fault := file_fault(path):
        raise faults.DataError(fault)
    try:
        with io.FileIO(path) as file:
            return read_header(file, path, label=False)
    except OSError as error:
        raise data_error(faults.UNREADABLE, path, error.strerror or str(error)) from None


def decode_image(content: bytes, path: Path) -> tuple[RawImage, Header]:
    """Decode the bytes of an image file as `read_image` does; `path` is for messages."""
    header = read_header(io.BytesIO(content), path, label=False)
    image = _decode(content, header, path, label=False)
    image.info.pop("transparency", None)  # Pillow would warn that it drops it
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), header


def decode_labels(content: bytes, path: Path) -> tuple[RawLabels | RawImage, Header]:
    """Decode the bytes of a label file as `read_labels` does; `path` is for messages."""
    header = read_header(io.BytesIO(content), path, label=True)
    if header.format == "MAT":
        try:
            return decode_mat(content), header
        except ValueError as error:
            raise data_error(faults.DAMAGED, path, str(error)) from None
    labels = np.asarray(_decode(content, header, path, label=True)).astype(np.uint8)
    if header.color == "grey" and header.depth in (2, 4):
        labels //= 255 // (2**header.depth - 1)  # undo Pillow's scaling of ids to 0..255
    return labels, header


def _decode(content: bytes, header: Header, path: Path, *, label: bool) -> Image.Image:
    try:
        frames, rows = read_png(content) if header.png else (1, b"")
        if frames != 1:
            raise data_error(faults.ANIMATED, path, f"{frames} frames")
        if header.png and label:  # not for images, where it would take half as long as decoding
            require_all_rows(header.png, rows)
        with warnings.catch_warnings(action="ignore"):  # about odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG",) if label else ("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                image.load()
        return image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise data_error(faults.HUGE, path, f"at most {MAX_PIXELS} pixels are decoded") from None
    except UnidentifiedImageError:
        raise data_error(faults.DAMAGED, path, "it cannot be identified") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise data_error(faults.DAMAGED, path, str(error)) from None
