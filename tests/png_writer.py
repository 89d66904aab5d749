"""PNG files, written chunk by chunk after the specification: shares nothing with the reader, and may promise
anything."""

import struct
import zlib

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, *, depth=8, color=RGB, rows=b"", before=b"", after=b"", interlaced=False) -> bytes:
    """A file with valid checksums.

    Args:
        rows: filter byte and pixels of each row, uncompressed.
        before: chunks before the pixels; likewise `after`.
    """
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND")


def rows(pixels, *, depth=8) -> bytes:
    """Rows of a grey or palette image [H][W], each with filter 0, pixels packed from the left."""
    packed = b""
    for row in pixels:
        bits = "".join(f"{value:0{depth}b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        packed += b"\0" + bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return packed


def interlaced_rows(pixels) -> bytes:
    """Rows of the seven passes of an 8-bit grey or palette image [H][W]."""
    # first y, x, steps
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [[row[x::dx] for row in pixels[y::dy]] for y, x, dy, dx in passes]
    return b"".join(rows(part) for part in parts if part and part[0])
