"""FCN-32s, FCN-16s, FCN-8s: score maps, enlarged and added.

Source: Long, Shelhamer and Darrell 2015 (arXiv:1411.4038) and shelhamer/fcn.berkeleyvision.org, voc-fcn{32s,16s,8s,8s-atonce}/net.py.
"""

import torch
from torch import nn
from torch.nn import functional as F

from segkit.models.features import Features, Needs, Stages
from segkit.models.geometry import CoordinateMap, convolution, crop, crop_offsets
from segkit.models.layers import Upsample, Upsampling, he_convolution, zero_convolution
from segkit.ranges import Count, Positive, Probability
from segkit.tensors import Logits


class FCN(nn.Module):
    """Scores of the deepest stage, enlarged step by step, with the scores of finer stages added on the way.

    fc6 (7x7), fc7 (1x1) and score_fr (1x1) run on the deepest map; each skip stage has a 1x1 score layer. Score layers start at zero.
    Everything from the score layers on is computed in float32.

    Args:
        stages: what the encoder states.
        num_classes: K.
        skip_scales: one factor per skip, deepest first, on that stage's map before its score layer.
        head_width: channels of fc6 and fc7.
        upsampling: `fixed` or `learned`, for every enlargement.
        dropout: probability of element-wise dropout after fc6 and after fc7.
    Source: see the module. Differs: same-padding in fc6 (the originals pad the image by 100 instead); `learned` trains every
        enlargement, as the released code can but does not (the paper: the last one fixed); fc6 and fc7 start from He
        initialisation where no weights are given. The released solvers (summed loss, biases at twice the rate and without decay) are
        options of the loss and the optimizer.
    """

    def __init__(
        self, stages: Stages, num_classes: int, skip_scales: tuple[float, ...], head_width: int, upsampling: Upsampling, dropout: float
    ):
        super().__init__()
        deepest = len(stages.channels) - 1
        self.skips = tuple(range(deepest - 1, deepest - 1 - len(skip_scales), -1))
        self.skip_scales = skip_scales
        self.needs = Needs(pooled=frozenset((deepest, *self.skips)))
        self.fc6 = he_convolution(stages.channels[deepest], head_width, 7)
        self.fc7 = he_convolution(head_width, head_width, 1)
        self.dropout = nn.Dropout(dropout)
        self.score_fr = zero_convolution(head_width, num_classes)
        position, name = stages.maps[deepest].then(convolution(7, padding=3)), "upscore2"
        self.enlargements: list[tuple[str, str, int, int]] = []  # (enlarging layer, score layer, crop of each)
        for stage in self.skips:
            score = f"score_pool{stage + 1}"
            self.add_module(score, zero_convolution(stages.channels[stage], num_classes))
            up = Upsample(num_classes, stages.strides[stage + 1] // stages.strides[stage], upsampling)
            self.add_module(name, up)
            offsets = crop_offsets(position.then(up.coordinates), stages.maps[stage])
            self.enlargements.append((name, score, *offsets))
            position, name = position.then(up.coordinates).then(crop(offsets[0])), f"upscore_pool{stage + 1}"
        stride = stages.strides[deepest - len(self.skips)]
        self.last = f"upscore{stride}" if self.skips else "upscore"
        up = Upsample(num_classes, stride, upsampling)
        self.add_module(self.last, up)
        self.image_offset, _ = crop_offsets(position.then(up.coordinates), CoordinateMap())

    def forward(self, features: Features) -> Logits:
        """[B, K, H, W] float32 logits at image size."""
        x = features.pooled[max(features.pooled)]
        x = self.dropout(F.relu(self.fc6(x), inplace=True))
        x = self.dropout(F.relu(self.fc7(x), inplace=True))
        with torch.autocast(x.device.type, enabled=False):
            x = self.score_fr(x.float())
            for stage, scale, (up, score, cut, skip_cut) in zip(self.skips, self.skip_scales, self.enlargements, strict=True):
                x = self.get_submodule(up)(x)[..., cut:, cut:]
                skip = self.get_submodule(score)(features.pooled[stage].float() * scale)[..., skip_cut:, skip_cut:]
                height, width = (min(a, b) for a, b in zip(x.shape[-2:], skip.shape[-2:], strict=True))
                x = x[..., :height, :width] + skip[..., :height, :width]
            height, width = features.image_size
            top = self.image_offset
            return self.get_submodule(self.last)(x)[..., top : top + height, top : top + width]


def fcn32s(
    stages: Stages, num_classes: int, *, head_width: Count = 4096, upsampling: Upsampling = "fixed", dropout: Probability = 0.5
) -> FCN:
    """FCN-32s: scores of pool5, enlarged 32 times."""
    return FCN(stages, num_classes, (), head_width, upsampling, dropout)


def fcn16s(
    stages: Stages,
    num_classes: int,
    *,
    head_width: Count = 4096,
    upsampling: Upsampling = "fixed",
    dropout: Probability = 0.5,
    skip_scale: Positive = 1.0,
) -> FCN:
    """FCN-16s: FCN-32s with the scores of pool4 added at stride 16.

    Staged training starts from a trained FCN-32s (`model.initialize_from`).
    """
    return FCN(stages, num_classes, (skip_scale,), head_width, upsampling, dropout)


def fcn8s(
    stages: Stages,
    num_classes: int,
    *,
    head_width: Count = 4096,
    upsampling: Upsampling = "fixed",
    dropout: Probability = 0.5,
    skip_scales: tuple[Positive, Positive] = (1.0, 1.0),
) -> FCN:
    """FCN-8s: FCN-16s with the scores of pool3 added at stride 8.

    Staged training starts from a trained FCN-16s (`model.initialize_from`). Training at once scales the skips,
    `skip_scales: [0.01, 0.0001]` for pool4 and pool3 in the released net.
    """
    return FCN(stages, num_classes, tuple(skip_scales), head_width, upsampling, dropout)
