"""What of a Caffe net does not fit a model: every misfit is named, and what can be compared is compared."""

import numpy as np
import pytest
from caffe_nets import K, assert_same_logits, build, imported, trained
from caffe_writer import changed_layers, classifier_layers, layers_of

from segkit.models.caffe.layers import import_caffe
from segkit.models.decoders.fcn import FCN16s
from segkit.models.decoders.segnet import SegNet

# --- misfits ---


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ({"name": "fc6", "arrays": lambda a: a[:1]}, (1, 2)),
        ({"name": "fc6", "kind": "BN"}, ("BN", "Convolution or InnerProduct")),
        ({"name": "fc6", "arrays": lambda a: [a[0][:, :-1], a[1]]}, ([8, 31, 7, 7], [8, 32, 7, 7])),
        ({"name": "fc6", "arrays": lambda a: [a[0], a[1][:2]]}, ([2], [8])),
        ({"name": "fc6", "arrays": lambda a: [a[0], a[1].reshape(2, 4)]}, ([2, 4], [8])),
        ({"name": "fc6", "arrays": lambda a: [a[0], a[1] * np.nan]}, ()),
        ({"name": "fc7", "kind": "InnerProduct", "arrays": lambda a: [np.ones((4, 16)), a[1]]}, ([4, 16], [8, 8])),
        ({"name": "fc7", "kind": "InnerProduct", "arrays": lambda a: [np.ones((2, 8, 8)), a[1]]}, ([2, 8, 8], [8, 8])),
        ({"name": "fc7", "rename": "fc9"}, ("fc9",)),
        ({"name": "upscore2", "arrays": lambda a: [a[0], np.zeros(K)]}, (2, 1)),
        ({"name": "upscore2", "arrays": lambda a: [a[0][..., :3]]}, ([3, 3, 4, 3], [3, 3, 4, 4])),
        ({"name": "upscore2", "arrays": lambda a: [a[0] + 0.25]}, (0.25, "model.decoder.upsampling=learned")),
    ],
    ids=[
        "no bias", "type", "weights", "biases", "shape of biases", "not finite", "size", "axes", "name", "bias",
        "kernel", "not bilinear",
    ],
)  # fmt: skip
def test_a_layer_that_does_not_fit_is_named(caffemodel, refusal, message, change, values):
    path = caffemodel(changed_layers(build(), **change))
    message(refusal(import_caffe, path, build()), path, change["name"], *values)


def test_everything_that_does_not_fit_is_in_one_message(caffemodel, refusal, message):
    layers = [("conv9", "Convolution", [np.zeros((1, 1, 1, 1))]), *changed_layers(build(classes=21), "score_pool3")]
    path = caffemodel([entry for entry in layers if entry[0] != "conv1_1"])
    names = ["conv1_1", "score_pool3", "conv9", "score_fr", "score_pool4", "upscore2", "upscore_pool4", "upscore8"]
    message(refusal(import_caffe, path, build()), path, *names, [21, 8, 1, 1], [3, 3, 16, 16])


def test_where_only_untrained_layers_are_missing_the_flag_is_named(caffemodel, refusal, message):
    path = caffemodel(classifier_layers(build()))
    message(refusal(import_caffe, path, build()), path, "score_fr, score_pool4, score_pool3", "--backbone-only")


def test_grouped_upsamplings_are_compared_and_copied(caffemodel, refusal):
    def group(arrays):
        return [arrays[0][range(K), range(K)][:, None]]

    source = trained(build())
    layers = [
        (name, kind, group(arrays) if kind == "Deconvolution" else arrays) for name, kind, arrays in layers_of(source)
    ]
    path = caffemodel(layers)
    assert_same_logits(source, imported(build(), path))
    assert_same_logits(source, imported(build(upsampling="learned"), path))
    path = caffemodel([(name, kind, [2 * a for a in arrays]) for name, kind, arrays in layers])
    assert "upscore2 is not a bilinear kernel" in refusal(import_caffe, path, build())


def test_two_layers_of_one_name_here_are_refused(caffemodel, refusal, message):
    layers = [*layers_of(build()), ("score/fr", "Convolution", [np.zeros(1)])]
    path = caffemodel(layers)
    message(refusal(import_caffe, path, build()), path, "score_fr", "score/fr")


def test_batch_norm_of_another_name_or_kind_is_not_guessed(caffemodel, refusal, message):
    source = build(decoder=SegNet, encoder_batch_norm=True)
    layers = changed_layers(source, "conv1_1_bn", rename="bn1_1")
    message(refusal(import_caffe, caffemodel(layers), build(decoder=SegNet)), "bn1_1")
    layers = changed_layers(source, "conv1_1_bn", kind="BatchNorm")
    message(refusal(import_caffe, caffemodel(layers), build(decoder=SegNet)), "conv1_1_bn", "BatchNorm", "BN")
    layers = [*layers_of(build()), ("score_fr_bn", "BN", [np.ones(K), np.zeros(K)])]
    assert "without a place: score_fr_bn" in refusal(import_caffe, caffemodel(layers), build())


def test_images_divided_by_a_deviation_are_refused(caffemodel, refusal, message):
    path = caffemodel(layers_of(build()))
    text = refusal(import_caffe, path, build(encoder_normalization="torchvision"))
    message(text, path, "model.encoder.normalization", "58.395", "57.12", "57.375")


# --- skip scales ---


def scaled(pool4, pool3):
    return [("scale_pool4", "Scale", [np.full(32, pool4)]), ("scale_pool3", "Scale", [np.full(16, pool3)])]


def test_skip_scales_of_the_file_and_the_config_agree_or_are_refused(caffemodel, refusal, message):
    source = trained(build(skip_scales=(0.01, 0.0001)))
    path = caffemodel(layers_of(source) + scaled(0.01, 0.0001))
    target = build(skip_scales=(0.01, 0.0001))
    assert {"scale_pool4", "scale_pool3"} < set(import_caffe(path, target).dropped)
    assert_same_logits(source, imported(target, path))
    message(refusal(import_caffe, path, build()), path, "model.decoder.skip_scales", "0.01", "0.0001")


def test_a_file_without_scale_layers_has_skips_scaled_by_1(caffemodel, refusal, message):
    path = caffemodel(layers_of(build(decoder=FCN16s)))
    message(refusal(import_caffe, path, build(decoder=FCN16s, skip_scale=0.5)), "model.decoder.skip_scale=1", "0.5")
    path = caffemodel(classifier_layers(build()))
    import_caffe(path, build(skip_scales=(0.01, 0.0001)), backbone_only=True)


@pytest.mark.parametrize(("arrays", "values"), [([np.array([0.5, 1])], (0.5, 1)), ([np.ones(1), np.ones(1)], (2, 1))])
def test_a_scale_that_is_no_constant_is_refused(caffemodel, refusal, message, arrays, values):
    path = caffemodel([*layers_of(build()), ("scale_pool4", "Scale", arrays)])
    message(refusal(import_caffe, path, build()), "scale_pool4", *values)
