"""The encoder of SegNet-Basic: four stages of one 7x7 convolution."""

from typing import Annotated

from annotated_types import Gt, Le
from torch import nn
from torch.nn import functional as F

from segkit.config.ranges import Probability
from segkit.models.features import NORMALIZATIONS, Features, Needs, NormalizationName, Stages
from segkit.models.geometry import Path, convolution, pooling
from segkit.models.layers import BatchNormKind, batch_norm_layer, he_convolution, response_normalization, size_of
from segkit.tensors import Image

STAGES = 4


class SegNetBasicEncoder(nn.Module):
    """Local response normalization, then four times: 7x7 convolution, batch norm, ReLU, 2x2 max pooling with ceil
    rounding.

    Args:
        restore: a checkpoint follows; there is nothing else to read.
        width: multiplier of the 64 channels.
        batch_norm: `torch`, or `caffe` as the authors have it; Bayesian SegNet's shifts start at 0
            (`caffe_zero_shift`).
        response_normalization: whether the image goes through local response normalization (5 channels, alpha 1e-4,
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
        paths = [Path()]
        for stage in range(1, STAGES + 1):
            self.add_module(f"conv{stage}", he_convolution(3 if stage == 1 else channels, channels, 7))
            self.add_module(f"conv{stage}_bn", batch_norm_layer(channels, batch_norm))
            paths.append(paths[-1].then(convolution(7, padding=3), pooling(2, 2)))
        self.stages = Stages((channels,) * STAGES, tuple(paths[1:]), has_indices=True)
        self.response_normalization = response_normalization
        self.dropout = nn.Dropout(dropout)
        self.normalization = NORMALIZATIONS[normalization]
        self.pretrained_names: frozenset[str] = frozenset()

    def forward(self, image: Image, needs: Needs) -> Features:
        """Features of a normalized image [B, 3, H, W]."""
        features = Features(image_size=size_of(image))
        x = response_normalization(image) if self.response_normalization else image
        for stage in range(STAGES):
            name = f"conv{stage + 1}"
            x = F.relu(self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x)), inplace=True)
            x = features.close_stage(stage, x, needs, then=self.dropout if stage >= 2 else None)
        return features
