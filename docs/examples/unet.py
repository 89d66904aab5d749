"""A decoder from outside: U-Net's way of decoding, on any encoder that halves its maps.

Use it:  segkit train configs/streets/fcn8s.yaml plugins=docs/examples/unet.py model.decoder=unet --run runs/unet
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.config.ranges import Count, Probability
from segkit.models.features import Features, Needs, Stages
from segkit.tensors import Logits


class UNet(nn.Module):
    """From the deepest map up: upsample, concatenate the encoder's map of that stage, convolve twice.

    Args:
        stages: what the encoder states about its maps: channels, strides, where their pixels are.
        num_classes: K.
        width: channels of the finest maps; each coarser stage has twice as many, at most 8 times.
        dropout: probability of dropping a channel before the last convolution.
    Raises:
        InputError: if the encoder pads the image, or its maps do not halve.
    Source: Ronneberger, Fischer and Brox 2015 (arXiv:1505.04597), Figure 1. Differs: padded convolutions, bilinear
        upsampling instead of 2x2 transposed convolutions, and any encoder can be used.
    """

    minimum_size = 1  # pixels; the encoder may ask for more

    def __init__(self, stages: Stages, num_classes: int, *, width: Count = 64, dropout: Probability = 0.0):
        super().__init__()
        stages.require_halving("unet")
        stages.require_unpadded("unet")
        depth = len(stages.channels)
        # All that forward may use. The encoder stores nothing else, and the table of costs counts just this.
        self.needs = Needs(pooled=frozenset({depth - 1}), unpooled=frozenset(range(depth)))
        widths = [width * min(2**stage, 8) for stage in range(depth)]
        coarser = [*widths[1:], stages.channels[-1]]  # channels of what comes up to each stage
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(below + own, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU()
            )
            for below, own, wide in zip(coarser, stages.channels, widths, strict=True)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, features: Features) -> Logits:
        """Return [B, K, H, W] float32 logits at image size."""
        deepest = len(self.blocks) - 1
        x = features.pooled[deepest]
        for stage in range(deepest, -1, -1):
            x = upsample(x, features.unpooled_sizes[stage])
            x = self.blocks[stage](torch.cat([x, features.unpooled[stage]], 1))
        with torch.autocast(x.device.type, enabled=False):
            return self.classifier(self.dropout(x).float())


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return [B, C, H, W] of a map [B, C, h, w], bilinearly."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


DECODERS = {"unet": UNet}
