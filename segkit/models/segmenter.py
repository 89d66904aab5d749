"""A model: one encoder, one decoder."""

from torch import Tensor, nn

from segkit.models.features import Features, Needs, Stages
from segkit.tensors import Image, Logits


class Encoder(nn.Module):
    """What a segmenter asks of an encoder: `stages`, `normalization`, `pretrained_names` and `forward(image, needs)`."""

    stages: Stages
    minimum_size: int
    pretrained_names: frozenset[str]

    def forward(self, image: Tensor, needs: Needs) -> Features:
        """Features of a normalized image [B, 3, H, W]."""
        raise NotImplementedError


class Segmenter(nn.Module):
    """Logits at input size from an encoder and a decoder.

    Raises:
        ValueError: if the decoder needs pooling indices and the encoder has none.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        if decoder.needs.indices and not encoder.stages.has_indices:
            raise ValueError(f"{type(decoder).__name__} needs pooling indices and {type(encoder).__name__} has none")
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Image) -> Logits:
        """[B, 3, H, W] normalized image, any H and W, to [B, K, H, W] float32 logits."""
        return self.decoder(self.encoder(image, self.decoder.needs))
