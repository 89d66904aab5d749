"""SegNet: unpooling by stored indices, then convolutions.

Source: Badrinarayanan, Kendall and Cipolla 2015 (arXiv:1511.00561), Kendall, Badrinarayanan and Cipolla 2015
    (arXiv:1511.02680), and alexgkendall/SegNet-Tutorial Models/segnet_train.prototxt and
    bayesian_segnet_train.prototxt.
"""

import torch
from torch import nn
from torch.nn import functional as F

from segkit.config.ranges import Probability
from segkit.models.features import Features, Needs, Stages
from segkit.models.layers import BatchNormKind, batch_norm_layer, he_convolution, unpool
from segkit.tensors import Logits

STAGES = (
    ("conv1_2_D", "conv1_1_D"),
    ("conv2_2_D", "conv2_1_D"),
    ("conv3_3_D", "conv3_2_D", "conv3_1_D"),
    ("conv4_3_D", "conv4_2_D", "conv4_1_D"),
    ("conv5_3_D", "conv5_2_D", "conv5_1_D"),
)


class SegNet(nn.Module):
    """Mirror of VGG16: each stage puts values back where its maxima came from, and convolves the sparse map.

    3x3 convolutions with bias, batch norm and ReLU after each but the last; the last convolution of a stage changes the
    number of channels to the next finer stage's, and the very last gives the logits, bare and in float32.

    Args:
        stages: the encoder's stages; it must give pooling indices.
        num_classes: K.
        batch_norm: `torch`, or `caffe` as the authors have it; Bayesian SegNet's shifts start at 0
            (`caffe_zero_shift`).
        dropout: probability of element-wise dropout after conv5_1_D, conv4_1_D and conv3_1_D (Bayesian SegNet: 0.5).
        extra_convolution: conv1_1_D keeps its channels, with batch norm and ReLU, and a 3x3 convolution `camvid` gives
            the logits: the net of the published weights bayesian_segnet_camvid.
    Raises:
        InputError: if the encoder pads the image.
    Source: see the module. Differs: batch norm of torch by default; input normalization is the encoder's, where the
        released net takes raw BGR (`normalization: raw`).
    """

    minimum_size = 1

    def __init__(
        self,
        stages: Stages,
        num_classes: int,
        *,
        batch_norm: BatchNormKind = "torch",
        dropout: Probability = 0.0,
        extra_convolution: bool = False,
    ):
        super().__init__()
        stages.require_unpadded("segnet")
        self.dropout = nn.Dropout(dropout)
        self.deepest = len(stages.channels) - 1
        self.needs = Needs(pooled=frozenset({self.deepest}), indices=frozenset(range(self.deepest + 1)))
        # of each stage: 3x3 convolutions, each with batch norm and ReLU
        self.layers: list[tuple[str, ...]] = [*STAGES[: self.deepest + 1]]
        *others, self.classifier = (*STAGES[0], "camvid") if extra_convolution else STAGES[0]
        self.layers[0] = tuple(others)
        for stage in range(self.deepest, -1, -1):
            for name in self.layers[stage]:
                narrows = name == self.layers[stage][-1] and stage > 0
                outgoing = stages.channels[stage - 1 if narrows else stage]
                self.add_module(name, he_convolution(stages.channels[stage], outgoing, 3))
                self.add_module(f"{name}_bn", batch_norm_layer(outgoing, batch_norm))
        self.add_module(self.classifier, he_convolution(stages.channels[0], num_classes, 3))
        self.conv_bn_pairs = [(name, f"{name}_bn") for names in self.layers for name in names]

    def forward(self, features: Features) -> Logits:
        """Return [B, K, H, W] float32 logits at image size."""
        x = features.pooled[self.deepest]
        for stage in range(self.deepest, -1, -1):
            x = unpool(x, features.indices[stage], features.unpooled_sizes[stage])
            for name in self.layers[stage]:
                convolution, batch_norm = getattr(self, name), getattr(self, f"{name}_bn")
                x = F.relu(batch_norm(convolution(x)), inplace=True)
            if stage >= 2:
                x = self.dropout(x)
        with torch.autocast(x.device.type, enabled=False):
            return getattr(self, self.classifier)(x.float())
