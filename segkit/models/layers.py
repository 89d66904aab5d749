"""Layers that more than one file uses."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models.geometry import CoordinateMap, deconvolution
from segkit.tensors import Logits, Size

Upsampling = Literal["fixed", "learned"]


def size_of(x: Tensor) -> Size:
    """(height, width) of a map [..., H, W]."""
    height, width = x.shape[-2:]
    return height, width


def he_convolution(incoming: int, outgoing: int, kernel: int, padding: int | None = None) -> nn.Conv2d:
    """Convolution of stride 1 with He initialisation over fan-in (Caffe's MSRA filler) and zero bias; same-padding by default."""
    layer = nn.Conv2d(incoming, outgoing, kernel, padding=kernel // 2 if padding is None else padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    return layer


def zero_convolution(incoming: int, outgoing: int) -> nn.Conv2d:
    """1x1 convolution that starts at zero: Caffe's default filler, used by every score layer of FCN."""
    layer = nn.Conv2d(incoming, outgoing, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    return layer


def bilinear_kernel(size: int) -> Tensor:
    """[size, size] bilinear interpolation kernel.

    Source: shelhamer/fcn.berkeleyvision.org surgery.py, upsample_filt.
    """
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    line = 1 - (torch.arange(size, dtype=torch.float64) - center).abs() / factor
    return torch.outer(line, line).float()


class Upsample(nn.Module):
    """Transposed convolution with kernel 2 x factor and stride factor, without padding, that starts as bilinear interpolation.

    n pixels become factor x (n + 1): a margin of factor / 2 on each side, which the decoder crops.

    Args:
        num_classes: channels in and out.
        factor: enlargement.
        upsampling: `fixed`: the bilinear kernel of each class stays; `learned`: a dense kernel [K, K, k, k] that starts with the
            bilinear kernel on its diagonal and is trained.
    Source: surgery.py interp, and the released prototxts, where every such layer is dense with lr 0; `fixed` is the same function
        computed per channel.
    """

    def __init__(self, num_classes: int, factor: int, upsampling: Upsampling):
        super().__init__()
        self.factor = factor
        self.coordinates: CoordinateMap = deconvolution(2 * factor, factor)
        kernel = bilinear_kernel(2 * factor)
        if upsampling == "learned":
            weight = torch.zeros(num_classes, num_classes, 2 * factor, 2 * factor)
            weight[range(num_classes), range(num_classes)] = kernel
            self.weight = nn.Parameter(weight)
            self.groups = 1
        else:
            self.register_buffer("weight", kernel.expand(num_classes, 1, -1, -1).contiguous(), persistent=False)
            self.groups = num_classes

    def forward(self, x: Float[Tensor, "B K h w"]) -> Logits:
        """[B, K, h, w] to [B, K, factor (h + 1), factor (w + 1)]."""
        return F.conv_transpose2d(x, self.weight, stride=self.factor, groups=self.groups)
