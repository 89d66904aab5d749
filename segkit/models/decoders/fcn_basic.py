"""FCN-Basic and its variants in SegNet's Table 1: FCN's way of decoding on SegNet-Basic's encoder.

Source: Badrinarayanan, Kendall and Cipolla 2015 (arXiv:1511.00561), section 3.1, Figure 3 and Table 1. Never released.
"""

import torch
from torch import nn

from segkit.models.features import Features, Needs, Stages
from segkit.models.geometry import IMAGE, align
from segkit.models.layers import Upsample, bilinear_kernel, crop_to, he_convolution
from segkit.tensors import Logits

KERNEL = 8


class FCNBasic(nn.Module):
    """The deepest map, upsampled by 2 for each stage with learned kernels; each stage's pooled map is added.

    With dimensionality reduction, every encoder map goes through a 1x1 convolution to K channels before it is used;
    without, maps keep their 64 channels, and a 1x1 convolution gives the logits in the end. Computed in float32.

    Args:
        stages: the encoder's stages.
        num_classes: K.
        addition: add encoder maps.
        reduction: reduce them to K channels first.
    Raises:
        InputError: if the encoder pads the image, its stages do not halve, or unreduced maps differ in width.
    Source: see the module: kernels of 8x8 that start bilinear, maps after pooling are added, no other filters in the
        decoder. Differs: an 8x8 bilinear kernel is made for upsampling by 4; used at stride 2 it is divided by 4, so
        that a constant map stays constant.
    """

    minimum_size = 1

    def __init__(self, stages: Stages, num_classes: int, *, addition: bool, reduction: bool):
        super().__init__()
        name = "fcn_basic" + ("" if addition else "_no_addition") + ("" if reduction else "_no_dim_reduction")
        stages.require_halving(name)
        stages.require_unpadded(name)
        if not reduction:
            stages.require_equal_widths(name)
        self.reduction = reduction
        self.deepest = len(stages.channels) - 1
        used = frozenset(range(self.deepest + 1)) if addition else frozenset({self.deepest})
        self.needs = Needs(pooled=used, kept_channels=num_classes if reduction else None)
        coordinates, self.crops = stages.paths[-1].coordinates, [0] * (self.deepest + 1)
        for stage in range(self.deepest, -1, -1):
            if reduction and stage in used:
                self.add_module(f"reduce{stage + 1}", he_convolution(stages.channels[stage], num_classes, 1))
            channels = num_classes if reduction else stages.channels[stage]
            self.add_module(f"upsample{stage + 1}", LearnedUpsample(channels))
            target = stages.paths[stage - 1].coordinates if stage else IMAGE
            alignment = align(coordinates, target, kernel=KERNEL)
            assert not alignment.target_crop, "an 8x8 kernel reaches beyond its map"
            coordinates, self.crops[stage] = alignment.coordinates, alignment.crop
        if not reduction:
            self.classifier = he_convolution(stages.channels[0], num_classes, 1)

    def forward(self, features: Features) -> Logits:
        """Return [B, K, H, W] float32 logits at image size."""
        with torch.autocast(features.pooled[self.deepest].device.type, enabled=False):
            x = self._encoder_map(features, self.deepest)
            for stage in range(self.deepest, -1, -1):
                upsample = getattr(self, f"upsample{stage + 1}")
                x = crop_to(upsample(x), self.crops[stage], features.unpooled_sizes[stage])
                if stage - 1 in self.needs.pooled:
                    x = x + self._encoder_map(features, stage - 1)
            return x if self.reduction else self.classifier(x)

    def _encoder_map(self, features: Features, stage: int) -> torch.Tensor:
        """Return a stage's pooled map in float32, reduced to K channels if all maps are."""
        x = features.pooled[stage].float()
        return getattr(self, f"reduce{stage + 1}")(x) if self.reduction else x


class LearnedUpsample(nn.ConvTranspose2d):
    """Upsampling by 2 with a dense 8x8 kernel that starts bilinear, each channel alone, and keeps constants."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, KERNEL, stride=2, bias=False)
        nn.init.zeros_(self.weight)
        with torch.no_grad():
            self.weight[range(channels), range(channels)] = bilinear_kernel(KERNEL) / 4


class BilinearInterpolation(nn.Module):
    """Scores of the deepest map, upsampled to the image by bilinear interpolation; no kernel is learned.

    Args:
        stages: the encoder's stages.
        num_classes: K.
    Source: see the module; upsampling is FCN's with a fixed kernel.
    """

    minimum_size = 1

    def __init__(self, stages: Stages, num_classes: int):
        super().__init__()
        stages.require_halving("bilinear_interpolation")
        self.deepest = len(stages.channels) - 1
        self.needs = Needs(pooled=frozenset({self.deepest}))
        self.to_image = align(stages.paths[-1].coordinates, IMAGE)
        assert not self.to_image.target_crop, "the encoder pads its maps"
        self.classifier = he_convolution(stages.channels[-1], num_classes, 1)
        self.upsample = Upsample(num_classes, self.to_image.factor, learned=False, kernel=self.to_image.kernel)

    def forward(self, features: Features) -> Logits:
        """Return [B, K, H, W] float32 logits at image size."""
        x = features.pooled[self.deepest]
        with torch.autocast(x.device.type, enabled=False):
            x = self.upsample(self.classifier(x.float()))
        return crop_to(x, self.to_image.crop, features.image_size)


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
