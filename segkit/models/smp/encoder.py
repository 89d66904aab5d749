"""Encoders of segmentation-models-pytorch (smp), timm's among them, under our decoders.

An image is padded at its right and bottom, edge pixels repeated, to a multiple of 32 pixels, since smp's encoders round
in different ways and some pad by the parity of a map; maps are cut to ceil(n / stride) pixels again. Their coordinates
are measured: see `map_coordinates`.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Annotated

import torch
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.errors import InputError
from segkit.models.features import NORMALIZATIONS, Features, Needs, NormalizationName, Stages
from segkit.models.geometry import LayerPath, sampling
from segkit.models.layers import size_of
from segkit.models.smp.hub import load_encoder, refused, require_encoder
from segkit.tensors import Image, Size

MULTIPLE = 32  # pixels that an image is padded to a multiple of: the deepest stride of any encoder
PROBE = (32, 512)  # (height, width) of the image that coordinates are measured on, pixels


def padded_size(size: Size) -> Size:
    """(height, width) of the padded image."""
    height, width = (-(-pixels // MULTIPLE) * MULTIPLE for pixels in size)
    return height, width


class SMPEncoder(nn.Module):
    """An encoder of smp as an `Encoder`.

    Args:
        network: smp's encoder: an image to a list of maps, level n at stride 2^n unless dilated.
        levels: the map of each stage.
        stages: channels and coordinates of the maps.
        normalization: the input that it expects.
        pretrained: it starts from given weights.
        pools: each map is followed by 2x2 max pooling that the list lacks.
        crops: maps are cut to ceil(n / stride) pixels; otherwise they are those of the padded image.
    """

    def __init__(
        self,
        network: nn.Module,
        levels: Sequence[int],
        stages: Stages,
        normalization: NormalizationName,
        *,
        pretrained: bool,
        pools: bool = False,
        crops: bool = True,
    ):
        super().__init__()
        self.network = network
        self.levels, self.stages = tuple(levels), stages
        self.normalization = NORMALIZATIONS[normalization]
        self.pretrained_names = frozenset(f"network.{name}" for name, _ in network.named_parameters() if pretrained)
        self.pools, self.crops = pools, crops

    def forward(self, image: Image, needs: Needs) -> Features:
        """Return the features of a normalized image [B, 3, H, W]."""
        height, width = size_of(image)
        features = Features(image_size=(height, width))
        bottom, right = padded_size((height, width))
        maps = self.network(F.pad(image, (0, right - width, 0, bottom - height), mode="replicate"))
        for stage, (level, stride) in enumerate(zip(self.levels, self.stages.strides, strict=True)):
            features.unpooled_sizes[stage] = (-(-height // (stride // 2)), -(-width // (stride // 2)))
            if stage in needs.pooled:
                x = F.max_pool2d(maps[level], 2) if self.pools else maps[level]
                features.pooled[stage] = x[..., : -(-height // stride), : -(-width // stride)] if self.crops else x
        return features


def smp_encoder(
    restore: bool = False,
    *,
    encoder: str,
    weights: str | None = None,
    depth: Annotated[int, Ge(3), Le(5)] = 5,
    normalization: NormalizationName = "torchvision",
) -> SMPEncoder:
    """An encoder of segmentation-models-pytorch for FCN-32s, FCN-16s and FCN-8s: a stage is the last map of its stride.

    VGG's maps are pooled first, so that stages are those of the paper (pool1 to pool5) and fc6 and fc7 stand on pool5;
    other classification nets have no such layers, and scores come straight from the deepest map.

    Args:
        restore: a checkpoint follows: declare `weights`, do not read or download them.
        encoder: smp's name, such as resnet34 or vgg16_bn, or `tu-` and timm's.
        weights: a .safetensors, .pt or .pth file with the encoder's names, a classifier apart; a name of smp, such as
            imagenet, or `timm` for timm's default, which is downloaded; null: smp's random initialisation.
        depth: stages; from the finest.
        normalization: input convention; downloaded weights are refused if they expect another.
    Raises:
        InputError: if smp has no such encoder, it gives fewer than three maps, their coordinates cannot be determined,
            or the weights do not fit.
    Source: Iakubovskii, segmentation_models.pytorch 0.6, get_encoder. Differs: padding at the right and bottom instead
        of an error. The head differs from torchvision's fcn_resnet50, which has a 3x3 convolution to a quarter of the
        channels, and no skips.
    """
    from segmentation_models_pytorch.encoders import get_encoder

    require_encoder(encoder, "model.encoder.encoder")
    what = f"model.encoder.encoder = '{encoder}' with depth {depth}"
    with refused(what):
        network = get_encoder(encoder, depth=depth, weights=None)
    levels, firsts = map_coordinates(encoder, depth)
    pools = levels[0] == 0
    if pools:  # the deepest map of a whole VGG is pooled already
        levels = levels[:depth]
        firsts = tuple(first + Fraction(2**level, 2) for level, first in zip(levels, firsts, strict=False))
    if len(levels) < 3:
        raise InputError(
            f"{what} has {len(levels)} maps below the image's resolution, expected at least 3. Raise "
            "model.encoder.depth."
        )
    strides = [2 ** (level + pools) for level in levels]
    paths = tuple(LayerPath((sampling(stride, first),)) for stride, first in zip(strides, firsts, strict=True))
    channels = tuple(network.out_channels[level] for level in levels)
    if weights is not None and not restore:
        load_encoder(network, encoder, weights, normalization, section="model.encoder")
    stages = Stages(channels, paths, has_indices=False, has_unpooled=False, classifier=(7, 1) if pools else None)
    return SMPEncoder(network, levels, stages, normalization, pretrained=weights is not None, pools=pools)


@cache
def map_coordinates(encoder: str, depth: int) -> tuple[tuple[int, ...], tuple[Fraction, ...]]:
    """Levels at which an encoder of smp has maps of its own, and the image coordinate of pixel 0 of each, in pixels.

    Measured: the centre of the gradient of two neighbouring pixels of each map, in a net whose convolutions average,
    whose normalizations do nothing, and whose gates (convolutions of 1x1 maps) are constant. Maxima are pulled to the
    right by an image that grows that way and to the left by its mirror image: the mean of the two is the middle.

    Raises:
        InputError: unless map pixels are one stride apart and each map is offset from the one before by a multiple of
            half that map's pixel (tolerance 0.1): otherwise no decoder can put its scores in place.
    """
    from segmentation_models_pytorch.encoders import get_encoder

    what = f"model.encoder.encoder = '{encoder}' with depth {depth}"
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.enable_grad(), refused(what):
        network = get_encoder(encoder, depth=depth, weights=None)
        _make_averaging(network)
        height, width = PROBE
        ramp = torch.linspace(1e-3, 2e-3, width)  # small and positive: activations are linear there
        rows = torch.stack([ramp, ramp.flip(0)] * 2)[:, None, None]
        image = rows.expand(4, 3, height, width).clone().requires_grad_()
        maps = network.float().eval()(image)
        # neither the image itself nor a map without channels
        levels = [n for n, x in enumerate(maps) if x.shape[1] and (n or x.shape[1] != 3)]
        firsts, finer = [Fraction(0)], 1  # of the image itself, and its stride
        for level in levels:
            stride = 2**level
            first, step = _centres(maps[level], image, stride)
            halves = 2 * (first - firsts[-1]) / finer
            determined = abs(step - stride) < 0.1 * stride and abs(halves - round(halves)) < 0.2
            if not determined or size_of(maps[level]) != (height // stride, width // stride):
                raise InputError(
                    f"{what}: its map of stride {stride} has no fixed place in the image (first pixel at about "
                    f"{first:.2f}, step {step:.2f}), so no decoder here can put its scores in place. "
                    "Choose another encoder, such as resnet18 or vgg16_bn."
                )
            firsts.append(firsts[-1] + Fraction(round(halves) * finer, 2))
            finer = stride
    return tuple(levels), tuple(firsts[1:])


def _make_averaging(network: nn.Module) -> None:
    """Make a net's gradient that of a stack of averaging layers."""
    normalizations = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    for name, parameter in network.named_parameters():
        weight = 1 / parameter[0].numel() if parameter.ndim > 1 else 1.0
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else weight)
    for module in network.modules():
        if isinstance(module, normalizations):
            module.register_forward_hook(lambda module, arguments, output: arguments[0].clone())
        elif isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda module, arguments, x: x.detach() if x.ndim == 2 or x.shape[-2:] == (1, 1) else None
            )


def _centres(x: Float[Tensor, "4 C h w"], image: Float[Tensor, "4 3 H W"], stride: int) -> tuple[float, float]:
    """Image coordinate of column 0 of the map, and the step between columns, from two columns in the middle."""
    column = x.shape[-1] // 2 - 1
    (gradient,) = torch.autograd.grad(x[:2, ..., column].sum() + x[2:, ..., column + 1].sum(), image, retain_graph=True)
    seen = gradient.double().sum((1, 2))
    columns = torch.arange(seen.shape[1], dtype=torch.float64)
    one, next_one = (seen @ columns / seen.sum(1)).view(2, 2).mean(1).tolist()
    return one - column * stride, next_one - one
