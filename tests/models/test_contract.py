"""The contract of every decoder of the table, with each of its choices, on small encoders; a new row is tested too."""

import inspect
import re
from typing import Literal, get_args, get_origin

import pytest
import torch
from torch import nn

from segkit.build import DECODERS, ENCODERS, WHOLE_MODELS
from segkit.engine.batch_norm import set_statistics
from segkit.engine.device import deterministic
from segkit.engine.inference import labels_at, predict_logits
from segkit.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.metrics.confusion import confusion_matrix
from segkit.models.segmenter import Segmenter
from segkit.tensors import IGNORE
from segkit.testing import check_decoder

K = 5
SMALL = {"head_width": 16}  # by name of the argument, wherever it occurs
FCN = {"fcn32s", "fcn16s", "fcn8s"}
SEGNET = {"segnet", *(name for name in DECODERS if name.startswith("segnet_basic"))}
OF_ONE_WIDTH = {
    "segnet_basic_encoder_addition", "segnet_basic_single_channel", "fcn_basic_no_dim_reduction",
    "fcn_basic_no_addition_no_dim_reduction",
}  # fmt: skip
VARIANTS = {  # encoder, its options, and the decoders that fit
    "vgg16": ("vgg16", {"width": 1 / 16}, set(DECODERS) - OF_ONE_WIDTH),
    "vgg16_bn": ("vgg16", {"width": 1 / 16, "batch_norm": True}, set(DECODERS) - OF_ONE_WIDTH),
    "vgg16_caffe": ("vgg16", {"width": 1 / 16, "batch_norm": "caffe", "dropout": 0.5}, {"segnet"}),
    "vgg16_pad100": ("vgg16", {"width": 1 / 16, "padding": 100}, FCN),
    "alexnet": ("alexnet", {"width": 1 / 8}, FCN),
    "googlenet": ("googlenet", {"width": 1 / 8, "padding": 100}, FCN),
    "segnet_basic": ("segnet_basic", {"width": 1 / 8, "dropout": 0.5}, set(DECODERS)),
    "smp": ("smp", {"encoder": "tu-test_efficientnet"}, FCN),
    "smp_patches": ("smp", {"encoder": "tu-test_convnext"}, {"fcn8s"}),
}
WHOLE = {name: {"architecture": name, "encoder": "tu-test_efficientnet"} for name in ("Unet", "FPN")}
PADDED = {"vgg16_pad100", "alexnet", "googlenet"}  # by enough for fc6 without padding


def choices(row, variant):
    """A set of options for each value of each `Literal` on plain VGG16; the released geometry on encoders that pad."""
    parameters = inspect.signature(row).parameters
    small = {name: value for name, value in SMALL.items() if name in parameters}
    if variant != "vgg16":
        return [{**small, "head_padding": "none"} if variant in PADDED else small]
    literal = {name: get_args(p.annotation) for name, p in parameters.items() if get_origin(p.annotation) is Literal}
    each = [{**small, name: value} for name, values in literal.items() for value in values if value != "none"]
    return each or [small]


def every_model():
    for variant, (_, _, fitting) in VARIANTS.items():
        for name in sorted(fitting):
            for options in choices(DECODERS[name], variant):
                words = [variant, name, *(str(v) for k, v in options.items() if k not in SMALL)]
                yield pytest.param((variant, name, options), id="-".join(words))
    for name, options in WHOLE.items():
        yield pytest.param(("whole", "smp", options), id=f"smp-{name}")


def build(recipe, seed=0):
    """A model whose score layers have left their zero start."""
    variant, decoder, options = recipe
    torch.manual_seed(seed)
    if variant == "whole":
        model = WHOLE_MODELS[decoder](K, **options)
    else:
        row, encoder_options, _ = VARIANTS[variant]
        encoder = ENCODERS[row](**encoder_options)
        model = Segmenter(encoder, DECODERS[decoder](encoder.stages, K, **options))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.1)
    return model


def images(height, width, batch=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height))


@pytest.fixture(params=every_model())
def recipe(request):
    return request.param


@pytest.fixture
def model(recipe):
    return build(recipe)


# --- every model ---


def test_every_encoder_of_the_table_has_a_small_variant_here():
    assert {row for row, _, _ in VARIANTS.values()} == set(ENCODERS)


def test_every_decoder_keeps_the_contract_that_outsiders_are_checked_by(recipe):
    variant, decoder, options = recipe
    if variant == "whole":
        pytest.skip("whole models have tests of their own in test_smp.py")
    row, encoder_options, _ = VARIANTS[variant]
    torch.manual_seed(0)
    check_decoder(DECODERS[decoder], num_classes=K, options=options, encoder=ENCODERS[row](**encoder_options))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_of_an_encoder_receives_a_gradient(variant):
    model = build((variant, "fcn8s", {"head_width": 16}))
    (model(images(65, 97, batch=2)) * torch.randn(2, K, 65, 97)).mean().backward()
    norms = {norm.removesuffix("_bn") for _, norm in getattr(model.encoder, "conv_bn_pairs", ())}
    for name, parameter in model.encoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        subtracted_again = name.endswith(".bias") and name.removesuffix(".bias") in norms  # by batch norm
        assert parameter.grad.any() or subtracted_again, name


def test_an_image_one_pixel_high_has_logits(model):
    with torch.inference_mode():
        assert model.eval()(images(1, 40)).shape == (1, K, 1, 40)


def test_bfloat16_stays_close_to_float32(model):
    model.eval()
    with torch.inference_mode():
        exact = model(images(32, 64))
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images(32, 64))
    moves = bool(model.needs.indices)  # rounding may make another pixel the maximum, which unpooling then moves
    assert float((rough - exact).norm() / exact.norm()) < (0.4 if moves else 0.05)


def test_evaluation_changes_no_state_and_the_memory_format_does_not_matter(model):
    model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        plain = model(images(33, 64))
        last = model.to(memory_format=torch.channels_last)(images(33, 64).contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def trained_and_scored(recipe):
    """Weights after a step of training and batch-norm statistics, a confusion matrix, and logits, of one seed."""
    model, image = build(recipe), images(33, 64, batch=2)
    labels = torch.randint(K, (2, 33, 64), generator=torch.Generator().manual_seed(0))
    labels[:, :9] = IGNORE
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    CrossEntropy(torch.linspace(0.5, 2, K))(model(image), labels).backward()
    optimizer.step()
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        set_statistics(model, [image], unbiased=True)
    logits = predict_logits(model.eval(), image, device=torch.device("cpu"), precision=torch.float32)
    predicted = labels_at(logits, (66, 128))[:, ::2, ::2]
    return [*model.state_dict().values(), confusion_matrix(predicted, labels, K), logits]


def test_in_deterministic_mode_every_model_trains_and_predicts_and_gives_the_same_bits_again(recipe):
    with deterministic(True):
        first, second = trained_and_scored(recipe), trained_and_scored(recipe)
    assert all(torch.isfinite(tensor).all() for tensor in first)
    assert all(torch.equal(tensor, again) for tensor, again in zip(first, second, strict=True))


# --- pairs that do not fit ---


def misfits():
    for variant in ("alexnet", "googlenet"):
        for decoder in sorted(set(DECODERS) - FCN):
            expected = "needs pooling indices" if decoder in SEGNET else "needs an encoder of strides 2, 4, 8"
            if decoder in OF_ONE_WIDTH & SEGNET:
                expected = "needs an encoder whose stages have equal channels"
            yield variant, decoder, expected
    for decoder in sorted(OF_ONE_WIDTH):
        widths = "needs an encoder whose stages have equal channels; this one has 4, 8, 16, 32, 32. Use segnet"
        yield "vgg16", decoder, widths
    for decoder in ("segnet", "segnet_basic", "fcn_basic", "fcn_basic_no_addition"):
        yield "vgg16_pad100", decoder, f"model.decoder = '{decoder}' needs maps that are no larger than the image"


def test_a_padding_of_one_pixel_more_than_needed_is_refused_where_nothing_is_cropped():
    encoder = ENCODERS["vgg16"](width=1 / 16, padding=2)
    with pytest.raises(InputError, match="needs maps that are no larger than the image"):
        DECODERS["segnet"](encoder.stages, K)


@pytest.mark.parametrize(("variant", "decoder", "expected"), [*misfits()])
def test_a_decoder_that_does_not_fit_its_encoder_is_refused(variant, decoder, expected):
    with pytest.raises(InputError, match=re.escape(expected)):
        build((variant, decoder, {}))
