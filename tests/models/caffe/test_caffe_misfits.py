"""What of a Caffe net does not fit a model: every misfit is named, and what can be compared is compared."""

import numpy as np
import pytest
from caffe_nets import CHOOSE, K, assert_same_logits, build, imported, trained
from caffe_writer import changed_layers, classifier_layers, layers_of

from segkit.models.caffe.layers import import_caffe
from segkit.models.decoders.fcn import FCN16s
from segkit.models.decoders.segnet import SegNet

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
    assert "upscore2 is no bilinear kernel" in refusal(import_caffe, path, build())


def test_two_layers_of_one_name_here_are_refused(caffemodel, refusal):
    layers = [*layers_of(build()), ("score/fr", "Convolution", [np.zeros(1)])]
    path = caffemodel(layers)
    assert (
        refusal(import_caffe, path, build())
        == f"{path} does not fit the config: score_fr and score/fr have one name here. {CHOOSE}."
    )


def test_batch_norm_of_another_name_or_kind_is_not_guessed(caffemodel, refusal):
    source = build(decoder=SegNet, encoder_batch_norm=True)
    layers = changed_layers(source, "conv1_1_bn", rename="bn1_1")
    message = refusal(import_caffe, caffemodel(layers), build(decoder=SegNet))
    assert message.endswith(f"does not fit the config: without a place: bn1_1. {CHOOSE}.")
    message = refusal(
        import_caffe, caffemodel(changed_layers(source, "conv1_1_bn", kind="BatchNorm")), build(decoder=SegNet)
    )
    assert message.endswith(f"does not fit the config: conv1_1_bn is of type BatchNorm, expected BN. {CHOOSE}.")
    layers = [*layers_of(build()), ("score_fr_bn", "BN", [np.ones(K), np.zeros(K)])]
    assert "without a place: score_fr_bn" in refusal(import_caffe, caffemodel(layers), build())


def test_images_divided_by_a_deviation_are_refused(caffemodel, refusal):
    path = caffemodel(layers_of(build()))
    assert refusal(import_caffe, path, build(encoder_normalization="torchvision")) == (
        f"{path} expects images of 0..255 minus a mean, and the config divides them by 58.395, 57.12, 57.375; expected a deviation of 1. "
        "Set model.encoder.normalization to fcn (FCN), caffe (VGG16 alone) or raw (SegNet)."
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
    path = caffemodel(layers_of(build(decoder=FCN16s)))
    message = refusal(import_caffe, path, build(decoder=FCN16s, skip_scale=0.5))
    assert "its skips are scaled by 1, the config's by 0.5 (set model.decoder.skip_scale=1)" in message
    path = caffemodel(classifier_layers(build()))
    import_caffe(path, build(skip_scales=(0.01, 0.0001)), backbone_only=True)


def test_a_scale_that_is_no_constant_is_refused(caffemodel, refusal):
    layers = [
        *layers_of(build()),
        ("scale_pool4", "Scale", [np.array([0.5, 1])]),
        ("scale_pool3", "Scale", [np.ones(1), np.ones(1)]),
    ]
    message = refusal(import_caffe, caffemodel(layers), build())
    assert (
        "scale_pool4 has values from 0.5 to 1, expected one constant; scale_pool3 has 2 blobs, expected 1. " in message
    )
