"""FCN-32s, FCN-16s, FCN-8s: score maps, enlarged and added.

Source: Long, Shelhamer and Darrell 2015 (arXiv:1411.4038) and shelhamer/fcn.berkeleyvision.org,
voc-fcn{32s,16s,8s,8s-atonce,alexnet}/net.py.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.config.ranges import Count, NotNegative, Positive, Probability
from segkit.errors import InputError
from segkit.models.features import Features, Needs, Stages
from segkit.models.geometry import CoordinateMap, Layer, Path, aligning_kernel, convolution, crop, crop_offsets
from segkit.models.layers import Upsample, Upsampling, he_convolution, zero_convolution
from segkit.tensors import AuxiliaryLogits, Logits, Size

HeadPadding = Literal["same", "none"]
SIZES = range(1, 257)  # pixels; beyond, what fits repeats itself with the stride


class Enlargement(NamedTuple):
    """One enlargement, and the skip that is added to it: names of both layers, pixels to crop off each, the stage of
    the skip."""

    upscore: str
    score: str
    crop: int
    skip_crop: int
    stage: int


class AuxiliaryScores(nn.Module):
    """Scores from an earlier map, enlarged to the image: pulls on the layers below in training.

    Args:
        channels: of the map.
        path: layers from the image to the map.
        num_classes: K.
    Source: the auxiliary classifiers of Szegedy et al. 2014 (arXiv:1409.4842), section 5, made convolutional: 5x5
        average pooling, 1x1 convolution to 128, fully connected 1024 as 1x1, dropout 0.7, scores. Differs: pooling of
        stride 1 where theirs is 3, and no window of 4x4 in the second layer, so that there are scores at stride 16;
        FCN-GoogLeNet was never released.
    """

    def __init__(self, channels: int, path: Path, num_classes: int):
        super().__init__()
        self.reduce = he_convolution(channels, 128, 1)
        self.fc = he_convolution(128, 1024, 1)
        self.dropout = nn.Dropout(0.7)
        self.score = zero_convolution(1024, num_classes)
        position, stride = path.coordinates, int(path.coordinates.stride)
        self.upscore = Upsample(
            num_classes, stride, learned=False, kernel=aligning_kernel(position, stride, CoordinateMap())
        )
        self.offset, missing = crop_offsets(position.then(self.upscore.layer.coordinates), CoordinateMap())
        assert not missing, "a map that covers the image"

    def forward(self, x: Float[Tensor, "B C h w"], image_size: Size) -> Logits:
        """[B, K, H, W] float32 logits."""
        x = F.relu(self.reduce(F.avg_pool2d(x, 5, 1, padding=2)), inplace=True)
        x = self.dropout(F.relu(self.fc(x), inplace=True))
        height, width = image_size
        with torch.autocast(x.device.type, enabled=False):
            logits = self.upscore(self.score(x.float()))
        return logits[..., self.offset : self.offset + height, self.offset : self.offset + width]


class FCN(nn.Module):
    """Scores of the deepest stage, enlarged step by step, with the scores of finer stages added on the way.

    fc6, fc7 and score_fr run on the deepest map, with the kernels of the encoder's classification net (VGG16: 7x7, 1x1,
    1x1); each skip stage has a 1x1 score layer. Score layers start at zero. Everything from the score layers on is
    computed in float32. Kernels of enlargements and crops follow from the coordinates of the encoder's maps.

    Args:
        stages: what the encoder states.
        num_classes: K.
        skip_scales: one factor per skip, deepest first, on that stage's map before its score layer.
        head_width: channels of fc6 and fc7.
        head_padding: `same`: fc6 keeps the size of its map; `none`: as released, for encoders that pad the image by
            100.
        upsampling: which enlargements are trained: none (`fixed`), all (`learned`), all but the last, or only the last.
        dropout: probability of element-wise dropout after fc6 and after fc7, or before the scores where there is no
            fc6.
        auxiliary_weight: what the loss of each auxiliary classifier counts in training; 0: there are none.
    Attributes:
        minimum_size: pixels of the smallest image that the scores cover.
    Raises:
        InputError: if the scores cannot cover an image, whatever its size, or the encoder has no maps for auxiliary
            classifiers.
    Source: see the module. Differs: `same` padding in fc6 is ours; `learned_intermediate` is the paper's text, `fixed`
        the released code; fc6 and fc7 start from He initialisation where no weights are given. The released solvers
        (summed loss, biases at twice the rate and without decay) are options of the loss and the optimizer.
    """

    def __init__(
        self,
        stages: Stages,
        num_classes: int,
        skip_scales: tuple[float, ...],
        *,
        head_width: int,
        head_padding: HeadPadding,
        upsampling: Upsampling,
        dropout: float,
        auxiliary_weight: float = 0.0,
    ):
        super().__init__()
        deepest = len(stages.channels) - 1
        self.skip_scales = skip_scales
        self.paths = stages.paths
        self.needs = Needs(
            pooled=frozenset(range(deepest - len(skip_scales), deepest + 1)),
            auxiliary=auxiliary_weight > 0,
            kept_channels=num_classes,
        )
        self.auxiliary_weight = auxiliary_weight
        if auxiliary_weight and not stages.auxiliary:
            raise InputError(
                f"model.decoder.auxiliary_weight = {auxiliary_weight}: the encoder has no auxiliary classifiers. Use googlenet, or set 0."
            )
        self.dropout = nn.Dropout(dropout)
        self.head = self._add_head(stages, num_classes, head_width, head_padding)
        position, self.enlargements = self.head.coordinates, []
        intermediate = upsampling in ("learned", "learned_intermediate")
        for stage in range(deepest - 1, deepest - 1 - len(skip_scales), -1):
            name = f"upscore_pool{stage + 2}" if self.enlargements else "upscore2"
            score = f"score_pool{stage + 1}"
            self.add_module(score, zero_convolution(stages.channels[stage], num_classes))
            position = self._add_upsample(
                name, num_classes, position, stages.paths[stage].coordinates, learned=intermediate
            )
            offsets = crop_offsets(position, stages.paths[stage].coordinates)
            self.enlargements.append(Enlargement(name, score, *offsets, stage))
            position = position.then(crop(offsets[0]))
        stride = int(position.stride)
        self.last = f"upscore{stride}" if self.enlargements else "upscore"
        position = self._add_upsample(
            self.last, num_classes, position, CoordinateMap(), learned=upsampling in ("learned", "learned_final")
        )
        self.image_offset, missing = crop_offsets(position, CoordinateMap())
        sizes = [size for size in SIZES if missing or not self._covers(size)]
        self.minimum_size = max(sizes, default=0) + 1
        if self.minimum_size > SIZES[-stride]:
            raise InputError(
                f"model.decoder.head_padding = '{head_padding}': the scores do not cover the border of the image on this encoder. "
                f"{'Set model.decoder.head_padding=same, or r' if head_padding == 'none' else 'R'}aise the encoder's padding."
            )
        self.auxiliary = nn.ModuleList(
            AuxiliaryScores(*each, num_classes) for each in (stages.auxiliary if auxiliary_weight else ())
        )

    def _add_head(self, stages: Stages, num_classes: int, width: int, padding: HeadPadding) -> Path:
        """Adds fc6, fc7, ... and score_fr; the path to the scores."""
        path, channels = stages.paths[-1], stages.channels[-1]
        self.fc: list[str] = []
        for number, kernel in enumerate(stages.classifier, start=6):
            margin = kernel // 2 if padding == "same" else 0
            self.fc.append(f"fc{number}")
            self.add_module(self.fc[-1], he_convolution(channels, width, kernel, margin))
            path, channels = path.then(convolution(kernel, padding=margin)), width
        self.score_fr = zero_convolution(channels, num_classes)
        return path

    def _add_upsample(
        self, name: str, num_classes: int, position: CoordinateMap, target: CoordinateMap, *, learned: bool
    ) -> CoordinateMap:
        """Adds the enlargement from `position` to the resolution of `target`; where its pixels lie."""
        factor = int(position.stride / target.stride)
        up = Upsample(num_classes, factor, learned=learned, kernel=aligning_kernel(position, factor, target))
        self.add_module(name, up)
        return position.then(up.layer.coordinates)

    def _enlarging(self, name: str) -> Layer:
        up = self.get_submodule(name)
        assert isinstance(up, Upsample)
        return up.layer

    def _covers(self, pixels: int) -> bool:
        """Whether every layer fits an image of that size, and the logits reach its last pixel."""
        size = self.head.size(pixels)
        for up, _, cut, skip_cut, stage in self.enlargements:
            size = size and min(self._enlarging(up).size(size) - cut, self.paths[stage].size(pixels) - skip_cut)
        return size > 0 and self._enlarging(self.last).size(size) >= pixels + self.image_offset

    def forward(self, features: Features) -> Logits | AuxiliaryLogits:
        """[B, K, H, W] float32 logits at image size; in training also those of the auxiliary classifiers."""
        height, width = features.image_size
        x = features.pooled[max(features.pooled)]
        for name in self.fc:
            x = self.dropout(F.relu(self.get_submodule(name)(x), inplace=True))
        x = x if self.fc else self.dropout(x)
        with torch.autocast(x.device.type, enabled=False):
            x = self.score_fr(x.float())
            for scale, (up, score, cut, skip_cut, stage) in zip(self.skip_scales, self.enlargements, strict=True):
                skip = self.get_submodule(score)(features.pooled[stage].float() * scale)
                x = _sum(self.get_submodule(up)(x)[..., cut:, cut:], skip[..., skip_cut:, skip_cut:])
            top = self.image_offset
            logits = self.get_submodule(self.last)(x)[..., top : top + height, top : top + width]
        if not (self.training and self.auxiliary_weight):
            return logits
        others = tuple(
            scores(x, features.image_size) for scores, x in zip(self.auxiliary, features.auxiliary, strict=True)
        )
        return AuxiliaryLogits(logits, others, self.auxiliary_weight)


def _sum(x: Tensor, skip: Tensor) -> Tensor:
    """The common part of two maps [B, K, ...], added."""
    height, width = (min(a, b) for a, b in zip(x.shape[-2:], skip.shape[-2:], strict=True))
    return x[..., :height, :width] + skip[..., :height, :width]


def fcn32s(
    stages: Stages,
    num_classes: int,
    *,
    head_width: Count = 4096,
    head_padding: HeadPadding = "same",
    upsampling: Upsampling = "fixed",
    dropout: Probability = 0.5,
    auxiliary_weight: NotNegative = 0.0,
) -> FCN:
    """FCN-32s: scores of pool5, enlarged 32 times."""
    return FCN(
        stages,
        num_classes,
        (),
        head_width=head_width,
        head_padding=head_padding,
        upsampling=upsampling,
        dropout=dropout,
        auxiliary_weight=auxiliary_weight,
    )


def fcn16s(
    stages: Stages,
    num_classes: int,
    *,
    head_width: Count = 4096,
    head_padding: HeadPadding = "same",
    upsampling: Upsampling = "fixed",
    dropout: Probability = 0.5,
    skip_scale: Positive = 1.0,
) -> FCN:
    """FCN-16s: FCN-32s with the scores of pool4 added at stride 16.

    Staged training starts from a trained FCN-32s (`model.initialize_from`).
    """
    return FCN(
        stages,
        num_classes,
        (skip_scale,),
        head_width=head_width,
        head_padding=head_padding,
        upsampling=upsampling,
        dropout=dropout,
    )


def fcn8s(
    stages: Stages,
    num_classes: int,
    *,
    head_width: Count = 4096,
    head_padding: HeadPadding = "same",
    upsampling: Upsampling = "fixed",
    dropout: Probability = 0.5,
    skip_scales: tuple[Positive, Positive] = (1.0, 1.0),
) -> FCN:
    """FCN-8s: FCN-16s with the scores of pool3 added at stride 8.

    Staged training starts from a trained FCN-16s (`model.initialize_from`). Training at once scales the skips,
    `skip_scales: [0.01, 0.0001]` for pool4 and pool3 in the released net.
    """
    return FCN(
        stages,
        num_classes,
        skip_scales,
        head_width=head_width,
        head_padding=head_padding,
        upsampling=upsampling,
        dropout=dropout,
    )
