"""Images that are nearly equal: perceptual hashes and their distances."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from segkit.tensors import RawImage

NEAR_BITS = 6  # of 64. Of CamVid's 143,000 pairs across splits none is nearer than 8, frames of a video 1/15 s apart mostly are at 0..6
_SIDE, _KEPT = 32, 8  # pixels, frequencies


def appearance(image: RawImage) -> int:
    """64 bits that hardly change with size, compression and brightness: signs of low frequencies about their median.

    Source: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions, section 3.2 (DCT based
        hash).
    """
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:_KEPT, :_KEPT].ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes())  # without the mean brightness


def near_copies(ones: Sequence[int], others: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """For each of `others` that is near one of `ones`: the index of the nearest one, its own index, and how many bits
    differ."""
    if not ones:
        return
    table = np.array(ones, np.uint64)
    for index, bits in enumerate(others):
        distances = np.bitwise_count(table ^ np.uint64(bits))
        nearest = int(distances.argmin())
        if distances[nearest] <= NEAR_BITS:
            yield nearest, index, int(distances[nearest])
