"""Headers of image and label files (format, size, bits), read without decoding and rejected if unusable."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from segkit.data import faults
from segkit.data.faults import data_error
from segkit.data.files.png import (
    GREY,
    GREY_ALPHA,
    HEADER_BYTES,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SIGNATURE,
    PngHeader,
    png_header,
)

MAX_PIXELS = 89_000_000  # Pillow rejects images with 0.5% more as decompression bombs
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # those of the markers C0..CF that do not begin a frame
Color = Literal["grey", "RGB", "palette", "grey and alpha", "RGB and alpha", "CMYK"]
_PNG: dict[int, Color] = {
    GREY: "grey", RGB: "RGB", PALETTE: "palette", GREY_ALPHA: "grey and alpha", RGB_ALPHA: "RGB and alpha",
}  # fmt: skip
_JPEG: dict[int, Color] = {1: "grey", 3: "RGB", 4: "CMYK"}
_OTHERS = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}


@dataclass(frozen=True)
class Header:
    """Properties that a file declares.

    Attributes:
        height, width: pixels; 0 if only decoding can tell.
        depth: bits per channel.
        color: kind of channels, such as RGB.
        png: header of a PNG file.
    """

    format: Literal["PNG", "JPEG", "MAT"]
    height: int
    width: int
    depth: int
    color: Color
    png: PngHeader | None = None


def read_header(file: BinaryIO, path: Path, *, label: bool) -> Header:
    """Read the header of an image or a label map.

    Args:
        file: the file, at its beginning.
        path: path for messages; a name that ends in .mat means a MATLAB file.
    Raises:
        DataError: if the format, bits or size cannot be used, or the header is damaged.
    """
    start = file.read(512)
    header = _any_header(file, start, path)
    if header is None or (header.format == "JPEG" if label else header.format == "MAT"):
        found = (
            _other_format(start) if header is None else {"JPEG": "a JPEG file", "MAT": "a MATLAB file"}[header.format]
        )
        raise data_error(faults.NO_PNG if label else faults.NO_IMAGE, path, f"it is {found}" if found else "")
    if label and header.color in ("grey and alpha", "RGB and alpha"):
        raise data_error(faults.ALPHA_LABEL, path, header.color)
    if header.depth > 8:
        raise data_error(faults.DEEP, path, f"{header.depth} bits")
    if header.height * header.width > MAX_PIXELS:
        pixels = f"{header.height}x{header.width} pixels"
        raise data_error(faults.HUGE, path, f"{pixels}; at most {MAX_PIXELS} are decoded")
    return header


def _any_header(file: BinaryIO, start: bytes, path: Path) -> Header | None:
    if path.suffix == ".mat":
        return Header("MAT", 0, 0, 8, "grey")
    if start.startswith(SIGNATURE):
        try:
            png = png_header(start[:HEADER_BYTES])
        except ValueError as error:
            raise data_error(faults.DAMAGED, path, str(error)) from None
        return Header("PNG", png.height, png.width, png.depth, _PNG[png.color_type], png)
    if not start.startswith(b"\xff\xd8\xff"):
        return None
    # Source: ITU-T T.81, B.1 and B.2.2: markers with lengths, up to the start of a frame
    at = 2
    while True:
        file.seek(at)
        segment = file.read(10)
        if len(segment) < 10 or segment[0] != 0xFF:  # damaged, but decoders may still read it
            return Header("JPEG", 0, 0, 8, "RGB")
        if segment[1] == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= segment[1] <= 0xCF and segment[1] not in _NO_FRAME:
            depth, height, width, channels = struct.unpack(">BHHB", segment[4:])
            return Header("JPEG", height, width, depth, _JPEG.get(channels, "RGB"))
        else:
            at += 2 + int.from_bytes(segment[2:4])


def _other_format(start: bytes) -> str:
    """Return the format of a file that is neither PNG nor JPEG; empty if unknown."""
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "HTML, such as a login page in place of a download"
    return next((name for signature, name in _OTHERS.items() if start.startswith(signature)), "")
