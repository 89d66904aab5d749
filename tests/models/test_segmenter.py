"""A segmenter refuses parts that do not fit one another, and logits that are none, each in one sentence."""

import pytest
import torch
from torch import nn

from segkit.errors import InputError
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import Needs
from segkit.models.segmenter import Segmenter
from segkit.models.smp.encoder import smp_encoder
from segkit.tensors import AuxiliaryLogits


class Given(nn.Module):
    """A decoder that gives what a function says."""

    minimum_size = 1

    def __init__(self, needs=Needs(), gives=lambda features: torch.zeros(1, 3, *features.image_size)):  # noqa: B008
        super().__init__()
        self.needs, self.gives = needs, gives

    def forward(self, features):
        return self.gives(features)


@pytest.fixture(scope="module")
def encoder():
    return VGG16(width=1 / 64)


@pytest.mark.parametrize("attribute", ["needs", "minimum_size"])
def test_a_decoder_that_does_not_state_its_needs_or_its_minimum_is_refused(encoder, attribute, message):
    decoder = Given()
    setattr(decoder, attribute, None)
    with pytest.raises(InputError) as caught:
        Segmenter(encoder, decoder)
    message(caught.value, "model.decoder", "Given", attribute)


def test_an_encoder_that_states_nothing_is_refused(message):
    with pytest.raises(InputError) as caught:
        Segmenter(nn.Identity(), Given())
    message(caught.value, "model.encoder", "Identity", "stages")


def test_maps_that_the_encoder_does_not_give_are_refused(encoder, message):
    with pytest.raises(InputError) as caught:
        Segmenter(encoder, Given(Needs(pooled=frozenset({5}))))
    message(caught.value, "Given", "stage 5", "VGG16", "0 to 4")
    smp = smp_encoder(encoder="tu-test_efficientnet")
    with pytest.raises(InputError) as caught:
        Segmenter(smp, Given(Needs(unpooled=frozenset({2}))))
    message(caught.value, "Given", "SMPEncoder")
    with pytest.raises(InputError) as caught:
        Segmenter(smp, Given(Needs(indices=frozenset({2}))))
    message(caught.value, "Given", "SMPEncoder")


@pytest.mark.parametrize(
    ("gives", "found"),
    [
        (lambda f: torch.zeros(1, 4, 32, 48), r"torch.float32 \[1, 4, 32, 48\]"),
        (lambda f: torch.zeros(3, 32, 48), r"torch.float32 \[3, 32, 48\]"),
        (lambda f: torch.zeros(1, 3, 32, 48, dtype=torch.int64), r"torch.int64 \[1, 3, 32, 48\]"),
        (lambda f: f, "Features"),
        (
            lambda f: AuxiliaryLogits(torch.zeros(1, 3, 32, 48), (torch.zeros(1, 3, 2, 3),), 0.3),
            r"torch.float32 \[1, 3, 2, 3\]",
        ),
    ],
)
def test_logits_of_another_form_are_refused(encoder, gives, found):
    assert Segmenter(encoder, Given())(torch.zeros(1, 3, 32, 48)).shape == (1, 3, 32, 48)  # of any number of classes
    model = Segmenter(encoder, Given(gives=gives), num_classes=3)
    sentence = (
        rf"model.decoder: Given gives {found} for an image \[1, 3, 32, 48\]; expected logits float32 \[1, 3, 32, 48\]"
    )
    with pytest.raises(InputError, match=sentence):
        model(torch.zeros(1, 3, 32, 48))
