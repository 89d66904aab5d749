"""FCN-32s, FCN-16s and FCN-8s: scores of the deepest map, upsampled, with scores of finer maps added on the way.

Layers and maps have the names of the released VGG16 nets. On an encoder with other stages pool5, pool4 and pool3 are
its deepest, second and third deepest map, and upscore8 upsamples by the stride that is left. fc6 and fc7 have the
kernels of the encoder's classification net (VGG16: 7x7 and 1x1). Score convolutions start at zero; everything after
them is computed in float32. Kernels of upsampling and crops follow from the coordinates of the encoder's maps: for
VGG16 padded by 100, crops of 19; 5 and 27; 5, 9 and 31 pixels.

Options that the three share:
    head_width: channels of fc6 and fc7.
    head_padding: `same`: fc6 keeps the size of its map; `none`: as released, for encoders that pad the image by 100.
    upsampling: which upsampling kernels are trained: none (`fixed`), all (`learned`), all but the last
        (`learned_intermediate`), or only the last (`learned_final`).
    dropout: probability of element-wise dropout after fc6 and after fc7, or before the scores where there is no fc6.
Each raises InputError if its scores cannot cover an image, whatever its size.

Source: Long, Shelhamer and Darrell 2015 (arXiv:1411.4038) and shelhamer/fcn.berkeleyvision.org,
    voc-fcn{32s,16s,8s,8s-atonce,alexnet}/net.py. Differs: `same` padding in fc6 is ours; `learned_intermediate` is the
    paper's text, `fixed` the released code; fc6 and fc7 start from He initialisation where no weights are given. The
    released solvers (summed loss, biases at twice the rate and without decay) are options of loss and optimizer.
"""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.config.ranges import Count, NotNegative, Positive, Probability
from segkit.errors import InputError
from segkit.models.decoders.auxiliary import AuxiliaryClassifiers
from segkit.models.features import Features, Needs, Stages
from segkit.models.geometry import IMAGE, Alignment, LayerPath, align, convolution
from segkit.models.layers import Upsample, Upsampling, crop_to, he_convolution, zero_convolution
from segkit.tensors import AuxiliaryLogits, Logits

HeadPadding = Literal["same", "none"]
SIZES = range(1, 257)  # pixels; beyond this the fit repeats with the stride


class FCN32s(nn.Module):
    """FCN-32s: scores of pool5, upsampled 32 times.

    Args:
        stages: the encoder's stages.
        num_classes: K.
        auxiliary_weight: weight of the loss of each auxiliary classifier in training; 0: there are none.
    """

    def __init__(
        self,
        stages: Stages,
        num_classes: int,
        *,
        head_width: Count = 4096,
        head_padding: HeadPadding = "same",
        upsampling: Upsampling = "fixed",
        dropout: Probability = 0.5,
        auxiliary_weight: NotNegative = 0.0,
    ):
        super().__init__()
        self.pool5 = len(stages.channels) - 1
        self.needs = Needs(pooled=frozenset({self.pool5}), auxiliary=auxiliary_weight > 0, kept_channels=num_classes)
        self.dropout = nn.Dropout(dropout)
        self.fc6, self.fc7, self.score_fr, score_fr = _head(stages, num_classes, head_width, head_padding)
        self.to_image = align(score_fr.coordinates, IMAGE)
        self.upscore = _upsample(num_classes, self.to_image, learned=upsampling in ("learned", "learned_final"))
        self.auxiliary = AuxiliaryClassifiers(stages, num_classes, auxiliary_weight)
        self.minimum_size = _minimum_size(score_fr, [(self.to_image, LayerPath())], head_padding)

    def forward(self, features: Features) -> Logits | AuxiliaryLogits:
        """Return [B, K, H, W] float32 logits at image size; in training also those of the auxiliary classifiers."""
        pool5 = features.pooled[self.pool5]
        fc7 = _fc6_fc7(pool5, self.fc6, self.fc7, self.dropout)
        with torch.autocast(pool5.device.type, enabled=False):
            score_fr = self.score_fr(fc7.float())
            upscore = self.upscore(score_fr)
            logits = crop_to(upscore, self.to_image.crop, features.image_size)
        return self.auxiliary(logits, features)


class FCN16s(nn.Module):
    """FCN-16s: FCN-32s with the scores of pool4 added at stride 16.

    Staged training starts from a trained FCN-32s (`model.initialize_from`).

    Args:
        stages: the encoder's stages.
        num_classes: K.
        skip_scale: factor on pool4 before its 1x1 score convolution.
    """

    def __init__(
        self,
        stages: Stages,
        num_classes: int,
        *,
        head_width: Count = 4096,
        head_padding: HeadPadding = "same",
        upsampling: Upsampling = "fixed",
        dropout: Probability = 0.5,
        skip_scale: Positive = 1.0,
    ):
        super().__init__()
        depth = len(stages.channels)
        self.pool4, self.pool5 = depth - 2, depth - 1
        self.needs = Needs(pooled=frozenset({self.pool4, self.pool5}), kept_channels=num_classes)
        self.skip_scale = skip_scale
        self.dropout = nn.Dropout(dropout)
        self.fc6, self.fc7, self.score_fr, score_fr = _head(stages, num_classes, head_width, head_padding)
        pool4 = stages.paths[self.pool4]
        self.to_pool4 = align(score_fr.coordinates, pool4.coordinates)
        self.to_image = align(self.to_pool4.coordinates, IMAGE)
        intermediate = upsampling in ("learned", "learned_intermediate")
        final = upsampling in ("learned", "learned_final")
        self.score_pool4 = zero_convolution(stages.channels[self.pool4], num_classes)
        self.upscore2 = _upsample(num_classes, self.to_pool4, learned=intermediate)
        self.upscore16 = _upsample(num_classes, self.to_image, learned=final)
        self.stored_names = {"score_pool4": f"score_pool{depth - 1}", "upscore16": f"upscore{self.to_image.factor}"}
        _save_as(self, self.stored_names)
        steps = [(self.to_pool4, pool4), (self.to_image, LayerPath())]
        self.minimum_size = _minimum_size(score_fr, steps, head_padding)

    def forward(self, features: Features) -> Logits:
        """Return [B, K, H, W] float32 logits at image size."""
        pool4, pool5 = features.pooled[self.pool4], features.pooled[self.pool5]
        fc7 = _fc6_fc7(pool5, self.fc6, self.fc7, self.dropout)
        with torch.autocast(pool5.device.type, enabled=False):
            score_fr = self.score_fr(fc7.float())
            upscore2 = self.upscore2(score_fr)
            score_pool4 = self.score_pool4(pool4.float() * self.skip_scale)
            fuse_pool4 = crop_and_add(upscore2, score_pool4, self.to_pool4)
            upscore16 = self.upscore16(fuse_pool4)
            return crop_to(upscore16, self.to_image.crop, features.image_size)


class FCN8s(nn.Module):
    """FCN-8s: FCN-16s with the scores of pool3 added at stride 8.

    Staged training starts from a trained FCN-16s (`model.initialize_from`). Training at once scales the skips,
    `skip_scales: [0.01, 0.0001]` in the released net.

    Args:
        stages: the encoder's stages.
        num_classes: K.
        skip_scales: factors on pool4 and on pool3 before their 1x1 score convolutions.
    """

    def __init__(
        self,
        stages: Stages,
        num_classes: int,
        *,
        head_width: Count = 4096,
        head_padding: HeadPadding = "same",
        upsampling: Upsampling = "fixed",
        dropout: Probability = 0.5,
        skip_scales: tuple[Positive, Positive] = (1.0, 1.0),
    ):
        super().__init__()
        depth = len(stages.channels)
        self.pool3, self.pool4, self.pool5 = depth - 3, depth - 2, depth - 1
        self.needs = Needs(pooled=frozenset({self.pool3, self.pool4, self.pool5}), kept_channels=num_classes)
        self.skip_scales = skip_scales
        self.dropout = nn.Dropout(dropout)
        self.fc6, self.fc7, self.score_fr, score_fr = _head(stages, num_classes, head_width, head_padding)
        pool4, pool3 = stages.paths[self.pool4], stages.paths[self.pool3]
        self.to_pool4 = align(score_fr.coordinates, pool4.coordinates)
        self.to_pool3 = align(self.to_pool4.coordinates, pool3.coordinates)
        self.to_image = align(self.to_pool3.coordinates, IMAGE)
        intermediate = upsampling in ("learned", "learned_intermediate")
        final = upsampling in ("learned", "learned_final")
        self.score_pool4 = zero_convolution(stages.channels[self.pool4], num_classes)
        self.upscore2 = _upsample(num_classes, self.to_pool4, learned=intermediate)
        self.score_pool3 = zero_convolution(stages.channels[self.pool3], num_classes)
        self.upscore_pool4 = _upsample(num_classes, self.to_pool3, learned=intermediate)
        self.upscore8 = _upsample(num_classes, self.to_image, learned=final)
        self.stored_names = {
            "score_pool4": f"score_pool{depth - 1}",
            "score_pool3": f"score_pool{depth - 2}",
            "upscore_pool4": f"upscore_pool{depth - 1}",
            "upscore8": f"upscore{self.to_image.factor}" if self.to_image.factor != 2 else "upscore8",
        }
        _save_as(self, self.stored_names)
        steps = [(self.to_pool4, pool4), (self.to_pool3, pool3), (self.to_image, LayerPath())]
        self.minimum_size = _minimum_size(score_fr, steps, head_padding)

    def forward(self, features: Features) -> Logits:
        """Return [B, K, H, W] float32 logits at image size."""
        pool3, pool4, pool5 = (features.pooled[stage] for stage in (self.pool3, self.pool4, self.pool5))
        scale_pool4, scale_pool3 = self.skip_scales
        fc7 = _fc6_fc7(pool5, self.fc6, self.fc7, self.dropout)
        with torch.autocast(pool5.device.type, enabled=False):
            score_fr = self.score_fr(fc7.float())
            upscore2 = self.upscore2(score_fr)
            score_pool4 = self.score_pool4(pool4.float() * scale_pool4)
            fuse_pool4 = crop_and_add(upscore2, score_pool4, self.to_pool4)
            upscore_pool4 = self.upscore_pool4(fuse_pool4)
            score_pool3 = self.score_pool3(pool3.float() * scale_pool3)
            fuse_pool3 = crop_and_add(upscore_pool4, score_pool3, self.to_pool3)
            upscore8 = self.upscore8(fuse_pool3)
            return crop_to(upscore8, self.to_image.crop, features.image_size)


def crop_and_add(upscore: Tensor, score: Tensor, alignment: Alignment) -> Tensor:
    """Sum of upsampled scores and a skip's scores [B, K, ...] where they overlap, after the aligning crops."""
    upscore = upscore[..., alignment.crop :, alignment.crop :]
    score = score[..., alignment.target_crop :, alignment.target_crop :]
    height, width = (min(a, b) for a, b in zip(upscore.shape[-2:], score.shape[-2:], strict=True))
    return upscore[..., :height, :width] + score[..., :height, :width]


def _head(
    stages: Stages, num_classes: int, width: int, padding: HeadPadding
) -> tuple[nn.Conv2d | None, nn.Conv2d | None, nn.Conv2d, LayerPath]:
    """Make fc6, fc7 and score_fr, and the layers from the image to the scores."""
    channels, path = stages.channels[-1], stages.paths[-1]
    if stages.classifier is None:
        return None, None, zero_convolution(channels, num_classes), path
    kernels = stages.classifier
    margins = [kernel // 2 if padding == "same" else 0 for kernel in kernels]
    fc6 = he_convolution(channels, width, kernels[0], margins[0])
    fc7 = he_convolution(width, width, kernels[1], margins[1])
    path = path.then(*(convolution(kernel, padding=margin) for kernel, margin in zip(kernels, margins, strict=True)))
    return fc6, fc7, zero_convolution(width, num_classes), path


def _fc6_fc7(pool5: Tensor, fc6: nn.Conv2d | None, fc7: nn.Conv2d | None, dropout: nn.Dropout) -> Tensor:
    """Apply the two layers of the head, each with ReLU and dropout; dropout alone where there are none."""
    if fc6 is None or fc7 is None:
        return dropout(pool5)
    x = dropout(F.relu(fc6(pool5), inplace=True))
    return dropout(F.relu(fc7(x), inplace=True))


def _upsample(num_classes: int, alignment: Alignment, *, learned: bool) -> Upsample:
    return Upsample(num_classes, alignment.factor, learned=learned, kernel=alignment.kernel)


def _minimum_size(score_fr: LayerPath, steps: list[tuple[Alignment, LayerPath]], head_padding: HeadPadding) -> int:
    """Pixels of the smallest image; it and all larger ones fit every layer, and the logits reach the last pixel.

    Args:
        steps: each upsampling, and the path of the map that it is aligned with; the last is the image.
    Raises:
        InputError: if there is none.
    """

    def covers(pixels: int) -> bool:
        size = score_fr.size(pixels)
        for alignment, finer in steps:
            size = alignment.size(size, finer.size(pixels))
        return size == pixels

    minimum_size = max((pixels for pixels in SIZES if not covers(pixels)), default=0) + 1
    if minimum_size > SIZES[-steps[-1][0].factor]:
        remedy = "Set model.decoder.head_padding=same, or raise" if head_padding == "none" else "Raise"
        raise InputError(
            f"model.decoder.head_padding = '{head_padding}': the scores do not cover the border of the image on this "
            f"encoder. {remedy} the encoder's padding."
        )
    return minimum_size


def _save_as(decoder: nn.Module, names: dict[str, str]) -> None:
    """Save layers in the state dict, and load them, under names that differ from their attributes.

    Weight files name skips after the encoder's own stages (score_pool3 is the second deepest of GoogLeNet's four), and
    the last upsampling after its factor (unless that is 2: upscore2 is taken). For VGG16 these are the attributes' own.
    """
    if any(attribute != name for attribute, name in names.items()):
        attributes = {name: attribute for attribute, name in names.items()}
        decoder.register_state_dict_post_hook(partial(_rename, names=names))
        decoder.register_load_state_dict_pre_hook(partial(_rename, names=attributes))


def _rename(decoder: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any, names: dict[str, str]) -> None:
    own = {key: state.pop(key) for key in list(state) if key.startswith(prefix)}  # all of them, so that the order stays
    for key, tensor in own.items():
        layer, dot, rest = key.removeprefix(prefix).partition(".")
        state[prefix + names.get(layer, layer) + dot + rest] = tensor
