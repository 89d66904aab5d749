"""FCN-Basic and its variants in SegNet's Table 1: FCN's way of decoding on SegNet-Basic's encoder.

Source: Badrinarayanan, Kendall and Cipolla 2015 (arXiv:1511.00561), section 3.1, Figure 3 and Table 1. No such net was
    released.
"""

import torch
from torch import nn

from segkit.models.features import Features, Needs, Stages
from segkit.models.geometry import CoordinateMap, crop, crop_offsets, deconvolution
from segkit.models.layers import Upsample, bilinear_kernel, he_convolution
from segkit.tensors import Logits

KERNEL = 8


class FCNBasic(nn.Module):
    """The deepest map, enlarged twice per stage by learned kernels; the pooled map of the stage reached is added.

    With dimensionality reduction, every encoder map goes through a 1x1 convolution to K channels before it is used;
    without, maps keep their 64 channels, and a 1x1 convolution gives the logits in the end. Computed in float32.

    Args:
        stages: what the encoder states.
        num_classes: K.
        addition: add encoder maps.
        reduction: reduce them to K channels first.
    Raises:
        InputError: if the encoder pads the image, its stages do not halve, or differ in width where maps are not
            reduced.
    Source: see the module: kernels of 8x8 that start bilinear, maps after pooling are added, no other filters in the
        decoder. Differs: an 8x8 bilinear kernel enlarges by 4; used at stride 2 it is divided by 4, so that a constant
        map stays what it is.
    """

    minimum_size = 1

    def __init__(self, stages: Stages, num_classes: int, *, addition: bool, reduction: bool):
        super().__init__()
        name = "fcn_basic" + ("" if addition else "_no_addition") + ("" if reduction else "_no_dim_reduction")
        stages.require_halving(name)
        stages.require_unpadded(name)
        if not reduction:
            stages.require_equal_widths(name)
        depth = len(stages.channels)
        self.stages = [*range(depth - 1, -1, -1)]  # deepest first
        used = frozenset(range(depth)) if addition else frozenset({depth - 1})
        self.needs = Needs(pooled=used, kept_channels=num_classes if reduction else None)
        self.reduction = reduction
        position = stages.paths[-1].coordinates
        targets = [*(stages.paths[stage].coordinates for stage in self.stages[1:]), CoordinateMap()]
        self.crops: list[int] = []
        for stage, target in zip(self.stages, targets, strict=True):
            if reduction and stage in used:
                self.add_module(f"reduce{stage + 1}", he_convolution(stages.channels[stage], num_classes, 1))
            up = LearnedUpsample(num_classes if reduction else stages.channels[stage])
            self.add_module(f"upsample{stage + 1}", up)
            cut, missing = crop_offsets(position.then(deconvolution(KERNEL, 2).coordinates), target)
            assert not missing, "an 8x8 kernel reaches further than its map"
            self.crops.append(cut)
            position = position.then(deconvolution(KERNEL, 2).coordinates).then(crop(cut))
        if not reduction:
            self.classifier = he_convolution(stages.channels[0], num_classes, 1)

    def forward(self, features: Features) -> Logits:
        """[B, K, H, W] float32 logits at image size."""
        with torch.autocast(features.pooled[self.stages[0]].device.type, enabled=False):
            x = self._encoder_map(features, self.stages[0])
            for stage, cut in zip(self.stages, self.crops, strict=True):
                height, width = features.unpooled_sizes[stage]
                x = self.get_submodule(f"upsample{stage + 1}")(x)[..., cut : cut + height, cut : cut + width]
                if stage - 1 in self.needs.pooled:
                    x = x + self._encoder_map(features, stage - 1)
            return x if self.reduction else self.classifier(x)

    def _encoder_map(self, features: Features, stage: int) -> torch.Tensor:
        x = features.pooled[stage].float()
        return self.get_submodule(f"reduce{stage + 1}")(x) if self.reduction else x


class LearnedUpsample(nn.ConvTranspose2d):
    """Enlargement by 2 with a dense 8x8 kernel that starts bilinear, each channel alone, and keeps constants."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, KERNEL, stride=2, bias=False)
        nn.init.zeros_(self.weight)
        with torch.no_grad():
            self.weight[range(channels), range(channels)] = bilinear_kernel(KERNEL) / 4


class BilinearInterpolation(nn.Module):
    """Scores of the deepest map, enlarged to the image by bilinear interpolation: the decoder learns nothing.

    Args:
        stages: what the encoder states.
        num_classes: K.
    Source: see the module; the enlargement is the one of FCN with its kernel fixed.
    """

    minimum_size = 1

    def __init__(self, stages: Stages, num_classes: int):
        super().__init__()
        stages.require_halving("bilinear_interpolation")
        deepest = len(stages.channels) - 1
        self.needs = Needs(pooled=frozenset({deepest}))
        self.classifier = he_convolution(stages.channels[deepest], num_classes, 1)
        self.upsample = Upsample(num_classes, stages.strides[deepest], learned=False)
        position = stages.paths[deepest].coordinates.then(self.upsample.layer.coordinates)
        self.offset, missing = crop_offsets(position, CoordinateMap())
        assert not missing, "the encoder pads its maps"

    def forward(self, features: Features) -> Logits:
        """[B, K, H, W] float32 logits at image size."""
        x = features.pooled[max(features.pooled)]
        height, width = features.image_size
        with torch.autocast(x.device.type, enabled=False):
            x = self.upsample(self.classifier(x.float()))
        return x[..., self.offset : self.offset + height, self.offset : self.offset + width]


def fcn_basic(stages: Stages, num_classes: int) -> FCNBasic:
    """FCN-Basic: encoder maps of K channels are added."""
    return FCNBasic(stages, num_classes, addition=True, reduction=True)


def fcn_basic_no_addition(stages: Stages, num_classes: int) -> FCNBasic:
    """FCN-Basic-NoAddition: only the deepest map, reduced to K channels."""
    return FCNBasic(stages, num_classes, addition=False, reduction=True)


def fcn_basic_no_dim_reduction(stages: Stages, num_classes: int) -> FCNBasic:
    """FCN-Basic-NoDimReduction: encoder maps of 64 channels are added."""
    return FCNBasic(stages, num_classes, addition=True, reduction=False)


def fcn_basic_no_addition_no_dim_reduction(stages: Stages, num_classes: int) -> FCNBasic:
    """FCN-Basic-NoAddition-NoDimReduction: only the deepest map, with 64 channels."""
    return FCNBasic(stages, num_classes, addition=False, reduction=False)
