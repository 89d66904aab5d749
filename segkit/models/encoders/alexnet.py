"""AlexNet without its classifier, as FCN-AlexNet has it: three stages."""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import nn
from torch.nn import functional as F

from segkit.models.features import NORMALIZATIONS, Features, Needs, NormalizationName, Stages
from segkit.models.geometry import LayerPath, convolution, pooling
from segkit.models.layers import he_convolution, response_normalization, size_of
from segkit.tensors import Image

CHANNELS = (96, 256, 384, 384, 256)


class AlexNet(nn.Module):
    """Five convolutions in three stages, each closed by overlapping 3x3 max pooling of stride 2 with ceil rounding.

    Args:
        restore: a checkpoint follows; there is nothing else to read.
        width: multiplier of every channel count.
        padding: pixels around the image in conv1: 100 in FCN-AlexNet, 0 in the classification net.
        normalization: input convention; FCN's mean by default.
    Source: Krizhevsky, Sutskever and Hinton 2012, in the order of BVLC's CaffeNet that FCN-AlexNet uses: pooling before
        local response normalization (5 channels, alpha 1e-4, beta 0.75, k 1), two groups in conv2, conv4 and conv5.
    """

    def __init__(
        self,
        restore: bool = False,
        *,
        width: Annotated[float, Gt(0), Le(4)] = 1.0,
        padding: Annotated[int, Ge(0), Le(200)] = 100,
        normalization: NormalizationName = "fcn",
    ):
        super().__init__()
        one, two, three, four, five = (2 * max(1, round(c * width / 2)) for c in CHANNELS)
        self.conv1 = he_convolution(3, one, 11, padding, stride=4)
        self.conv2 = he_convolution(one, two, 5, groups=2)
        self.conv3 = he_convolution(two, three, 3)
        self.conv4 = he_convolution(three, four, 3, groups=2)
        self.conv5 = he_convolution(four, five, 3, groups=2)
        same = convolution(3, padding=1)
        pool1 = LayerPath((convolution(11, 4, padding), pooling(3, 2)))
        pool2 = pool1.then(convolution(5, padding=2), pooling(3, 2))
        pool5 = pool2.then(same, same, same, pooling(3, 2))
        self.stages = Stages((one, two, five), (pool1, pool2, pool5), has_indices=False, classifier=(6, 1))
        self.normalization = NORMALIZATIONS[normalization]
        self.pretrained_names: frozenset[str] = frozenset()

    def forward(self, image: Image, needs: Needs) -> Features:
        """Return the features of a normalized image [B, 3, H, W]."""
        features = Features(image_size=size_of(image))
        x = F.relu(self.conv1(image), inplace=True)
        x = features.close_stage(0, x, needs, kernel=3, then=response_normalization)
        x = F.relu(self.conv2(x), inplace=True)
        x = features.close_stage(1, x, needs, kernel=3, then=response_normalization)
        x = F.relu(self.conv3(x), inplace=True)
        x = F.relu(self.conv4(x), inplace=True)
        x = F.relu(self.conv5(x), inplace=True)
        features.close_stage(2, x, needs, kernel=3)
        return features
