"""An encoder from outside: one convolution a stage.

Use it:  segkit train configs/streets/fcn8s.yaml plugins=docs/examples/small_encoder.py model.encoder=small
"""

from typing import Annotated

from annotated_types import Ge, Le
from torch import nn
from torch.nn import functional as F

from segkit.config.ranges import Count
from segkit.models import geometry
from segkit.models.features import NORMALIZATIONS, Features, Needs, NormalizationName, Stages
from segkit.tensors import Image


class SmallEncoder(nn.Module):
    """Five stages of a 3x3 convolution, ReLU and 2x2 max pooling: strides 2, 4, 8, 16, 32.

    Args:
        restore: other weights are loaded next; an encoder that reads a file would skip it then.
        width: channels of the first stage; each stage has twice as many as the one before, at most 8 times.
        stages: how many.
        normalization: what the network gets instead of RGB values 0..255.
    """

    def __init__(
        self,
        restore: bool = False,
        *,
        width: Count = 32,
        stages: Annotated[int, Ge(1), Le(5)] = 5,
        normalization: NormalizationName = "torchvision",
    ):
        super().__init__()
        channels = [width * min(2**stage, 8) for stage in range(stages)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(incoming, outgoing, 3, padding=1)
            for incoming, outgoing in zip([3, *channels], channels, strict=False)
        )
        # The layers from the image to each stage's map: decoders compute from them where its pixels are.
        halving = (geometry.convolution(3, padding=1), geometry.pooling(2, 2))
        paths = [geometry.LayerPath(halving * depth) for depth in range(1, stages + 1)]
        self.stages = Stages(tuple(channels), tuple(paths), has_indices=True)
        self.normalization = NORMALIZATIONS[normalization]
        self.pretrained_names: frozenset[str] = frozenset()  # parameters that came with weights, for their own rate

    def forward(self, image: Image, needs: Needs) -> Features:
        """Return the maps of a normalized image [B, 3, H, W] that the decoder needs."""
        features = Features(image_size=(image.shape[-2], image.shape[-1]))
        x = image
        for stage, convolution in enumerate(self.convolutions):
            x = features.close_stage(stage, F.relu(convolution(x)), needs)  # pools, and keeps what is needed
        return features


ENCODERS = {"small": SmallEncoder}
