"""The interface of encoder and decoder: the encoder's stages, the decoder's needs, and features."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from segkit.errors import InputError
from segkit.models.geometry import LayerPath
from segkit.models.layers import size_of
from segkit.tensors import Size


@dataclass(frozen=True)
class Normalization:
    """RGB mean and std on the 0..255 scale: network input = (image - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __str__(self) -> str:
        return f"Normalization(mean={self.mean}, deviation={self.std})"  # as in the metadata of stored weight files


NormalizationName = Literal["caffe", "fcn", "torchvision", "inception", "raw"]
# Source: the means of VGG's authors (BGR 103.939, 116.779, 123.68); FCN's for VOC (infer.py); torchvision's mean and
# std, times 255; timm's IMAGENET_INCEPTION_MEAN and _STD, times 255: -1 to 1.
NORMALIZATIONS = {
    "caffe": Normalization((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    "fcn": Normalization((122.67891434, 116.66876762, 104.00698793), (1.0, 1.0, 1.0)),
    "torchvision": Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "inception": Normalization((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "raw": Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


@dataclass(frozen=True)
class Stages:
    """Properties of an encoder's stages, fine to coarse.

    Attributes:
        channels: channels of each stage's map.
        paths: layers from the image to each stage's pooled map.
        has_indices: the encoder can give max-pooling indices.
        has_unpooled: the encoder can give its maps before pooling.
        classifier: kernels of fc6 and fc7 of the classification net, as convolutions; None: it has no such layers.
        auxiliary: channels of each map that an auxiliary classifier reads, and the layers to it.
    """

    channels: tuple[int, ...]
    paths: tuple[LayerPath, ...]
    has_indices: bool
    has_unpooled: bool = True
    classifier: tuple[int, int] | None = (7, 1)
    auxiliary: tuple[tuple[int, LayerPath], ...] = ()

    @property
    def strides(self) -> tuple[int, ...]:
        """Image pixels per pixel of each stage's pooled map."""
        return tuple(int(path.coordinates.stride) for path in self.paths)

    def require_equal_widths(self, decoder: str) -> None:
        """Raise InputError if the stages differ in channels: `decoder` gives all its maps one width."""
        if len(set(self.channels)) > 1:
            widths = ", ".join(map(str, self.channels))
            raise InputError(
                f"model.decoder = '{decoder}' needs an encoder whose stages have equal channels; "
                f"this one has {widths}. Use segnet_basic."
            )

    def require_unpadded(self, decoder: str) -> None:
        """Raise InputError if padding makes the maps larger than the image: `decoder` does not crop."""
        if self.strides[0] == 2 and any(self.paths[0].size(pixels) != -(-pixels // 2) for pixels in (1, 2, 3, 4)):
            raise InputError(
                f"model.decoder = '{decoder}' needs maps that are no larger than the image, and the encoder pads it. "
                "Set model.encoder.padding=1, or use fcn32s, fcn16s or fcn8s."
            )

    def require_halving(self, decoder: str) -> None:
        """Raise InputError unless every stage halves the map before it, as 2x2 pooling does.

        `decoder` upsamples by 2 once per stage; its even kernels place a pixel midway between two.
        """
        if self.strides != tuple(2**n for n in range(1, len(self.strides) + 1)):
            strides = ", ".join(map(str, self.strides))
            raise InputError(
                f"model.decoder = '{decoder}' needs an encoder of strides 2, 4, 8, ...; this one has {strides}. "
                "Use segnet_basic or vgg16."
            )
        firsts = [path.coordinates.inverse().shift for path in self.paths]  # of each map's pixel 0 in the image
        if any((x - Fraction(stride - 1, 2)).denominator != 1 for x, stride in zip(firsts, self.strides, strict=True)):
            raise InputError(
                f"model.decoder = '{decoder}' upsamples with even kernels, which align only with maps made by "
                "2x2 pooling; this encoder's are offset by half a pixel. "
                "Use fcn32s, fcn16s or fcn8s, or the encoder segnet_basic or vgg16."
            )


@dataclass(frozen=True)
class Needs:
    """Maps that a decoder uses of the encoder's stages (0 = finest); the encoder keeps no others.

    Attributes:
        pooled: stages whose map after pooling is used.
        indices: stages whose pooling indices are used.
        unpooled: stages whose map before pooling is used.
        auxiliary: the maps for auxiliary classifiers are used, in training.
        kept_channels: channels to which the decoder reduces a map that it keeps for later; None: it keeps all.
    """

    pooled: frozenset[int] = frozenset()
    indices: frozenset[int] = frozenset()
    unpooled: frozenset[int] = frozenset()
    auxiliary: bool = False
    kept_channels: int | None = None


@dataclass
class Features:
    """Maps of one forward pass, by stage; only what the decoder declared.

    Attributes:
        image_size: (height, width) of the image, pixels.
        pooled: stage -> [B, C, H, W] after pooling.
        indices: stage -> int64 [B, C, H, W], index of each maximum in its flattened plane before pooling.
        unpooled: stage -> [B, C, H, W] before pooling.
        unpooled_sizes: stage -> (height, width) before pooling.
        auxiliary: [B, C, H, W] of each map for an auxiliary classifier.
    """

    image_size: Size
    pooled: dict[int, Tensor] = field(default_factory=dict)
    indices: dict[int, Tensor] = field(default_factory=dict)
    unpooled: dict[int, Tensor] = field(default_factory=dict)
    unpooled_sizes: dict[int, Size] = field(default_factory=dict)
    auxiliary: list[Tensor] = field(default_factory=list)

    def close_stage(
        self,
        stage: int,
        x: Float[Tensor, "B C H W"],
        needs: Needs,
        *,
        kernel: int = 2,
        then: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """Max-pool a stage's map with stride 2 and ceil rounding, and keep what the decoder needs of it.

        Args:
            then: applied to the pooled map before anyone uses it, such as dropout.
        """
        self.unpooled_sizes[stage] = size_of(x)
        if stage in needs.unpooled:
            self.unpooled[stage] = x
        if stage in needs.indices:
            x, self.indices[stage] = F.max_pool2d(x, kernel, 2, ceil_mode=True, return_indices=True)
        else:
            x = F.max_pool2d(x, kernel, 2, ceil_mode=True)
        x = then(x) if then else x
        if stage in needs.pooled:
            self.pooled[stage] = x
        return x


def storage_multiplier(needs: Needs, stages: Stages) -> int:
    """Channels per stage that an encoder must store for its decoder; 1 for pooling indices alone, 0 for nothing.

    The deepest map is not stored: the decoder starts from it.

    Source: Badrinarayanan, Kendall and Cipolla 2015 (arXiv:1511.00561), Table 1, for nets whose stages have equal
        widths. Differs: 0 where the paper prints n/a (FCN-Basic-NoAddition).
    """
    stored = (needs.pooled | needs.unpooled) - {len(stages.channels) - 1} | needs.unpooled
    if stored:
        return needs.kept_channels or max(stages.channels[stage] for stage in stored)
    return 1 if needs.indices else 0
