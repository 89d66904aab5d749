"""The eight decoders of SegNet's Table 1: parameters and stored maps as printed there, or the difference explained."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.build import DECODERS
from segkit.models.decoders.segnet_basic import segnet_basic
from segkit.models.encoders.segnet_basic import SegNetBasicEncoder
from segkit.models.features import Needs, storage_multiplier
from segkit.models.segmenter import Segmenter

K = 11
ENCODER = 3 * 64 * 49 + 64 + 3 * (64 * 64 * 49 + 64) + 4 * 2 * 64  # convolutions with bias, batch norm
DECODE = 64 * 64 * 49 + 64 + 2 * 64
CLASSIFIER = 64 * K + K
UPSAMPLE = 8 * 8
# decoder: parameters by the layers, the table's millions, the table's storage multiplier
TABLE = {
    "bilinear_interpolation": (ENCODER + CLASSIFIER, 0.625, 0),
    "segnet_basic": (ENCODER + 4 * DECODE + CLASSIFIER, 1.425, 1),
    "segnet_basic_encoder_addition": (ENCODER + 4 * DECODE + CLASSIFIER, 1.425, 64),
    "segnet_basic_single_channel": (ENCODER + 4 * (64 * 49 + 64 + 2 * 64) + CLASSIFIER, 0.625, 1),
    "fcn_basic": (ENCODER + 4 * CLASSIFIER + 4 * K * K * UPSAMPLE, 0.65, 11),
    "fcn_basic_no_addition": (ENCODER + CLASSIFIER + 4 * K * K * UPSAMPLE, 0.65, 0),  # printed: n/a
    "fcn_basic_no_dim_reduction": (ENCODER + CLASSIFIER + 4 * 64 * 64 * UPSAMPLE, 1.625, 64),
    "fcn_basic_no_addition_no_dim_reduction": (ENCODER + CLASSIFIER + 4 * 64 * 64 * UPSAMPLE, 1.625, 0),
}
STEP = 0.025  # every number of the table is a multiple


def meta(name):
    with torch.device("meta"):
        encoder = SegNetBasicEncoder()
        return Segmenter(encoder, DECODERS[name](encoder.stages, K))


@pytest.mark.parametrize("name", TABLE)
def test_parameters_are_those_of_the_layers_and_round_to_the_table_as_stored_maps_do(name):
    model, (exact, printed, stored) = meta(name), TABLE[name]
    assert sum(p.numel() for p in model.parameters()) == exact
    assert storage_multiplier(model.decoder.needs, model.stages) == stored
    if "no_dim_reduction" not in name:
        assert abs(exact / 1e6 - printed) <= STEP / 2 + 1e-4  # 0.613 lies on the edge between 0.600 and 0.625


def test_without_reduction_the_table_adds_rounded_parts():
    model, printed = meta("fcn_basic_no_dim_reduction"), TABLE["fcn_basic_no_dim_reduction"][1]
    kernels = sum(p.numel() for name, p in model.named_parameters() if "upsample" in name)
    rest = sum(p.numel() for p in model.parameters()) - kernels
    assert kernels == 4 * 64 * 64 * 8 * 8  # 1.049 million, which the table takes as four quarters of a million
    assert abs(rest / 1e6 + 4 * 0.25 - printed) <= STEP / 2 + 1e-4


# --- what the variants compute ---


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return SegNetBasicEncoder(width=1 / 16).eval()


def decoded(encoder, name, image):
    decoder = DECODERS[name](encoder.stages, K).eval()
    return decoder, encoder(image, decoder.needs)


@torch.no_grad()
def test_a_single_channel_filter_sees_its_own_channel_alone(encoder):
    decoder, _ = decoded(encoder, "segnet_basic_single_channel", torch.randn(1, 3, 32, 32))
    x = torch.randn(1, 4, 9, 9)
    changed = x.clone()
    changed[:, 2] += 1
    difference = decoder.conv_decode3(changed) - decoder.conv_decode3(x)
    assert difference[:, 2].any()
    assert not difference[:, [0, 1, 3]].any()


@torch.no_grad()
def test_encoder_addition_adds_the_map_before_pooling_to_each_stage(encoder):
    image = torch.randn(1, 3, 33, 47)
    decoder, features = decoded(encoder, "segnet_basic_encoder_addition", image)
    x = features.pooled[3]
    for stage in (3, 2, 1, 0):
        x = F.max_unpool2d(x, features.indices[stage], 2, output_size=features.unpooled_sizes[stage])
        convolution, norm = (decoder.get_submodule(f"conv_decode{stage + 1}{end}") for end in ("", "_bn"))
        x = norm(convolution(x)) + features.unpooled[stage]
    torch.testing.assert_close(decoder(features), decoder.conv_classifier(x))


@torch.no_grad()
def test_basics_decoder_has_no_relu_and_full_resolution_logits(encoder):
    seen = {}
    decoder = segnet_basic(encoder.stages, K).eval()
    for stage in range(1, 5):
        getattr(decoder, f"conv_decode{stage}_bn").register_forward_hook(
            lambda m, a, y, stage=stage: seen.update({stage: y})
        )
    decoder.conv_classifier.register_forward_pre_hook(lambda m, arguments: seen.update({0: arguments[0]}))
    logits = decoder(encoder(torch.randn(1, 3, 36, 48), decoder.needs))
    assert logits.shape == (1, K, 36, 48)
    assert torch.equal(seen[0], seen[1])
    assert all(float(seen[stage].min()) < 0 for stage in range(1, 5))


@torch.no_grad()
def test_fcn_basic_upsamples_and_adds_reduced_pooled_maps(encoder):
    decoder, features = decoded(encoder, "fcn_basic", torch.randn(1, 3, 32, 48))
    x = decoder.reduce4(features.pooled[3])
    for stage in (4, 3, 2, 1):
        up = getattr(decoder, f"upsample{stage}")
        x = F.conv_transpose2d(x, up.weight, stride=2, padding=3)
        if stage > 1:
            x = x + getattr(decoder, f"reduce{stage - 1}")(features.pooled[stage - 2])
    torch.testing.assert_close(decoder(features), x)


@torch.no_grad()
@pytest.mark.parametrize("name", ["fcn_basic_no_addition", "bilinear_interpolation"])
def test_an_upsampling_starts_by_keeping_constants_and_the_place_of_edges(encoder, name):
    decoder, features = decoded(encoder, name, torch.randn(1, 3, 256, 256))
    reduce = decoder.reduce4 if name.startswith("fcn") else decoder.classifier
    nn.init.zeros_(reduce.weight)
    nn.init.ones_(reduce.weight[:, :1])
    features.pooled[3] = torch.zeros(1, 4, 16, 16)
    features.pooled[3][:, 0, :, 8:] = 1  # the right half of the image
    logits = decoder(features)[0, 0]
    row = logits[128]
    assert row[200] == pytest.approx(1, abs=1e-5)
    assert row[60] == pytest.approx(0, abs=1e-5)
    assert float(row[127] + row[128]) / 2 == pytest.approx(0.5, abs=1e-5)


@torch.no_grad()
def test_the_images_response_normalization_is_its_closed_form():
    image = torch.rand(1, 3, 8, 8) * 255
    encoder = SegNetBasicEncoder(width=1 / 16).eval()
    seen = []
    encoder.conv1.register_forward_pre_hook(lambda m, arguments: seen.append(arguments[0]))
    encoder(image, Needs())
    # the window of 5 covers all three channels
    expected = image / (1 + (1e-4 / 5) * image.square().sum(1, keepdim=True)) ** 0.75
    torch.testing.assert_close(seen[0], expected)
