"""Auxiliary classifiers: scores from earlier maps of the encoder that help to train the layers below them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.errors import InputError
from segkit.models.features import Features, Stages
from segkit.models.geometry import IMAGE, LayerPath, align
from segkit.models.layers import Upsample, crop_to, he_convolution, zero_convolution
from segkit.tensors import AuxiliaryLogits, Logits, Size


class AuxiliaryScores(nn.Module):
    """Scores from one earlier map, upsampled to the image.

    Args:
        channels: channels of the map.
        path: layers from the image to the map.
        num_classes: K.
    Source: the auxiliary classifiers of Szegedy et al. 2014 (arXiv:1409.4842), section 5, made convolutional: 5x5
        average pooling, 1x1 convolution to 128, fully connected 1024 as 1x1, dropout 0.7, scores. Differs: pooling of
        stride 1 where theirs is 3, and no window of 4x4 in the second layer, so that there are scores at stride 16;
        FCN-GoogLeNet was never released.
    """

    def __init__(self, channels: int, path: LayerPath, num_classes: int):
        super().__init__()
        self.reduce = he_convolution(channels, 128, 1)
        self.fc = he_convolution(128, 1024, 1)
        self.dropout = nn.Dropout(0.7)
        self.score = zero_convolution(1024, num_classes)
        self.to_image = align(path.coordinates, IMAGE)
        assert not self.to_image.target_crop, "the map covers the image"
        self.upscore = Upsample(num_classes, self.to_image.factor, learned=False, kernel=self.to_image.kernel)

    def forward(self, x: Float[Tensor, "B C h w"], image_size: Size) -> Logits:
        """Return [B, K, H, W] float32 logits."""
        x = F.relu(self.reduce(F.avg_pool2d(x, 5, 1, padding=2)), inplace=True)
        x = self.dropout(F.relu(self.fc(x), inplace=True))
        with torch.autocast(x.device.type, enabled=False):
            logits = self.upscore(self.score(x.float()))
        return crop_to(logits, self.to_image.crop, image_size)


class AuxiliaryClassifiers(nn.ModuleList):
    """One `AuxiliaryScores` for each map that the encoder states for them; none where their weight is 0.

    Args:
        stages: the encoder's stages.
        num_classes: K.
        weight: weight of each classifier's loss, beside the main loss.
    Raises:
        InputError: if there is a weight and the encoder has no such maps.
    """

    def __init__(self, stages: Stages, num_classes: int, weight: float):
        if weight and not stages.auxiliary:
            raise InputError(
                f"model.decoder.auxiliary_weight = {weight}: the encoder has no auxiliary classifiers. "
                "Use googlenet, or set 0."
            )
        super().__init__(
            AuxiliaryScores(channels, path, num_classes) for channels, path in (stages.auxiliary if weight else ())
        )
        self.weight = weight

    def forward(self, logits: Logits, features: Features) -> Logits | AuxiliaryLogits:
        """Return the logits, in training together with those of the classifiers."""
        if not (self.training and self.weight):
            return logits
        others = (scores(x, features.image_size) for scores, x in zip(self, features.auxiliary, strict=True))
        return AuxiliaryLogits(logits, tuple(others), self.weight)
