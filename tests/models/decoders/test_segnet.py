"""SegNet: every maximum goes back to where it came from, at the sizes and with the channels of the released net."""

import pytest
import torch
from torch import nn

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
def test_unpooling_undoes_pooling_for_the_maxima_themselves(model, seen):
    everything = frozenset(STAGES)
    features = model.encoder(
        torch.randn(1, 3, 64, 64), Needs(pooled=everything, indices=everything, unpooled=everything)
    )
    model.decoder(features)
    unpooled, before = seen["conv5_3_D"][0], features.unpooled[4]
    kept = unpooled != 0
    assert kept.any()
    assert torch.equal(unpooled[kept], before[kept])


@torch.no_grad()
def test_the_sizes_at_360x480_are_those_of_the_released_net(model, seen):
    image = torch.randn(1, 3, 360, 480)
    features = model.encoder(image, Needs(pooled=frozenset(STAGES), indices=frozenset(STAGES)))
    assert [tuple(features.pooled[s].shape[-2:]) for s in STAGES] == [
        (180, 240),
        (90, 120),
        (45, 60),
        (23, 30),
        (12, 15),
    ]
    assert [features.unpooled_sizes[s] for s in STAGES] == [(360, 480), (180, 240), (90, 120), (45, 60), (23, 30)]
    assert model.decoder(features).shape == (1, 3, 360, 480)
    sizes = {name: tuple(output.shape[-2:]) for name, (_, output) in seen.items()}
    assert [sizes[f"conv{s}_1_D"] for s in (5, 4, 3, 2, 1)] == [(23, 30), (45, 60), (90, 120), (180, 240), (360, 480)]


def test_the_last_convolution_of_a_stage_changes_the_channels():
    with torch.device("meta"):
        decoder = SegNet(VGG16(batch_norm=True).stages, 11)
    layers = {name: (m.in_channels, m.out_channels) for name, m in decoder.named_children() if isinstance(m, nn.Conv2d)}
    assert layers == {
        **{"conv5_3_D": (512, 512), "conv5_2_D": (512, 512), "conv5_1_D": (512, 512)},
        **{"conv4_3_D": (512, 512), "conv4_2_D": (512, 512), "conv4_1_D": (512, 256)},
        **{"conv3_3_D": (256, 256), "conv3_2_D": (256, 256), "conv3_1_D": (256, 128)},
        **{"conv2_2_D": (128, 128), "conv2_1_D": (128, 64)},
        **{"conv1_2_D": (64, 64), "conv1_1_D": (64, 11)},
    }


def test_every_convolution_is_3x3_with_bias_and_batch_norm_but_the_last_without(model):
    layers = dict(model.decoder.named_children())
    convolutions = {name: m for name, m in layers.items() if isinstance(m, nn.Conv2d)}
    assert len(convolutions) == 13
    assert all(m.kernel_size == (3, 3) and m.padding == (1, 1) and m.bias is not None for m in convolutions.values())
    assert set(layers) - set(convolutions) - {"dropout"} == {
        f"{name}_bn" for name in convolutions if name != "conv1_1_D"
    }
    assert all(
        layers[f"{name}_bn"].num_features == m.out_channels for name, m in convolutions.items() if name != "conv1_1_D"
    )


@torch.no_grad()
def test_logits_are_the_bare_output_of_the_last_convolution(model, seen):
    logits = model(torch.randn(1, 3, 32, 32))
    assert torch.equal(logits, seen["conv1_1_D"][1])
    assert float(logits.min()) < 0 < float(logits.max())
    assert float(seen["conv1_1_D"][0].min()) >= 0  # all before it went through a ReLU
