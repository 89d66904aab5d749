"""FCN: the layers, their starts and their sums, as in the released nets."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.encoders.alexnet import AlexNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.segnet_basic import SegNetBasicEncoder
from segkit.models.encoders.vgg import VGG16
from segkit.models.segmenter import Segmenter

K = 3
SIZE = (96, 128)  # whole strides: every map covers the next


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return VGG16(width=1 / 16)


@pytest.fixture
def image():
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def noisy(decoder):
    """The decoder with score layers that have left their zero start."""
    for name, parameter in decoder.named_parameters():
        if name.startswith("score"):
            nn.init.normal_(parameter)
    return decoder.eval()


def upsampled(x, factor):
    """Bilinear interpolation that sees zeros beyond the border, as a deconvolution does."""
    x = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=factor, mode="bilinear", align_corners=False)
    return x[..., factor:-factor, factor:-factor]


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (FCN32s, "fc6 fc7 score_fr upscore"),
        (FCN16s, "fc6 fc7 score_fr score_pool4 upscore2 upscore16"),
        (FCN8s, "fc6 fc7 score_fr score_pool4 upscore2 score_pool3 upscore_pool4 upscore8"),
    ],
)
def test_layers_have_the_names_of_the_released_net(encoder, build, names):
    layers = build(encoder.stages, K, head_width=8).named_children()
    assert {name for name, layer in layers if [*layer.parameters(), *layer.buffers()]} == set(names.split())


@pytest.mark.parametrize(
    ("encoder", "names"),
    [
        (VGG16, "score_pool4 upscore2 score_pool3 upscore_pool4 upscore8"),
        (GoogLeNet, "score_pool3 upscore2 score_pool2 upscore_pool3 upscore8"),
        (AlexNet, "score_pool2 upscore2 score_pool1 upscore_pool2 upscore8"),
        (SegNetBasicEncoder, "score_pool3 upscore2 score_pool2 upscore_pool3 upscore4"),
    ],
)
def test_weight_files_name_skips_after_the_stages_of_their_encoder(encoder, names):
    stages = encoder(width=1 / 16).stages
    one, other = (FCN8s(stages, K, head_width=8, upsampling="learned") for _ in range(2))
    nn.init.normal_(one.score_pool4.weight)
    nn.init.normal_(one.score_pool3.weight)
    stored = one.state_dict()
    layers = list(dict.fromkeys(name.split(".")[0] for name in stored))
    assert layers[layers.index("score_fr") + 1 :] == names.split()
    other.load_state_dict(stored)
    assert torch.equal(other.score_pool4.weight, one.score_pool4.weight)
    assert torch.equal(other.score_pool3.weight, one.score_pool3.weight)


@pytest.mark.parametrize("build", [FCN32s, FCN16s, FCN8s])
def test_before_training_every_logit_is_0(encoder, image, build):
    assert not Segmenter(encoder, build(encoder.stages, K, head_width=8))(image).any()


@pytest.mark.parametrize(
    ("build", "options", "scales"),
    [(FCN32s, {}, ()), (FCN16s, {"skip_scale": 0.5}, (0.5,)), (FCN8s, {"skip_scales": (0.5, 0.25)}, (0.5, 0.25))],
)
@torch.no_grad()
def test_the_logits_are_scores_upsampled_and_added(encoder, image, build, options, scales):
    decoder = noisy(build(encoder.stages, K, head_width=8, **options))
    features = encoder(image, decoder.needs)
    x = decoder.score_fr(F.relu(decoder.fc7(F.relu(decoder.fc6(features.pooled[4])))))
    for stage, scale in zip((4, 3), scales, strict=False):
        x = upsampled(x, 2) + decoder.get_submodule(f"score_pool{stage}")(scale * features.pooled[stage - 1])
    torch.testing.assert_close(decoder(features), upsampled(x, 32 // 2 ** len(scales)), rtol=1e-4, atol=1e-5)


def test_dropout_takes_single_elements_after_fc6_and_after_fc7_in_training_only(encoder):
    decoder = FCN32s(encoder.stages, K, head_width=64, dropout=0.5)
    for layer in (decoder.fc6, decoder.fc7):
        nn.init.zeros_(layer.weight)
        nn.init.ones_(layer.bias)  # 1 everywhere, so that a 0 was dropped
    seen = {}
    for name in ("fc7", "score_fr"):
        decoder.get_submodule(name).register_forward_hook(
            lambda m, arguments, output, name=name: seen.update({name: arguments[0].clone()})
        )
    features = encoder(torch.randn(1, 3, 192, 256), decoder.needs)  # 48 elements to a channel
    torch.manual_seed(0)
    decoder.train()(features)
    for x in seen.values():
        assert set(x.unique().tolist()) == {0, 2}  # what stays is doubled
        assert float((x == 0).float().mean()) == pytest.approx(0.5, abs=0.1)
        assert not (x == x[..., :1, :1]).flatten(2).all(2).any()  # no channel is kept or dropped as a whole
    decoder.eval()(features)
    assert all(torch.equal(x, torch.ones_like(x)) for x in seen.values())
