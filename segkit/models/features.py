"""What passes from an encoder to a decoder, and what a decoder says it needs."""

from dataclasses import dataclass, field

from torch import Tensor

from segkit.models.geometry import CoordinateMap
from segkit.tensors import Size


@dataclass(frozen=True)
class Normalization:
    """RGB mean and deviation on the 0..255 scale: network input = (image - mean) / deviation."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


@dataclass(frozen=True)
class Stages:
    """What an encoder states about its stages, fine to coarse.

    Attributes:
        channels: channels of each stage's map.
        maps: coordinate map from the image to each stage's pooled map.
        has_indices: whether the encoder can give max-pooling indices.
    """

    channels: tuple[int, ...]
    maps: tuple[CoordinateMap, ...]
    has_indices: bool

    @property
    def strides(self) -> tuple[int, ...]:
        """Image pixels per pixel of each stage's pooled map."""
        return tuple(int(m.stride) for m in self.maps)


@dataclass(frozen=True)
class Needs:
    """Stages (0 = finest) of which a decoder needs the pooled map, the pooling indices, or the map before pooling."""

    pooled: frozenset[int] = frozenset()
    indices: frozenset[int] = frozenset()
    unpooled: frozenset[int] = frozenset()


@dataclass
class Features:
    """Maps of one forward pass, by stage; only what the decoder declared.

    Attributes:
        image_size: (height, width) of the image, pixels.
        pooled: stage -> [B, C, H, W] after pooling.
        indices: stage -> int64 [B, C, H, W], position of each maximum in its flattened plane before pooling.
        unpooled: stage -> [B, C, H, W] before pooling.
        unpooled_sizes: stage -> (height, width) before pooling.
    """

    image_size: Size
    pooled: dict[int, Tensor] = field(default_factory=dict)
    indices: dict[int, Tensor] = field(default_factory=dict)
    unpooled: dict[int, Tensor] = field(default_factory=dict)
    unpooled_sizes: dict[int, Size] = field(default_factory=dict)
