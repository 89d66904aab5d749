"""What the first bytes of a PNG or JPEG file say, without decoding it."""

import struct
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from PIL import Image

from segkit.data.files.png import SIGNATURE

_NO_FRAME = (0xC4, 0xC8, 0xCC)  # of the markers C0..CF, those that begin no frame
_ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        height, width: pixels; 0: only decoding tells.
        depth: bits a channel.
        color: its channels.
    """

    format: Literal["PNG", "JPEG", "MAT"]
    height: int
    width: int
    depth: int
    color: Literal["grey", "RGB", "palette", "grey and alpha", "RGB and alpha", "CMYK"]


_PNG: dict[int, Literal["grey", "RGB", "palette", "grey and alpha", "RGB and alpha"]] = {
    0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGB and alpha",
}  # fmt: skip
_OTHERS = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
_JPEG: dict[int, Literal["grey", "RGB", "CMYK"]] = {1: "grey", 3: "RGB", 4: "CMYK"}


def read_header(path: Path) -> Header | None:
    """The header of a PNG or JPEG file; of a file that is named *.mat, what labels in such files are; None: it is
    neither.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the header of a PNG file is damaged.
    """
    with FileIO(path) as file:
        if path.suffix == ".mat":
            return Header("MAT", 0, 0, 8, "grey")
        start = file.read(32)
        if start.startswith(SIGNATURE):
            return _png(start)
        return _jpeg(file) if start.startswith(b"\xff\xd8\xff") else None


def other_format(path: Path) -> str:
    """What a file is that is neither PNG nor JPEG; empty: unknown.

    Raises:
        OSError: if the file cannot be read.
    """
    with FileIO(path) as file:
        start = file.read(512)
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "HTML: a page in place of a file that was to be downloaded"
    return next((name for signature, name in _OTHERS.items() if start.startswith(signature)), "")


def _png(start: bytes) -> Header:
    """Source: PNG Specification, third edition (W3C 2025), 11.2.1."""
    if len(start) < 32 or start[12:16] != b"IHDR" or start[25] not in _PNG:
        raise ValueError("its header is damaged")
    width, height, depth, color = struct.unpack(">IIBB", start[16:26])
    return Header("PNG", height, width, depth, _PNG[color])


def _jpeg(file: FileIO) -> Header:
    """Of a damaged one, height and width are 0: decoders forgive much.

    Source: ITU-T T.81, B.1 and B.2.2: markers with lengths, up to the start of a frame.
    """
    at = 2
    while True:
        file.seek(at)
        segment = file.read(10)
        if len(segment) < 10 or segment[0] != 0xFF:
            return Header("JPEG", 0, 0, 8, "RGB")
        if segment[1] == 0xFF:  # fill
            at += 1
        elif 0xC0 <= segment[1] <= 0xCF and segment[1] not in _NO_FRAME:
            depth, height, width, channels = struct.unpack(">BHHB", segment[4:])
            return Header("JPEG", height, width, depth, _JPEG.get(channels, "RGB"))
        else:
            at += 2 + int.from_bytes(segment[2:4])


def rotation(path: Path) -> int:
    """EXIF orientation of a file that can be decoded, 1..8; 1: as stored. In a PNG file, what follows the pixels is
    passed over."""
    with Image.open(path) as image:
        if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode all to look behind
            return 1
        try:
            found = image.getexif().get(_ORIENTATION, 1)
        except Exception:  # metadata may be anything
            return 1
    return found if isinstance(found, int) else 1


def palette(path: Path) -> list[tuple[int, int, int]]:
    """Colours of a palette PNG that can be decoded, RGB by id."""
    with Image.open(path) as image:
        values = image.getpalette("RGB") or []
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))
