"""GoogLeNet without its classifier: four stages of convolutions and inception modules."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models.features import NORMALIZATIONS, Features, Needs, NormalizationName, Stages
from segkit.models.geometry import LayerPath, convolution, pooling
from segkit.models.layers import he_convolution, response_normalization, size_of
from segkit.tensors import Image

# 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj: channels of each module
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLED = ("3b", "4e")  # modules that a pooling follows
AUXILIARY = ("4a", "4d")  # modules whose output an auxiliary classifier of the classification net reads
KERNELS = {"3x3": 3, "5x5": 5}


class GoogLeNet(nn.Module):
    """Two convolutional stages, then nine inception modules in two more; pooling is 3x3 of stride 2 with ceil rounding.

    Args:
        restore: a checkpoint follows; there is nothing else to read.
        width: multiplier of every channel count.
        padding: pixels around the image in conv1: 3 in the classification net.
        normalization: input convention; FCN's mean by default.
    Source: Szegedy et al. 2014 (arXiv:1409.4842), BVLC's bvlc_googlenet. Long et al. 2015 build FCN-GoogLeNet from it
        without its 7x7 average pooling; no such net was ever released.
    """

    def __init__(
        self,
        restore: bool = False,
        *,
        width: Annotated[float, Gt(0), Le(4)] = 1.0,
        padding: Annotated[int, Ge(0), Le(200)] = 3,
        normalization: NormalizationName = "fcn",
    ):
        super().__init__()

        def channels(count: int) -> int:
            return max(1, round(count * width))

        self.conv1_7x7_s2 = he_convolution(3, channels(64), 7, padding, stride=2)
        self.conv2_3x3_reduce = he_convolution(channels(64), channels(64), 1)
        self.conv2_3x3 = he_convolution(channels(64), channels(192), 3)
        pool1 = LayerPath((convolution(7, 2, padding), pooling(3, 2)))
        path = pool2 = pool1.then(convolution(1), convolution(3, padding=1), pooling(3, 2))
        maps = [(channels(64), pool1), (channels(192), pool2)]
        incoming, auxiliary = channels(192), []
        for name, counts in MODULES.items():
            incoming = self._add_inception(name, incoming, *map(channels, counts))
            path = path.then(convolution(5, padding=2))
            if name in AUXILIARY:
                auxiliary.append((incoming, path))
            if name in POOLED:
                path = path.then(pooling(3, 2))
            if name in ("3b", "5b"):
                maps.append((incoming, path))
        widths, paths = zip(*maps, strict=True)
        self.stages = Stages(widths, paths, has_indices=False, classifier=None, auxiliary=tuple(auxiliary))
        self.normalization = NORMALIZATIONS[normalization]
        self.pretrained_names: frozenset[str] = frozenset()

    def _add_inception(
        self, name: str, incoming: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int
    ) -> int:
        """Add the six convolutions of an inception module, and return its output channels."""
        shapes = {
            "1x1": (incoming, one),
            "3x3_reduce": (incoming, reduce3),
            "3x3": (reduce3, three),
            "5x5_reduce": (incoming, reduce5),
            "5x5": (reduce5, five),
            "pool_proj": (incoming, pooled),
        }
        for part, (into, out) in shapes.items():
            self.add_module(f"inception_{name}_{part}", he_convolution(into, out, KERNELS.get(part, 1)))
        return one + three + five + pooled

    def _inception(self, name: str, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Apply an inception module: four branches side by side."""

        def layer(part: str, x: Tensor) -> Tensor:
            return F.relu(getattr(self, f"inception_{name}_{part}")(x), inplace=True)

        branches = (
            layer("1x1", x),
            layer("3x3", layer("3x3_reduce", x)),
            layer("5x5", layer("5x5_reduce", x)),
            layer("pool_proj", F.max_pool2d(x, 3, 1, padding=1)),
        )
        return torch.cat(branches, 1)

    def forward(self, image: Image, needs: Needs) -> Features:
        """Return the features of a normalized image [B, 3, H, W]."""
        features = Features(image_size=size_of(image))
        x = F.relu(self.conv1_7x7_s2(image), inplace=True)
        x = response_normalization(features.close_stage(0, x, needs, kernel=3))
        x = F.relu(self.conv2_3x3(F.relu(self.conv2_3x3_reduce(x), inplace=True)), inplace=True)
        x = features.close_stage(1, response_normalization(x), needs, kernel=3)
        for name in MODULES:
            x = self._inception(name, x)
            if name in AUXILIARY and needs.auxiliary and self.training:
                features.auxiliary.append(x)
            if name == "3b":
                x = features.close_stage(2, x, needs, kernel=3)
            elif name in POOLED:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        features.unpooled_sizes[3] = size_of(x)  # of 5b, which no pooling follows
        if 3 in needs.pooled:
            features.pooled[3] = x
        if 3 in needs.unpooled:
            features.unpooled[3] = x
        return features
