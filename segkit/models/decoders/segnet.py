"""SegNet: unpooling by stored indices, then convolutions.

Source: Badrinarayanan, Kendall and Cipolla 2015 (arXiv:1511.00561), Kendall, Badrinarayanan and Cipolla 2015
    (arXiv:1511.02680), and
alexgkendall/SegNet-Tutorial Models/segnet_train.prototxt and bayesian_segnet_train.prototxt.
"""

import torch
from torch import nn
from torch.nn import functional as F

from segkit.config.ranges import Probability
from segkit.models.features import Features, Needs, Stages
from segkit.models.layers import BatchNormKind, batch_norm_layer, he_convolution, unpool
from segkit.tensors import Logits

CONVOLUTIONS = (2, 2, 3, 3, 3)


class SegNet(nn.Module):
    """Mirror of VGG16: each stage puts its map back to where the maxima came from and convolves it dense again.

    3x3 convolutions with bias, batch norm and ReLU after each but the last; the last convolution of a stage changes the
    number of channels to the next finer stage's, and the very last gives the logits, bare and in float32.

    Args:
        stages: what the encoder states; it must give pooling indices.
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
        depth = len(stages.channels)
        self.needs = Needs(pooled=frozenset({depth - 1}), indices=frozenset(range(depth)))
        self.names: list[list[str]] = []
        for stage in range(depth - 1, -1, -1):
            channels = stages.channels[stage]
            outgoing = stages.channels[stage - 1] if stage else num_classes
            names = [f"conv{stage + 1}_{i}_D" for i in range(CONVOLUTIONS[stage], 0, -1)]
            names += ["camvid"] if extra_convolution and stage == 0 else []
            for name in names:
                last = name == names[-1]
                self.add_module(name, he_convolution(channels, outgoing if last else channels, 3))
                if not (last and stage == 0):
                    self.add_module(f"{name}_bn", batch_norm_layer(outgoing if last else channels, batch_norm))
            self.names.append(names)

    def forward(self, features: Features) -> Logits:
        """[B, K, H, W] float32 logits at image size."""
        depth = len(self.names)
        x = features.pooled[depth - 1]
        for stage, names in zip(range(depth - 1, -1, -1), self.names, strict=True):
            x = unpool(x, features.indices[stage], features.unpooled_sizes[stage])
            for name in names:
                if name == self.names[-1][-1]:
                    with torch.autocast(x.device.type, enabled=False):
                        return self.get_submodule(name)(x.float())
                x = F.relu(self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x)), inplace=True)
            if stage >= 2:
                x = self.dropout(x)
        raise AssertionError("the last convolution returns")
