"""The encoder of SegNet-Basic: four stages of one 7x7 convolution."""

from typing import Annotated

from annotated_types import Gt, Le
from torch import nn
from torch.nn import functional as F

from segkit.config.ranges import Probability
from segkit.models.features import NORMALIZATIONS, Features, Needs, NormalizationName, Stages
from segkit.models.geometry import LayerPath, convolution, pooling
from segkit.models.layers import BatchNormKind, batch_norm_layer, he_convolution, response_normalization, size_of
from segkit.tensors import Image


class SegNetBasicEncoder(nn.Module):
    """Local response normalization, then four times: 7x7 convolution, batch norm, ReLU, 2x2 ceil max pooling.

    Args:
        restore: a checkpoint follows; there is nothing else to read.
        width: multiplier of the 64 channels.
        batch_norm: `torch`, or `caffe` as the authors have it; Bayesian SegNet's shifts start at 0
            (`caffe_zero_shift`).
        response_normalization: apply local response normalization to the image (5 channels, alpha 1e-4,
            beta 0.75, k 1).
        dropout: probability of element-wise dropout after pool3 and pool4 (Bayesian SegNet-Basic: 0.5).
        normalization: input convention; the released net takes `raw` 0..255.
    Source: alexgkendall/SegNet-Tutorial Models/segnet_basic_train.prototxt and bayesian_segnet_basic_train.prototxt.
        The paper has local contrast normalization instead, and convolutions without bias. Differs: RGB, where the
        released net has BGR.
    """

    def __init__(
        self,
        restore: bool = False,
        *,
        width: Annotated[float, Gt(0), Le(4)] = 1.0,
        batch_norm: BatchNormKind = "torch",
        response_normalization: bool = True,
        dropout: Probability = 0.0,
        normalization: NormalizationName = "raw",
    ):
        super().__init__()
        channels = max(1, round(64 * width))
        self.conv1 = he_convolution(3, channels, 7)
        self.conv1_bn = batch_norm_layer(channels, batch_norm)
        self.conv2 = he_convolution(channels, channels, 7)
        self.conv2_bn = batch_norm_layer(channels, batch_norm)
        self.conv3 = he_convolution(channels, channels, 7)
        self.conv3_bn = batch_norm_layer(channels, batch_norm)
        self.conv4 = he_convolution(channels, channels, 7)
        self.conv4_bn = batch_norm_layer(channels, batch_norm)
        self.conv_bn_pairs = [(f"conv{n}", f"conv{n}_bn") for n in (1, 2, 3, 4)]
        stage = (convolution(7, padding=3), pooling(2, 2))
        paths = tuple(LayerPath(stage * n) for n in (1, 2, 3, 4))
        self.stages = Stages((channels,) * 4, paths, has_indices=True)
        self.response_normalization = response_normalization
        self.dropout = nn.Dropout(dropout)
        self.normalization = NORMALIZATIONS[normalization]
        self.pretrained_names: frozenset[str] = frozenset()

    def forward(self, image: Image, needs: Needs) -> Features:
        """Return the features of a normalized image [B, 3, H, W]."""
        features = Features(image_size=size_of(image))
        x = response_normalization(image) if self.response_normalization else image
        x = F.relu(self.conv1_bn(self.conv1(x)), inplace=True)
        x = features.close_stage(0, x, needs)
        x = F.relu(self.conv2_bn(self.conv2(x)), inplace=True)
        x = features.close_stage(1, x, needs)
        x = F.relu(self.conv3_bn(self.conv3(x)), inplace=True)
        x = features.close_stage(2, x, needs, then=self.dropout)
        x = F.relu(self.conv4_bn(self.conv4(x)), inplace=True)
        features.close_stage(3, x, needs, then=self.dropout)
        return features
