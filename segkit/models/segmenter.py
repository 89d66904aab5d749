"""A model: one encoder, one decoder."""

from typing import Protocol, cast, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from segkit.errors import InputError
from segkit.models.features import Features, Needs, Normalization, Stages
from segkit.models.layers import size_of
from segkit.tensors import AuxiliaryLogits, Image, Logits


class Encoder(Protocol):
    """The part of a model that turns an image into maps.

    Attributes:
        stages: channels and coordinates of its maps.
        normalization: the input that it expects.
        pretrained_names: names of the parameters that came with weights.
    """

    stages: Stages
    normalization: Normalization
    pretrained_names: frozenset[str]

    def __call__(self, image: Image, needs: Needs) -> Features: ...


class Decoder(Protocol):
    """The part of a model that turns maps into logits [B, K, H, W] at image size, float32.

    Attributes:
        needs: the encoder's features that it uses.
        minimum_size: height and width of the smallest image, pixels.
    """

    needs: Needs
    minimum_size: int

    def __call__(self, features: Features) -> Logits | AuxiliaryLogits: ...


def require_attributes(part: nn.Module, role: type) -> None:
    """Raise InputError unless a part of a model has the attributes of `Encoder` or of `Decoder`."""
    attributes = get_type_hints(role)
    for name, annotation in attributes.items():
        kind = get_origin(annotation) or annotation
        if not isinstance(getattr(part, name, None), kind):
            raise InputError(
                f"model.{role.__name__.lower()}: {type(part).__name__} has no attribute {name} of type "
                f"{kind.__name__}; a segmenter needs {' and '.join(attributes)}. "
                f"Set it in __init__ (see {role.__name__} in segkit/models/segmenter.py)."
            )


class Segmenter(nn.Module):
    """Logits at input size from an encoder and a decoder.

    Args:
        encoder: an nn.Module that is an `Encoder`.
        decoder: an nn.Module that is a `Decoder`. Each of the two may list pairs of names `conv_bn_pairs`; see
            `absorb_batch_norm`.
        num_classes: K, to check the logits against; None: any.
    Raises:
        InputError: if a part lacks an attribute, or the decoder needs what the encoder does not give.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, num_classes: int | None = None):
        super().__init__()
        require_attributes(encoder, Encoder)
        require_attributes(decoder, Decoder)
        self.stages, self.needs = cast(Encoder, encoder).stages, cast(Decoder, decoder).needs
        self._require_given(type(encoder).__name__, type(decoder).__name__)
        self.num_classes = num_classes
        self.minimum_size = max(self.stages.paths[-1].minimum_size, cast(Decoder, decoder).minimum_size)
        self.normalization = cast(Encoder, encoder).normalization
        self.pretrained_names = frozenset(f"encoder.{name}" for name in cast(Encoder, encoder).pretrained_names)
        self.encoder = encoder
        self.decoder = decoder

    def _require_given(self, encoder: str, decoder: str) -> None:
        """Raise InputError if the decoder needs features that the encoder does not provide."""
        needs, last = self.needs, len(self.stages.channels) - 1
        for features, stages, given in (
            ("pooling indices", needs.indices, self.stages.has_indices),
            ("maps before pooling", needs.unpooled, self.stages.has_unpooled),
        ):
            if stages and not given:
                raise InputError(
                    f"model.decoder: {decoder} needs {features}, and the encoder {encoder} has none. "
                    "Choose another decoder, or an encoder with max pooling such as vgg16."
                )
        if unknown := sorted((needs.pooled | needs.indices | needs.unpooled) - set(range(last + 1))):
            raise InputError(
                f"model.decoder: {decoder} needs stage {unknown[0]}, and the encoder {encoder} has stages 0 to {last}. "
                "Choose an encoder with more stages, or change needs."
            )

    def forward(self, image: Image) -> Logits | AuxiliaryLogits:
        """Compute [B, K, H, W] float32 logits of a normalized image [B, 3, H, W]; in training also auxiliary ones.

        Raises:
            InputError: if the image is smaller than `minimum_size`, or the decoder gives logits of another form.
        """
        height, width = size_of(image)
        if min(height, width) < self.minimum_size:
            raise InputError(
                f"an image of {height}x{width} pixels (height x width) is too small for this net: expected at "
                f"least {self.minimum_size} on each side. Enlarge it, or raise transforms.input_scale."
            )
        logits = self.decoder(self.encoder(image, self.needs))
        if not torch.compiler.is_compiling():
            for each in (logits.logits, *logits.auxiliary) if isinstance(logits, AuxiliaryLogits) else (logits,):
                self._check(each, image)
        return logits

    def _check(self, logits: object, image: Image) -> None:
        """Raise InputError unless logits are [B, K, H, W] float32 (or float64) at the image's size."""
        shape, dtype = ([*logits.shape], logits.dtype) if isinstance(logits, Tensor) else ([], type(logits).__name__)
        classes = self.num_classes or (shape[1] if len(shape) == 4 else "classes")
        expected = [len(image), classes, *size_of(image)]
        if shape != expected or dtype not in (torch.float32, torch.float64):
            found = f"{dtype} {shape}" if shape else dtype
            raise InputError(
                f"model.decoder: {type(self.decoder).__name__} gives {found} for an image {[*image.shape]}; "
                f"expected logits float32 [{', '.join(map(str, expected))}] (batch, classes, height, width). "
                "Crop or interpolate to features.image_size, and call .float() on the last map."
            )
