"""Image and mask files: what is on disk, or one sentence that names the file.

PNG and JPEG only, told by content and not by name. EXIF rotation is ignored for images and masks alike, so that pairs
stay aligned.
"""

import io
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from segkit.data.files.png import GREY, SIGNATURE, Png, read_png
from segkit.errors import InputError
from segkit.tensors import RawImage, RawLabels

MAX_PIXELS = 89_000_000  # Pillow takes for a bomb what has 0.5% more
MAX_BYTES = 400_000_000  # of a file: more than so many pixels take without compression


def read_image(path: Path) -> RawImage:
    """RGB image, uint8 [H, W, 3]. Grey, palette and CMYK images are converted, alpha is dropped, EXIF rotation is
    ignored.

    Of several pictures in a JPEG file, as cameras write them, the first is read.

    Raises:
        InputError: if the file is missing, damaged, of another format, animated, too large, or has 16 bits a channel.
    """
    image, _ = _open(path, "PNG", "JPEG")
    image.info.pop("transparency", None)  # Pillow warns that it drops it
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_mask(path: Path) -> RawLabels | RawImage:
    """Class ids as stored, uint8 [H, W], or the colours of an RGB mask, uint8 [H, W, 3].

    Palette masks give their palette index, never their colour. JPEG is refused: it would change ids.

    Raises:
        InputError: as `read_image`, and for a mask with alpha.
    """
    image, png = _open(path, "PNG")
    if image.mode not in ("L", "P", "1", "RGB"):
        raise InputError(
            f"{path} has mode {image.mode}; expected one 8-bit channel of class ids (mode L or P), or RGB. Save the mask without alpha."
        )
    mask = np.asarray(image).astype(np.uint8)
    if png and png.color_type == GREY and png.depth in (2, 4):
        mask //= 255 // (2**png.depth - 1)  # Pillow spreads ids over 0..255
    return mask


def read_index_mask(path: Path) -> RawLabels:
    """Class ids as stored, uint8 [H, W].

    Raises:
        InputError: as `read_mask`, and for an RGB mask.
    """
    mask = read_mask(path)
    if mask.ndim == 3:
        raise InputError(
            f"{path} has mode RGB; expected one 8-bit channel of class ids (mode L or P). Save the mask as indices, not as colours."
        )
    return mask


def _open(path: Path, *formats: str) -> tuple[Image.Image, Png | None]:
    """The decoded image and, of a PNG file, what it says of itself."""
    expected = " or ".join(formats)
    content = read_file(path, expected)
    try:
        png = read_png(content) if content.startswith(SIGNATURE) else None
        _refuse_other_kinds(path, png)
        with warnings.catch_warnings(action="ignore"):  # of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=formats) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                if png and formats == ("PNG",):  # for images it would take half as long as decoding
                    png.require_all_rows()
                image.load()
        return image, png
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{path} declares more than {MAX_PIXELS} pixels; nothing was decoded. Crop or shrink the image first."
        ) from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is no {expected} file. Copy it again from its source, or convert it first.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"{path} cannot be decoded ({error}); expected a whole {expected} file. Copy it again from its source."
        ) from None


def read_file(path: Path, expected: str) -> bytes:
    """The bytes of a file, of a kind that `expected` names.

    Raises:
        InputError: if it is missing, empty, too large or no ordinary file.
    """
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            raise InputError(f"{path} is a folder; expected a {expected} file. Check the path.")
        if not stat.S_ISREG(about.st_mode):  # a pipe would never end
            raise InputError(f"{path} is no ordinary file; expected a {expected} file. Check the path.")
        if about.st_size > MAX_BYTES:
            raise InputError(
                f"{path} has {about.st_size} bytes; expected at most {MAX_BYTES}. Crop or shrink the image first."
            )
        if not about.st_size:
            raise InputError(f"{path} is empty; expected a {expected} file. Copy it again from its source.")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; expected a {expected} file. Check the dataset's folder and split lists."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be read: {reason}; expected a {expected} file. Check the path and its rights."
        ) from None


def _refuse_other_kinds(path: Path, png: Png | None) -> None:
    if png and png.depth > 8:
        raise InputError(f"{path} has {png.depth} bits a channel; expected at most 8. Convert it first.")
    if png and png.frames != 1:
        raise InputError(
            f"{path} holds an animation of {png.frames} frames; expected one image. Save the frame that is meant."
        )
