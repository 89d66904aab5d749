"""Layers that more than one file uses."""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.tensors import Logits, Size

Upsampling = Literal["fixed", "learned", "learned_intermediate", "learned_final"]
BatchNormKind = Literal["torch", "caffe", "caffe_zero_shift"]


def size_of(x: Tensor) -> Size:
    """(height, width) of a map [..., H, W]."""
    height, width = x.shape[-2:]
    return height, width


def he_convolution(
    incoming: int, outgoing: int, kernel: int, padding: int | None = None, *, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Convolution with He initialisation over fan-in (Caffe's MSRA filler) and zero bias; same-padding by default."""
    layer = nn.Conv2d(incoming, outgoing, kernel, stride, kernel // 2 if padding is None else padding, groups=groups)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    return layer


def zero_convolution(incoming: int, outgoing: int) -> nn.Conv2d:
    """1x1 convolution that starts at zero: Caffe's default filler, used by every score layer of FCN."""
    layer = nn.Conv2d(incoming, outgoing, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    return layer


def crop_to(x: Tensor, offset: int, size: Size) -> Tensor:
    """Cut `offset` pixels off the top and left of a map [..., H, W], then cut it to `size`."""
    height, width = size
    return x[..., offset : offset + height, offset : offset + width]


def response_normalization(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Local response normalization: 5 channels, alpha 1e-4, beta 0.75, k 1 (CaffeNet, GoogLeNet, SegNet-Basic)."""
    return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)


def unpool(x: Float[Tensor, "B C h w"], indices: Int64[Tensor, "B C h w"], size: Size) -> Float[Tensor, "B C H W"]:
    """Put each value of `x` back at its index, among zeros [B, C, H, W]: `F.max_unpool2d` and its gradient, bit by bit.

    Scatters into each plane, which is deterministic on every device as long as no two values share an index;
    torch refuses `F.max_unpool2d` in deterministic mode. Keeps the memory layout of `x`.

    Args:
        x: pooled map.
        indices: index of each value in its flattened plane of H x W, as max pooling returns them.
        size: (H, W) before pooling.
    """
    (batch, channels), (height, width) = x.shape[:2], size
    if x.is_contiguous():
        plane = x.new_zeros(batch, channels, height * width)
        return plane.scatter_(2, indices.flatten(2), x.flatten(2)).unflatten(2, (height, width))
    places, values = (each.permute(0, 2, 3, 1).flatten(1, 2) for each in (indices, x))
    plane = x.new_zeros(batch, height * width, channels)
    return plane.scatter_(1, places, values).unflatten(1, (height, width)).permute(0, 3, 1, 2)


class CaffeBatchNorm(nn.BatchNorm2d):
    """Batch norm as caffe-segnet has it: eps 1e-9, variance of the batch without Bessel's correction.

    Args:
        channels: C.
        shift: initial shift: 0.001 in SegNet's prototxts, 0 in Bayesian SegNet's.
    Source: alexgkendall/caffe-segnet bn_layer.cpp and segnet_train.prototxt. Differs: it keeps running averages
        (torch's momentum), where the original has none and needs a pass over the training images (`segkit
        bn-statistics`) before it can be tested.
    """

    def __init__(self, channels: int, shift: float = 0.001):
        super().__init__(channels, eps=1e-9)
        nn.init.constant_(self.bias, shift)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalize [B, C, H, W]; in training by the batch's own statistics."""
        if not (self.training and self.track_running_stats):
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum or 0.0
        mean, variance = self.running_mean.clone(), self.running_var.clone()  # autograd keeps these, not the buffers
        output = F.batch_norm(
            input, mean, variance, self.weight, self.bias, training=True, momentum=momentum, eps=self.eps
        )
        kept, values = self.running_var * (1 - momentum), input.numel() // input.shape[1]
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance - (variance - kept) / values)
        return output


def batch_norm_layer(channels: int, kind: BatchNormKind) -> nn.BatchNorm2d:
    """Batch norm of torch (eps 1e-5, shift 0, Bessel's correction in the running variance), or of caffe-segnet."""
    if kind == "torch":
        return nn.BatchNorm2d(channels)
    return CaffeBatchNorm(channels, shift=0.001 if kind == "caffe" else 0.0)


def bilinear_kernel(size: int) -> Tensor:
    """Bilinear interpolation kernel [size, size].

    Source: shelhamer/fcn.berkeleyvision.org surgery.py, upsample_filt.
    """
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    line = 1 - (torch.arange(size, dtype=torch.float64) - center).abs() / factor
    return torch.outer(line, line).float()


class Upsample(nn.Module):
    """Transposed convolution with stride `factor` and without padding that starts as bilinear interpolation.

    n pixels become factor x (n - 1) + kernel; the decoder crops the margin.

    Args:
        num_classes: channels in and out.
        factor: upsampling factor.
        learned: a dense kernel [K, K, k, k] that starts with the bilinear kernel on its diagonal and is trained;
            otherwise the bilinear kernel of each class stays.
        kernel: pixels of a side; None: 2 x factor.
    Source: surgery.py interp, and the released prototxts, where every such layer is dense with lr 0; the fixed one is
        the same function computed per channel.
    """

    def __init__(self, num_classes: int, factor: int, *, learned: bool, kernel: int | None = None):
        super().__init__()
        self.factor = factor
        kernel = kernel or 2 * factor
        weight = bilinear_kernel(kernel)
        if learned:
            dense = torch.zeros(num_classes, num_classes, kernel, kernel)
            dense[range(num_classes), range(num_classes)] = weight
            self.weight = nn.Parameter(dense)
            self.groups = 1
        else:
            self.register_buffer("weight", weight.expand(num_classes, 1, -1, -1).contiguous(), persistent=False)
            self.groups = num_classes

    def forward(self, x: Float[Tensor, "B K h w"]) -> Logits:
        """Upsample [B, K, h, w] to [B, K, factor (h - 1) + kernel, factor (w - 1) + kernel]."""
        return F.conv_transpose2d(x, self.weight, stride=self.factor, groups=self.groups)
