"""Names for shapes, and the label that is never counted.

B batch, C channels, H height, W width (pixels), K classes. Sizes are (height, width).
"""

from typing import NamedTuple

from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

IGNORE = 255

Image = Float[Tensor, "B 3 H W"]
Labels = Int64[Tensor, "B H W"]
Logits = Float[Tensor, "B K H W"]
RawImage = UInt8[ndarray, "H W 3"]
RawLabels = UInt8[ndarray, "H W"]
Size = tuple[int, int]


class AuxiliaryLogits(NamedTuple):
    """Training output with auxiliary classifiers: main logits, theirs [B, K, H, W] each, and the weight of each."""

    logits: Logits
    auxiliary: tuple[Logits, ...]
    weight: float
