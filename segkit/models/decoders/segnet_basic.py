"""SegNet-Basic's decoder and its variants in Table 1: four times unpooling by stored indices and a 7x7 convolution.

Source: Badrinarayanan, Kendall and Cipolla 2015 (arXiv:1511.00561), section 3.1 and Table 1, and
    alexgkendall/SegNet-Tutorial Models/segnet_basic_train.prototxt and bayesian_segnet_basic_train.prototxt.
"""

import torch
from torch import nn

from segkit.config.ranges import Probability
from segkit.models.features import Features, Needs, Stages
from segkit.models.layers import BatchNormKind, batch_norm_layer, he_convolution, unpool
from segkit.tensors import Logits


class SegNetBasic(nn.Module):
    """Per stage: unpooling, 7x7 convolution, batch norm, no ReLU; then a plain 1x1 convolution in float32.

    Args:
        stages: the encoder's stages; it must give pooling indices.
        num_classes: K.
        batch_norm: `torch`, or `caffe` as the authors have it; Bayesian SegNet's shifts start at 0
            (`caffe_zero_shift`).
        dropout: probability of element-wise dropout after the batch norm of the two deepest stages (Bayesian
            SegNet-Basic: 0.5).
        single_channel: each filter sees only its own channel; needs stages of equal width.
        encoder_addition: add the encoder's map before pooling to each stage's result; needs stages of equal width.
    Raises:
        InputError: if the encoder pads the image, or its stages differ in width where they must not.
    Source: see the module. The paper has convolutions without bias, the released net has biases, as here. The variants
        were never released: which maps are added, and that each stage adds one, is our reading of section 3.1.
    """

    minimum_size = 1

    def __init__(
        self,
        stages: Stages,
        num_classes: int,
        *,
        batch_norm: BatchNormKind,
        dropout: float = 0.0,
        single_channel: bool = False,
        encoder_addition: bool = False,
    ):
        super().__init__()
        variant = "_encoder_addition" if encoder_addition else "_single_channel" if single_channel else ""
        name = f"segnet_basic{variant}"
        stages.require_unpadded(name)
        if variant:
            stages.require_equal_widths(name)
        self.deepest = len(stages.channels) - 1
        every = frozenset(range(self.deepest + 1))
        self.needs = Needs(
            pooled=frozenset({self.deepest}), indices=every, unpooled=every if encoder_addition else frozenset()
        )
        self.conv_bn_pairs = [(f"conv_decode{n}", f"conv_decode{n}_bn") for n in range(1, self.deepest + 2)]
        for stage in range(self.deepest, -1, -1):
            channels, outgoing = stages.channels[stage], stages.channels[max(stage - 1, 0)]
            groups = channels if single_channel else 1
            convolution, norm = self.conv_bn_pairs[stage]
            self.add_module(convolution, he_convolution(channels, outgoing, 7, groups=groups))
            self.add_module(norm, batch_norm_layer(outgoing, batch_norm))
        self.conv_classifier = he_convolution(stages.channels[0], num_classes, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Features) -> Logits:
        """Return [B, K, H, W] float32 logits at image size."""
        x = features.pooled[self.deepest]
        for stage in range(self.deepest, -1, -1):
            convolution, batch_norm = (getattr(self, name) for name in self.conv_bn_pairs[stage])
            x = unpool(x, features.indices[stage], features.unpooled_sizes[stage])
            x = batch_norm(convolution(x))
            if stage in self.needs.unpooled:
                x = x + features.unpooled[stage]
            if stage >= 2:
                x = self.dropout(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.conv_classifier(x.float())


def segnet_basic(
    stages: Stages, num_classes: int, *, batch_norm: BatchNormKind = "torch", dropout: Probability = 0.0
) -> SegNetBasic:
    """SegNet-Basic."""
    return SegNetBasic(stages, num_classes, batch_norm=batch_norm, dropout=dropout)


def segnet_basic_encoder_addition(
    stages: Stages, num_classes: int, *, batch_norm: BatchNormKind = "torch"
) -> SegNetBasic:
    """SegNet-Basic-EncoderAddition: the encoder's maps are added, so they have to be stored."""
    return SegNetBasic(stages, num_classes, batch_norm=batch_norm, encoder_addition=True)


def segnet_basic_single_channel(
    stages: Stages, num_classes: int, *, batch_norm: BatchNormKind = "torch"
) -> SegNetBasic:
    """SegNet-Basic-SingleChannelDecoder: each decoder filter convolves its own channel alone."""
    return SegNetBasic(stages, num_classes, batch_norm=batch_norm, single_channel=True)
