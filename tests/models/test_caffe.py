"""Caffe weights: a net computes the same after the import, all that does not fit is said at once, and no file does harm."""

import numpy as np
import pytest
import torch
from caffe_writer import changed_layers, classifier_layers, layers_of, write
from torch import nn

from segkit.models.caffe import import_caffe
from segkit.models.decoders.fcn import fcn8s, fcn16s, fcn32s
from segkit.models.decoders.segnet import SegNet
from segkit.models.decoders.segnet_basic import segnet_basic
from segkit.models.encoders.alexnet import AlexNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.segnet_basic import SegNetBasicEncoder
from segkit.models.encoders.vgg import VGG16
from segkit.models.segmenter import Segmenter

K = 3
CHOOSE = "Choose the config of this net, with its layers, widths and number of classes"


def build(encoder=VGG16, decoder=fcn8s, classes=K, **options):
    """A model, narrow; `options` are the decoder's, those of the encoder start with encoder_."""
    own = {"width": 1 / 16, "normalization": "caffe"}
    own |= {name.removeprefix("encoder_"): options.pop(name) for name in list(options) if name.startswith("encoder_")}
    options |= {"head_width": 8} if decoder in (fcn8s, fcn16s, fcn32s) else {}
    encoder = encoder(**own)
    return Segmenter(encoder, decoder(encoder.stages, classes, **options)).eval()


def trained(model):
    """The model with every tensor moved away from its start."""
    torch.manual_seed(1)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 2)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif "score" in name or name.endswith(("bias", "running_mean")):
            tensor.add_(torch.randn_like(tensor) * 0.1)
        elif "_bn." in name:
            nn.init.uniform_(tensor, 0.5, 1.5)
    return model


def imported(model, path, **options):
    model.load_state_dict(import_caffe(path, model, **options).tensors)
    return model


@torch.no_grad()
def assert_same_logits(one, other):
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = one(image)
    assert expected.std() > 0.01
    torch.testing.assert_close(other(image), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def caffemodel(tmp_path):
    """Writes layers to a .caffemodel file."""

    def caffemodel(layers, **options):
        path = tmp_path / "net.caffemodel"
        path.write_bytes(write(layers, **options))
        return path

    return caffemodel


# --- whole nets ---


@pytest.mark.parametrize("upsampling", ["fixed", "learned"])
@pytest.mark.parametrize("inner_product", [(), ("fc6", "fc7")], ids=["convolutions", "inner_products"])
@pytest.mark.parametrize("legacy", [False, True], ids=["layer", "layers"])
def test_fcn8s_computes_the_same_after_the_import(caffemodel, legacy, inner_product, upsampling):
    source = trained(build(upsampling=upsampling))
    path = caffemodel(layers_of(source, inner_product=inner_product), legacy=legacy)
    target = build(upsampling=upsampling)
    found = import_caffe(path, target)
    fixed = ("upscore2", "upscore_pool4", "upscore8")
    assert (found.kept_initial, sorted(found.dropped)) == ((), sorted(fixed) if upsampling == "fixed" else [])
    assert_same_logits(source, imported(target, path))


@pytest.mark.parametrize("decoder", [SegNet, fcn16s])
@pytest.mark.parametrize("legacy_shapes", [False, True])
def test_nets_with_batch_norm_compute_the_same_after_the_import(caffemodel, decoder, legacy_shapes):
    source = trained(build(decoder=decoder, encoder_batch_norm=True))
    path = caffemodel(layers_of(source), legacy_shapes=legacy_shapes)
    target = imported(build(decoder=decoder, encoder_batch_norm=True), path)
    norm = target.encoder.conv1_1_bn
    assert torch.equal(norm.running_var + norm.eps, torch.ones(4))
    assert norm.num_batches_tracked == 0
    assert_same_logits(source, target)


def test_batch_norm_is_folded_into_an_encoder_without(caffemodel):
    source = trained(build(decoder=SegNet, encoder_batch_norm=True))
    path = caffemodel(layers_of(source))
    target = build(decoder=SegNet)
    assert import_caffe(path, target).dropped == ()
    assert_same_logits(source, imported(target, path))


def test_segnet_basic_computes_the_same_after_the_import(caffemodel):
    options = {"encoder": SegNetBasicEncoder, "decoder": segnet_basic, "encoder_normalization": "raw"}
    source = trained(build(**options))
    assert_same_logits(source, imported(build(**options), caffemodel(layers_of(source))))


@pytest.mark.parametrize(("encoder", "slashes"), [(AlexNet, False), (GoogLeNet, True)])
def test_fcn32s_on_other_encoders_computes_the_same_after_the_import(caffemodel, encoder, slashes):
    options = {"encoder": encoder, "decoder": fcn32s, "encoder_padding": 100}
    source = trained(build(**options))
    path = caffemodel(layers_of(source, slashes=slashes), legacy=True)
    assert_same_logits(source, imported(build(**options), path))


def test_only_the_channels_of_the_image_are_reversed(caffemodel):
    source = build(encoder_width=3 / 64)  # conv1_2 has three input channels too
    tensors = import_caffe(caffemodel(layers_of(source)), source).tensors
    assert all(torch.equal(tensors[name], tensor) for name, tensor in source.state_dict().items())
    layers = {name: arrays for name, _, arrays in layers_of(source)}
    assert np.array_equal(layers["conv1_1"][0][:, 0], source.encoder.conv1_1.weight[:, 2].detach())
    assert np.array_equal(layers["conv1_2"][0], source.encoder.conv1_2.weight.detach())


def test_the_model_is_not_changed(caffemodel):
    target = build()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    import_caffe(caffemodel(layers_of(trained(build()))), target)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


# --- classification nets ---


@pytest.mark.parametrize("upsampling", ["fixed", "learned"])
def test_a_classification_net_gives_its_backbone_and_the_rest_keeps_its_start(caffemodel, upsampling):
    source, target = trained(build(upsampling=upsampling)), trained(build(upsampling=upsampling))
    start = target.decoder.score_fr.bias.clone()
    found = import_caffe(caffemodel(classifier_layers(source), legacy=True), target, backbone_only=True)
    enlargements = {"decoder.upscore2", "decoder.upscore_pool4", "decoder.upscore8"} if upsampling == "learned" else set()
    assert set(found.kept_initial) == {"decoder.score_fr", "decoder.score_pool4", "decoder.score_pool3"} | enlargements
    assert found.dropped == ("fc8",)
    assert set(found.tensors) == set(target.state_dict())
    assert torch.equal(found.tensors["decoder.score_fr.bias"], start)
    found.tensors["decoder.score_fr.bias"].zero_()
    assert torch.equal(target.decoder.score_fr.bias, start)
    assert torch.equal(found.tensors["decoder.fc6.weight"], source.decoder.fc6.weight)


def test_segnet_takes_the_convolutions_of_a_classification_net(caffemodel, refusal):
    source, target = trained(build()), build(decoder=SegNet, encoder_batch_norm=True)
    path = caffemodel(classifier_layers(source))
    assert f"without a place: fc6, fc7. {CHOOSE}, or --backbone-only" in refusal(import_caffe, path, target)
    found = import_caffe(path, target, backbone_only=True)
    assert set(found.dropped) == {"fc6", "fc7", "fc8"}
    assert {"encoder.conv1_1_bn", "decoder.conv5_3_D", "decoder.conv5_3_D_bn"} < set(found.kept_initial)
    assert torch.equal(found.tensors["encoder.conv1_1.weight"], source.encoder.conv1_1.weight)


def test_the_auxiliary_classifiers_of_googlenet_are_dropped(caffemodel):
    options = {"encoder": GoogLeNet, "decoder": fcn32s}
    heads = ["loss1/conv", "loss2/fc", "loss3/classifier"]
    layers = [*classifier_layers(build(**options), slashes=True)[:-1], *((name, "InnerProduct", [np.zeros((2, 2))]) for name in heads)]
    assert import_caffe(caffemodel(layers), build(**options), backbone_only=True).dropped == tuple(heads)


def test_a_backbone_must_be_whole(caffemodel, refusal):
    path = caffemodel(classifier_layers(build())[1:])
    message = refusal(import_caffe, path, build(), backbone_only=True)
    assert message == f"{path} does not fit the config: missing: conv1_1. {CHOOSE}."


# --- misfits ---


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": "fc6", "arrays": lambda a: a[:1]}, "fc6 has 1 blobs, expected 2"),
        ({"name": "fc6", "kind": "BN"}, "fc6 is of type BN, expected Convolution or InnerProduct"),
        ({"name": "fc6", "arrays": lambda a: [a[0][:, :-1], a[1]]}, "fc6 has weights [8, 31, 7, 7], expected [8, 32, 7, 7]"),
        ({"name": "fc6", "arrays": lambda a: [a[0], a[1][:2]]}, "fc6 has [2] values, expected [8]"),
        ({"name": "fc6", "arrays": lambda a: [a[0], a[1].reshape(2, 4)]}, "fc6 has [2, 4] values, expected [8]"),
        ({"name": "fc6", "arrays": lambda a: [a[0], a[1] * np.nan]}, "fc6 holds values that are not finite"),
        ({"name": "fc7", "kind": "InnerProduct", "arrays": lambda a: [np.ones((4, 16)), a[1]]}, "fc7 has weights [4, 16], expected [8, 8]"),
        ({"name": "fc7", "kind": "InnerProduct", "arrays": lambda a: [np.ones((2, 8, 8)), a[1]]},
         "fc7 has weights [2, 8, 8], expected [8, 8]"),
        ({"name": "fc7", "rename": "fc9"}, "missing: fc7; without a place: fc9"),
        ({"name": "upscore2", "arrays": lambda a: [a[0], np.zeros(K)]}, "upscore2 has 2 blobs, expected 1"),
        ({"name": "upscore2", "arrays": lambda a: [a[0][..., :3]]}, "upscore2 has weights [3, 3, 4, 3], expected [3, 3, 4, 4]"),
        ({"name": "upscore2", "arrays": lambda a: [a[0] + 0.25]},
         "upscore2 is no bilinear kernel (off by up to 0.25: set model.decoder.upsampling=learned)"),
    ],
)  # fmt: skip
def test_a_layer_that_does_not_fit_is_named(caffemodel, refusal, change, found):
    path = caffemodel(changed_layers(build(), **change))
    assert refusal(import_caffe, path, build()) == f"{path} does not fit the config: {found}. {CHOOSE}."


def test_everything_that_does_not_fit_is_in_one_message(caffemodel, refusal):
    layers = [("conv9", "Convolution", [np.zeros((1, 1, 1, 1))]), *changed_layers(build(classes=21), "score_pool3")]
    path = caffemodel([entry for entry in layers if entry[0] != "conv1_1"])
    parts = [
        "missing: conv1_1, score_pool3",
        "without a place: conv9",
        "score_fr has weights [21, 8, 1, 1], expected [3, 8, 1, 1]",
        "score_pool4 has weights [21, 32, 1, 1], expected [3, 32, 1, 1]",
        "upscore2 has weights [21, 21, 4, 4], expected [3, 3, 4, 4]",
        "upscore_pool4 has weights [21, 21, 4, 4], expected [3, 3, 4, 4]",
        "upscore8 has weights [21, 21, 16, 16], expected [3, 3, 16, 16]",
    ]
    message = refusal(import_caffe, path, build())
    assert message.startswith(f"{path} does not fit the config: {'; '.join(parts[:2])}; ")
    assert all(part in message for part in parts)
    assert message.endswith(f"{CHOOSE}.")


def test_where_only_untrained_layers_are_missing_the_flag_is_named(caffemodel, refusal):
    path = caffemodel(classifier_layers(build()))
    assert refusal(import_caffe, path, build()) == (
        f"{path} does not fit the config: missing: score_fr, score_pool4, score_pool3. {CHOOSE}, "
        "or --backbone-only to let what is missing start untrained."
    )


def test_grouped_enlargements_are_compared_and_copied(caffemodel, refusal):
    def group(arrays):
        return [arrays[0][range(K), range(K)][:, None]]

    source = trained(build())
    layers = [(name, kind, group(arrays) if kind == "Deconvolution" else arrays) for name, kind, arrays in layers_of(source)]
    path = caffemodel(layers)
    assert_same_logits(source, imported(build(), path))
    assert_same_logits(source, imported(build(upsampling="learned"), path))
    path = caffemodel([(name, kind, [2 * a for a in arrays]) for name, kind, arrays in layers])
    assert "upscore2 is no bilinear kernel" in refusal(import_caffe, path, build())


def test_two_layers_of_one_name_here_are_refused(caffemodel, refusal):
    layers = [*layers_of(build()), ("score/fr", "Convolution", [np.zeros(1)])]
    path = caffemodel(layers)
    assert refusal(import_caffe, path, build()) == f"{path} does not fit the config: score_fr and score/fr have one name here. {CHOOSE}."


def test_batch_norm_of_another_name_or_kind_is_not_guessed(caffemodel, refusal):
    source = build(decoder=SegNet, encoder_batch_norm=True)
    layers = changed_layers(source, "conv1_1_bn", rename="bn1_1")
    message = refusal(import_caffe, caffemodel(layers), build(decoder=SegNet))
    assert message.endswith(f"does not fit the config: without a place: bn1_1. {CHOOSE}.")
    message = refusal(import_caffe, caffemodel(changed_layers(source, "conv1_1_bn", kind="BatchNorm")), build(decoder=SegNet))
    assert message.endswith(f"does not fit the config: conv1_1_bn is of type BatchNorm, expected BN. {CHOOSE}.")
    layers = [*layers_of(build()), ("score_fr_bn", "BN", [np.ones(K), np.zeros(K)])]
    assert "without a place: score_fr_bn" in refusal(import_caffe, caffemodel(layers), build())


def test_images_divided_by_a_deviation_are_refused(caffemodel, refusal):
    path = caffemodel(layers_of(build()))
    assert refusal(import_caffe, path, build(encoder_normalization="torchvision")) == (
        f"{path} expects images of 0..255 minus a mean, and the config divides them by 58.395, 57.12, 57.375; expected a deviation of 1. "
        "Set model.encoder.normalization=caffe."
    )


# --- skip scales ---


def scaled(pool4, pool3):
    return [("scale_pool4", "Scale", [np.full(32, pool4)]), ("scale_pool3", "Scale", [np.full(16, pool3)])]


def test_skip_scales_of_the_file_and_the_config_agree_or_are_refused(caffemodel, refusal):
    source = trained(build(skip_scales=(0.01, 0.0001)))
    path = caffemodel(layers_of(source) + scaled(0.01, 0.0001))
    target = build(skip_scales=(0.01, 0.0001))
    assert {"scale_pool4", "scale_pool3"} < set(import_caffe(path, target).dropped)
    assert_same_logits(source, imported(target, path))
    assert refusal(import_caffe, path, build()) == (
        f"{path} does not fit the config: its skips are scaled by 0.01, 0.0001, the config's by 1, 1 "
        f"(set model.decoder.skip_scales=[0.01, 0.0001]). {CHOOSE}."
    )


def test_a_file_without_scale_layers_has_skips_scaled_by_1(caffemodel, refusal):
    path = caffemodel(layers_of(build(decoder=fcn16s)))
    message = refusal(import_caffe, path, build(decoder=fcn16s, skip_scale=0.5))
    assert "its skips are scaled by 1, the config's by 0.5 (set model.decoder.skip_scale=1)" in message
    path = caffemodel(classifier_layers(build()))
    import_caffe(path, build(skip_scales=(0.01, 0.0001)), backbone_only=True)


def test_a_scale_that_is_no_constant_is_refused(caffemodel, refusal):
    layers = [*layers_of(build()), ("scale_pool4", "Scale", [np.array([0.5, 1])]), ("scale_pool3", "Scale", [np.ones(1), np.ones(1)])]
    message = refusal(import_caffe, caffemodel(layers), build())
    assert "scale_pool4 has values from 0.5 to 1, expected one constant; scale_pool3 has 2 blobs, expected 1. " in message
