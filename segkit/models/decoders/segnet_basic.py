"""SegNet-Basic's decoder and its variants in Table 1: unpooling by stored indices, then one 7x7 convolution, four
times.

Source: Badrinarayanan, Kendall and Cipolla 2015 (arXiv:1511.00561), section 3.1 and Table 1, and
    alexgkendall/SegNet-Tutorial
Models/segnet_basic_train.prototxt and bayesian_segnet_basic_train.prototxt.
"""

from typing import Literal

import torch
from torch import nn

from segkit.config.ranges import Probability
from segkit.models.features import Features, Needs, Stages
from segkit.models.layers import BatchNormKind, batch_norm_layer, he_convolution, unpool
from segkit.tensors import Logits


class SegNetBasic(nn.Module):
    """Per stage: unpooling, a 7x7 convolution, batch norm, no ReLU; then a 1x1 convolution gives the logits, bare and
    in float32.

    Args:
        stages: what the encoder states; it must give pooling indices.
        num_classes: K.
        filters: `multi_channel`, or `single_channel`: each filter sees its own channel alone; needs stages of equal
            width.
        encoder_addition: add the encoder's map before pooling to each stage's result; needs stages of equal width.
        batch_norm: `torch`, or `caffe` as the authors have it; Bayesian SegNet's shifts start at 0
            (`caffe_zero_shift`).
        dropout: probability of element-wise dropout after the batch norm of the two deepest stages (Bayesian
            SegNet-Basic: 0.5).
    Raises:
        InputError: if the encoder pads the image, or its stages differ in width where they must not.
    Source: see the module. The paper has convolutions without bias, the released net has biases, as here. The variants
        were never
        released: which maps are added, and that each stage adds one, is our reading of section 3.1.
    """

    minimum_size = 1

    def __init__(
        self,
        stages: Stages,
        num_classes: int,
        *,
        filters: Literal["multi_channel", "single_channel"],
        encoder_addition: bool,
        batch_norm: BatchNormKind,
        dropout: float,
    ):
        super().__init__()
        name = "segnet_basic_encoder_addition" if encoder_addition else "segnet_basic"
        name = "segnet_basic_single_channel" if filters == "single_channel" else name
        stages.require_unpadded(name)
        if name != "segnet_basic":
            stages.require_equal_widths(name)
        depth = len(stages.channels)
        everything = frozenset(range(depth))
        self.needs = Needs(
            pooled=frozenset({depth - 1}), indices=everything, unpooled=everything if encoder_addition else frozenset()
        )
        for stage in range(depth, 0, -1):
            channels, outgoing = stages.channels[stage - 1], stages.channels[max(stage - 2, 0)]
            groups = channels if filters == "single_channel" else 1
            self.add_module(f"conv_decode{stage}", he_convolution(channels, outgoing, 7, groups=groups))
            self.add_module(f"conv_decode{stage}_bn", batch_norm_layer(outgoing, batch_norm))
        self.conv_classifier = he_convolution(stages.channels[0], num_classes, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Features) -> Logits:
        """[B, K, H, W] float32 logits at image size."""
        x = features.pooled[max(features.pooled)]
        for stage in range(len(features.indices) - 1, -1, -1):
            name = f"conv_decode{stage + 1}"
            x = unpool(x, features.indices[stage], features.unpooled_sizes[stage])
            x = self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x))
            if stage in features.unpooled:
                x = x + features.unpooled[stage]
            if stage >= 2:
                x = self.dropout(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.conv_classifier(x.float())


def segnet_basic(
    stages: Stages, num_classes: int, *, batch_norm: BatchNormKind = "torch", dropout: Probability = 0.0
) -> SegNetBasic:
    """SegNet-Basic."""
    return SegNetBasic(
        stages, num_classes, filters="multi_channel", encoder_addition=False, batch_norm=batch_norm, dropout=dropout
    )


def segnet_basic_encoder_addition(
    stages: Stages, num_classes: int, *, batch_norm: BatchNormKind = "torch"
) -> SegNetBasic:
    """SegNet-Basic-EncoderAddition: the encoder's maps are added, so they have to be stored."""
    return SegNetBasic(
        stages, num_classes, filters="multi_channel", encoder_addition=True, batch_norm=batch_norm, dropout=0.0
    )


def segnet_basic_single_channel(
    stages: Stages, num_classes: int, *, batch_norm: BatchNormKind = "torch"
) -> SegNetBasic:
    """SegNet-Basic-SingleChannelDecoder: each decoder filter convolves its own channel alone."""
    return SegNetBasic(
        stages, num_classes, filters="single_channel", encoder_addition=False, batch_norm=batch_norm, dropout=0.0
    )
