"""SegNet: every maximum goes back to where it came from, and logits are bare."""

import pytest
import torch

from segkit.models.decoders.segnet import SegNet
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import Needs
from segkit.models.segmenter import Segmenter

STAGES = range(5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    encoder = VGG16(width=1 / 32, batch_norm=True)
    return Segmenter(encoder, SegNet(encoder.stages, 3)).eval()


@pytest.fixture
def seen(model):
    """Input and output of every layer of the decoder, by name, filled as the model runs."""
    maps = {}

    def keep(name):
        return lambda module, arguments, output: maps.update({name: (arguments[0].clone(), output.clone())})

    for name, layer in model.decoder.named_children():
        layer.register_forward_hook(keep(name))
    return maps


def put_back(values, before):
    """[C, H, W] zeros but for `values` [C, h, w], each where its 2x2 window of `before` [C, H, W] has its first
    maximum."""
    result = torch.zeros_like(before)
    channels, height, width = values.shape
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                window = before[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                row, column = divmod(int(window.flatten().argmax()), window.shape[1])
                result[c, 2 * i + row, 2 * j + column] = values[c, i, j]
    return result


@pytest.mark.parametrize("size", [(32, 32), (37, 45)], ids=str)
@torch.no_grad()
def test_unpooling_puts_every_value_where_the_maximum_of_its_window_was(model, seen, size):
    everything = frozenset(STAGES)
    features = model.encoder(
        torch.randn(1, 3, *size), Needs(pooled=everything, indices=everything, unpooled=everything)
    )
    model.decoder(features)
    values = features.pooled[4]
    for stage, first in zip(
        (5, 4, 3, 2, 1), ("conv5_3_D", "conv4_3_D", "conv3_3_D", "conv2_2_D", "conv1_2_D"), strict=True
    ):
        before = features.unpooled[stage - 1]
        torch.testing.assert_close(seen[first][0][0], put_back(values[0], before[0]), rtol=0, atol=0)
        if stage > 1:
            values = torch.relu(seen[f"conv{stage}_1_D_bn"][1])


@torch.no_grad()
def test_logits_are_the_bare_output_of_the_last_convolution(model, seen):
    logits = model(torch.randn(1, 3, 32, 32))
    assert torch.equal(logits, seen["conv1_1_D"][1])
    assert float(logits.min()) < 0 < float(logits.max())
    assert float(seen["conv1_1_D"][0].min()) >= 0  # all before it went through a ReLU
