"""VGG16 without its classifier, as an encoder of five stages."""

from http.client import HTTPException
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.config.ranges import Probability
from segkit.errors import InputError
from segkit.models.features import NORMALIZATIONS, Features, Needs, NormalizationName, Stages
from segkit.models.geometry import LayerPath, convolution, pooling
from segkit.models.layers import BatchNormKind, batch_norm_layer, he_convolution, size_of
from segkit.models.weights import load_exactly, read_weights
from segkit.tensors import Image

STAGES = (
    ("conv1_1", "conv1_2"),
    ("conv2_1", "conv2_2"),
    ("conv3_1", "conv3_2", "conv3_3"),
    ("conv4_1", "conv4_2", "conv4_3"),
    ("conv5_1", "conv5_2", "conv5_3"),
)
CHANNELS = (64, 128, 256, 512, 512)


class VGG16(nn.Module):
    """The 13 convolutions of VGG16 in five stages, each closed by 2x2 max pooling with ceil rounding.

    Takes any input size from 1x1 on: a stage of n pixels becomes ceil(n / 2). Training with batch norm needs two values
    per channel, so at least 17 pixels in height or width, or two images.

    Args:
        restore: a checkpoint follows: declare `weights`, do not read them.
        width: multiplier of every channel count; 1.0 is VGG16.
        batch_norm: batch normalization after every convolution: `torch` (or true), or as SegNet's authors have it:
            `caffe`, or `caffe_zero_shift` (Bayesian SegNet).
        padding: pixels around the image in conv1_1. FCN's released nets have 100: 2.2 times the work at 360x480.
        dropout: probability of element-wise dropout after pool3, pool4 and pool5 (Bayesian SegNet: 0.5).
        weights: a .safetensors, .pt or .pth file with torchvision's `features.N` names, or a name of torchvision's
            VGG16_Weights; null: He initialisation. A file of plain VGG16 also fits `batch_norm`, which then keeps
            its initial values.
        normalization: input convention: RGB, 0..255, minus VGG's mean (`caffe`), minus that of FCN's VOC nets (`fcn`),
            unchanged (`raw`), or minus mean, divided by std (`torchvision`). null: the one that belongs to the weights,
            `caffe` for files and IMAGENET1K_FEATURES, `torchvision` otherwise; a file of torchvision's IMAGENET1K_V1
            needs `torchvision`.
    Raises:
        InputError: if the weights are missing, unreadable, or do not fit.
    Source: Simonyan and Zisserman 2014 (arXiv:1409.1556), configuration D; ceil pooling as in Caffe.
    """

    def __init__(
        self,
        restore: bool = False,
        *,
        width: Annotated[float, Gt(0), Le(4)] = 1.0,
        batch_norm: bool | BatchNormKind = False,
        padding: Annotated[int, Ge(1), Le(200)] = 1,
        dropout: Probability = 0.0,
        weights: str | None = None,
        normalization: NormalizationName | None = None,
    ):
        super().__init__()
        channels = tuple(max(1, round(c * width)) for c in CHANNELS)
        self.dropout = nn.Dropout(dropout)
        kind = "torch" if batch_norm is True else batch_norm
        incoming, path, paths = 3, LayerPath(), []
        for names, outgoing in zip(STAGES, channels, strict=True):
            for name in names:
                margin = padding if name == "conv1_1" else 1
                self.add_module(name, he_convolution(incoming, outgoing, 3, margin))
                self.add_module(f"{name}_bn", batch_norm_layer(outgoing, kind) if kind else nn.Identity())
                incoming, path = outgoing, path.then(convolution(3, padding=margin))
            path = path.then(pooling(2, 2))
            paths.append(path)
        layers = [name for names in STAGES for name in names]
        self.conv_bn_pairs = [(name, f"{name}_bn") for name in layers if kind]
        self.stages = Stages(channels, tuple(paths), has_indices=True)
        belongs = "caffe" if weights is not None and weights != "IMAGENET1K_V1" else "torchvision"
        self.normalization = NORMALIZATIONS[normalization or belongs]
        pretrained = layers if weights is not None else []
        self.pretrained_names = frozenset(f"{name}.{tensor}" for name in pretrained for tensor in ("weight", "bias"))
        if weights is not None and not restore:
            self._load(weights)

    def forward(self, image: Image, needs: Needs) -> Features:
        """Return the features of a normalized image [B, 3, H, W]."""
        features = Features(image_size=size_of(image))
        x = image
        for stage, names in enumerate(STAGES):
            for name in names:
                convolution, batch_norm = getattr(self, name), getattr(self, f"{name}_bn")
                x = F.relu(batch_norm(convolution(x)), inplace=True)
            x = features.close_stage(stage, x, needs, then=self.dropout if stage >= 2 else None)
        return features

    def _load(self, weights: str) -> None:
        """Copy the weights of a file, or of a name of torchvision, by torchvision's names of the layers."""
        tensors = _named_by_torchvision(weights) if Path(weights).suffix == "" else read_weights(Path(weights))
        tensors = {n: t for n, t in tensors.items() if not n.startswith("classifier.")}
        has_batch_norm = any(n.endswith(".running_mean") for n in tensors)
        own = torchvision_layers(has_batch_norm)
        parts = {n: n.rpartition(".") for n in tensors}
        tensors = {own.get(layer, layer) + dot + last: tensors[n] for n, (layer, dot, last) in parts.items()}
        may_lack = () if has_batch_norm else tuple(n for n in self.state_dict() if "_bn." in n)
        load_exactly(self, tensors, source=f"weights {weights}", may_lack=may_lack)


def torchvision_layers(batch_norm: bool) -> dict[str, str]:
    """Map `features.N` of torchvision's vgg16 or vgg16_bn to the layers here."""
    layers, index = {}, 0
    for names in STAGES:
        for name in names:
            layers[f"features.{index}"] = name
            if batch_norm:
                layers[f"features.{index + 1}"] = f"{name}_bn"
            index += 3 if batch_norm else 2  # convolution, batch norm, ReLU
        index += 1  # pooling
    return layers


def _named_by_torchvision(name: str) -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights

    known = sorted(VGG16_Weights.__members__)
    if name not in known:
        raise InputError(
            f"model.encoder.weights = '{name}': expected a path ending in .safetensors, .pt or .pth, "
            f"or one of {', '.join(known)}."
        )
    try:
        return dict(VGG16_Weights[name].get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError, HTTPException) as error:  # no network; a damaged file; a connection that broke
        raise InputError(
            f"model.encoder.weights = '{name}' could not be downloaded ({error}); expected network access to "
            f"{VGG16_Weights[name].url}. Download that file elsewhere and give its path."
        ) from None
