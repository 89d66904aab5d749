"""A model: one encoder, one decoder."""

from typing import Protocol, cast

from torch import nn

from segkit.errors import InputError
from segkit.models.features import Features, Needs, Normalization, Stages
from segkit.models.layers import size_of
from segkit.tensors import AuxiliaryLogits, Image, Logits


class Encoder(Protocol):
    """What a segmenter asks of an encoder.

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
    """What a segmenter asks of a decoder; `needs` is all that it may use, `minimum_size` the smallest image in
    pixels."""

    needs: Needs
    minimum_size: int

    def __call__(self, features: Features) -> Logits | AuxiliaryLogits: ...


class Segmenter(nn.Module):
    """Logits at input size from an encoder and a decoder.

    Args:
        encoder: an nn.Module that is an `Encoder`.
        decoder: an nn.Module that is a `Decoder`.
    Raises:
        InputError: if the decoder needs pooling indices and the encoder has none.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        stated = cast(Encoder, encoder)
        self.needs = cast(Decoder, decoder).needs
        if self.needs.indices and not stated.stages.has_indices:
            raise InputError(
                f"model.decoder: {type(decoder).__name__} needs pooling indices, and the encoder {type(encoder).__name__} has none. "
                "Choose another decoder, or an encoder with max pooling such as vgg16."
            )
        self.stages = stated.stages
        self.minimum_size = max(stated.stages.paths[-1].minimum_size, cast(Decoder, decoder).minimum_size)
        self.normalization = stated.normalization
        self.pretrained_names = frozenset(f"encoder.{name}" for name in stated.pretrained_names)
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Image) -> Logits | AuxiliaryLogits:
        """[B, 3, H, W] normalized image, any H and W, to [B, K, H, W] float32 logits; in training also auxiliary ones,
        if there are any.

        Raises:
            InputError: if the image is smaller than `minimum_size`.
        """
        height, width = size_of(image)
        if min(height, width) < self.minimum_size:
            raise InputError(
                f"an image of {height}x{width} pixels (height x width) is too small for this net: expected at least {self.minimum_size} "
                "on each side. Enlarge it, or raise transforms.input_scale."
            )
        return self.decoder(self.encoder(image, self.needs))
