"""Label maps in MATLAB files, as in SBD.

scipy.io.loadmat reads these files too, but a damaged one crashes the process, and it also reads the contours.
Source: MathWorks, MAT-File Format (level 5), chapter 1.
"""

import zlib
from collections.abc import Iterator

import numpy as np

from segkit.data.files.headers import MAX_PIXELS
from segkit.tensors import RawLabels

HEADER, LITTLE_ENDIAN = 128, b"IM"
_UINT8, _INT32, _MATRIX, _COMPRESSED = 2, 5, 14, 15  # kinds of data elements
_STRUCT, _UINT8_ARRAY = 2, 9  # classes of arrays
MAX_BYTES = 2 * MAX_PIXELS  # of a decompressed element


def decode_mat(content: bytes) -> RawLabels:
    """Return the class ids of an SBD file, uint8 [H, W]: the field `Segmentation` of its struct `GTcls`.

    Raises:
        ValueError: if the file is damaged, of another kind, or too large.
    Source: Hariharan et al. 2011, Semantic Contours from Inverse Detectors; benchmark.tgz.
    """
    if len(content) < HEADER or content[HEADER - 2 : HEADER] != LITTLE_ENDIAN:
        raise ValueError("it is not a MATLAB file of level 5")
    for kind, data in _elements(memoryview(content)[HEADER:]):
        if kind == _COMPRESSED:
            try:
                whole = zlib.decompressobj().decompress(data, MAX_BYTES)
            except zlib.error as error:
                raise ValueError(f"it is damaged: {error}") from None
            kind, data = next(_elements(memoryview(whole)), (0, data))
        if kind != _MATRIX:
            continue
        parts = list(_elements(data))
        if len(parts) > 5 and parts[0][1][:1] == bytes([_STRUCT]) and bytes(parts[2][1]) == b"GTcls":
            size, names = int.from_bytes(parts[3][1], "little"), bytes(parts[4][1])
            fields = [names[at : at + size].rstrip(b"\0") for at in range(0, len(names), max(1, size))]
            if b"Segmentation" in fields and len(parts) == 5 + len(fields):
                return _labels(parts[5 + fields.index(b"Segmentation")][1])
    raise ValueError("it holds no GTcls.Segmentation")


def _labels(data: memoryview) -> RawLabels:
    """Return the labels of a uint8 matrix, which MATLAB stores by columns."""
    parts = list(_elements(data))
    if len(parts) < 4 or parts[0][1][:1] != bytes([_UINT8_ARRAY]) or parts[1][0] != _INT32 or parts[3][0] != _UINT8:
        raise ValueError("GTcls.Segmentation is not a map of uint8")
    shape = np.frombuffer(parts[1][1], "<i4").tolist()
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] != len(parts[3][1]):
        raise ValueError(f"GTcls.Segmentation of {shape} holds {len(parts[3][1])} bytes")
    return np.frombuffer(parts[3][1], np.uint8).reshape(shape, order="F").copy(order="C")


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the kind and bytes of each data element.

    Short elements share eight bytes with their kind; the others are padded to a multiple of eight bytes.
    """
    at = 0
    while at + 8 <= len(data):
        kind, size = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 8], "little")
        if kind >> 16:
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > min(len(data), end):
            raise ValueError(f"it is truncated or damaged at byte {at}")
        yield kind, data[start : start + size]
        at = end
