"""A model: one encoder, one decoder."""

from typing import Protocol, cast

from torch import nn

from segkit.errors import InputError
from segkit.models.features import Features, Needs, Normalization, Stages
from segkit.tensors import Image, Logits


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
    """What a segmenter asks of a decoder; `needs` is all that it may use."""

    needs: Needs

    def __call__(self, features: Features) -> Logits: ...


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
        self.normalization = stated.normalization
        self.pretrained_names = frozenset(f"encoder.{name}" for name in stated.pretrained_names)
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Image) -> Logits:
        """[B, 3, H, W] normalized image, any H and W, to [B, K, H, W] float32 logits."""
        return self.decoder(self.encoder(image, self.needs))
