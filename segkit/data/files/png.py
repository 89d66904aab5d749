"""Checks of PNG files that Pillow omits: checksums of pixels, end of file, number of rows, bits per channel.

Source: PNG Specification, third edition (W3C 2025), chapters 5 (datastream structure), 8.2 (interlacing) and 11
    (chunks).
"""

import zlib
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types, byte 25 of a file
HEADER_BYTES = 33  # signature and first chunk
MAX_CHUNKS = 100_000  # writers make chunks of 8 kB or more
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
_WHOLE = ((0, 0, 1, 1),)  # of each pass: first x and y, steps in x and y
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True)
class PngHeader:
    """First chunk of a PNG file: size in pixels, bits per channel, colour type, and True for seven-pass interlacing."""

    width: int
    height: int
    depth: int
    color_type: int
    interlaced: bool


def png_header(start: bytes) -> PngHeader:
    """Return the header of a PNG file, given its first `HEADER_BYTES`.

    Raises:
        ValueError: if it is damaged.
    """
    if len(start) < HEADER_BYTES:
        raise ValueError("image file is truncated")
    if start[8:16] != b"\0\0\0\x0dIHDR":
        raise ValueError("it does not begin with one header")
    width, height = (int.from_bytes(start[first : first + 4]) for first in (16, 20))
    depth, color_type = start[24], start[25]
    if not width or not height:
        raise ValueError(f"its size is {width}x{height}")
    if color_type not in _CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise ValueError(f"it has {depth} bits a channel and colour type {color_type}")
    return PngHeader(width, height, depth, color_type, start[28] == 1)


def read_png(content: bytes) -> tuple[int, bytes]:
    """Return the number of frames (1 unless animated) and the compressed rows of a PNG file with a valid header.

    Raises:
        ValueError: if a chunk is damaged, or the end is missing.
    """
    rows, at, frames, view = [], len(SIGNATURE), 1, memoryview(content)
    for _ in range(MAX_CHUNKS):
        name, end = content[at + 4 : at + 8], at + 12 + int.from_bytes(content[at : at + 4])
        if end > len(content) or not name:
            raise ValueError("image file is truncated")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            raise ValueError(f"its part {name.decode('ascii', 'replace')} at byte {at} is damaged")
        if name == b"IHDR" and at != len(SIGNATURE):
            raise ValueError("it does not begin with one header")
        if name == b"acTL":
            frames = int.from_bytes(content[at + 8 : at + 12])
        if name == b"IDAT":
            rows.append(view[at + 8 : end - 4])
        if name == b"IEND":
            return frames, b"".join(rows)
        at = end
    raise ValueError(f"it has more than {MAX_CHUNKS} parts")


def require_all_rows(header: PngHeader, rows: bytes) -> None:
    """Decompress the rows to check that they hold the whole image; Pillow leaves missing rows black.

    Raises:
        ValueError: if they do not.
    """
    bits, size = header.depth * _CHANNELS[header.color_type], 0
    for x, y, step_x, step_y in _ADAM7 if header.interlaced else _WHOLE:
        columns, lines = -(-(header.width - x) // step_x), -(-(header.height - y) // step_y)
        size += lines * (1 + -(-columns * bits // 8)) if columns > 0 and lines > 0 else 0
    try:
        found = len(zlib.decompressobj().decompress(rows, size))
    except zlib.error as error:
        raise ValueError(f"its pixels are damaged: {error}") from None
    if found < size:
        raise ValueError(f"it holds {found} of {size} bytes of pixels")
