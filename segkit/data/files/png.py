"""What Pillow does not check in a PNG file: checksums of pixels, the end, the number of rows, and how many bits a
channel had.

Source: PNG Specification, third edition (W3C 2025), chapters 5 (datastream structure), 8.2 (interlacing) and 11
    (chunks).
"""

import zlib
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # colour types, byte 25 of a file
MAX_CHUNKS = 100_000  # writers start a new one every 8 kB or later
_CHANNELS = {GREY: 1, RGB: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # first x and y, steps


@dataclass(frozen=True)
class Png:
    """What a PNG file says of itself.

    Attributes:
        width, height: pixels.
        depth: bits a channel.
        color_type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        interlaced: whether the pixels come in seven passes.
        frames: 1 unless it is animated.
        data: the compressed rows.
    """

    width: int
    height: int
    depth: int
    color_type: int
    interlaced: bool
    frames: int
    data: bytes

    def require_all_rows(self) -> None:
        """Raises ValueError unless the data hold every row: Pillow leaves lacking ones black. Takes memory for the
        rows."""
        bits, size = self.depth * _CHANNELS[self.color_type], 0
        for x, y, step_x, step_y in _ADAM7 if self.interlaced else _WHOLE:
            columns, rows = -(-(self.width - x) // step_x), -(-(self.height - y) // step_y)
            size += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
        try:
            found = len(zlib.decompressobj().decompress(self.data, size))
        except zlib.error as error:
            raise ValueError(f"its pixels are damaged: {error}") from None
        if found < size:
            raise ValueError(f"it holds {found} of {size} bytes of pixels")


def read_png(content: bytes) -> Png:
    """The header and compressed rows of a PNG file.

    Raises:
        ValueError: if a chunk is damaged, the end is missing, or it is no PNG file.
    """
    chunks, at, frames = [], len(SIGNATURE), 1
    view = memoryview(content)
    for _ in range(MAX_CHUNKS):
        name, end = content[at + 4 : at + 8], at + 12 + int.from_bytes(content[at : at + 4])
        if end > len(content) or not name:
            raise ValueError("image file is truncated")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            raise ValueError(f"its part {name.decode('ascii', 'replace')} at byte {at} is damaged")
        if (at == len(SIGNATURE)) != (name == b"IHDR") or (name == b"IHDR" and end - at != 25):
            raise ValueError("it does not begin with one header")
        if name == b"acTL":
            frames = int.from_bytes(content[at + 8 : at + 12])
        if name == b"IDAT":
            chunks.append(view[at + 8 : end - 4])
        if name == b"IEND":
            return Png(*_header(content), frames, b"".join(chunks))
        at = end
    raise ValueError(f"it has more than {MAX_CHUNKS} parts")


def _header(content: bytes) -> tuple[int, int, int, int, bool]:
    """Width, height, depth, colour type, and whether it is interlaced."""
    width, height = (int.from_bytes(content[first : first + 4]) for first in (16, 20))
    depth, color_type = content[24], content[25]
    if not width or not height:
        raise ValueError(f"its size is {width}x{height}")
    if color_type not in _CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise ValueError(f"it has {depth} bits a channel and colour type {color_type}")
    return width, height, depth, color_type, content[28] == 1
