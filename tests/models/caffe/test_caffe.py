"""Caffe weights: a net computes the same after the import, all that does not fit is said at once, and no file does
harm."""

import numpy as np
import pytest
import torch
from caffe_nets import CHOOSE, assert_same_logits, build, imported, trained
from caffe_writer import changed_layers, classifier_layers, layers_of

from segkit.errors import InputError
from segkit.models.caffe.layers import import_caffe
from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.decoders.segnet import SegNet
from segkit.models.decoders.segnet_basic import segnet_basic
from segkit.models.encoders.alexnet import AlexNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.segnet_basic import SegNetBasicEncoder

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


@pytest.mark.parametrize("decoder", [SegNet, FCN16s])
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


@pytest.mark.parametrize("name", ["conv_classifier", "dense_softmax_inner_prod"])
def test_segnet_basic_computes_the_same_after_the_import_under_either_name_of_its_classifier(caffemodel, name):
    options = {"encoder": SegNetBasicEncoder, "decoder": segnet_basic, "encoder_normalization": "raw"}
    source = trained(build(**options))
    layers = changed_layers(source, "conv_classifier", rename=name)
    assert_same_logits(source, imported(build(**options), caffemodel(layers)))


def test_the_published_bayesian_segnet_has_one_convolution_more(caffemodel):
    options = {"decoder": SegNet, "encoder_normalization": "raw"}
    options |= dict.fromkeys(("encoder_batch_norm", "batch_norm"), "caffe_zero_shift")
    source = trained(build(**options, extra_convolution=True))
    path = caffemodel(layers_of(source))
    convolutions = [name for name, kind, _ in layers_of(source) if kind == "Convolution"]
    assert convolutions[-3:] == ["conv1_2_D", "conv1_1_D", "camvid"]
    assert_same_logits(source, imported(build(**options, extra_convolution=True), path))
    with pytest.raises(InputError, match="without a place: conv1_1_D_bn, camvid"):
        import_caffe(path, build(**options))


@pytest.mark.parametrize("decoder", [FCN32s, FCN8s])
@pytest.mark.parametrize(("encoder", "slashes"), [(AlexNet, False), (GoogLeNet, True)])
def test_fcn_on_other_encoders_computes_the_same_after_the_import(caffemodel, encoder, slashes, decoder):
    options = {"encoder": encoder, "decoder": decoder, "encoder_padding": 100}
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


# --- classification nets ---


@pytest.mark.parametrize("upsampling", ["fixed", "learned"])
def test_a_classification_net_gives_its_backbone_and_the_rest_keeps_its_start(caffemodel, upsampling):
    source, target = trained(build(upsampling=upsampling)), trained(build(upsampling=upsampling))
    start = target.decoder.score_fr.bias.clone()
    found = import_caffe(caffemodel(classifier_layers(source), legacy=True), target, backbone_only=True)
    kept = ["score_fr", "score_pool4", "score_pool3"]
    kept += ["upscore2", "upscore_pool4", "upscore8"] if upsampling == "learned" else []
    assert sorted(found.kept_initial) == sorted(f"decoder.{name}" for name in kept)
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
    options = {"encoder": GoogLeNet, "decoder": FCN32s}
    heads = ["loss1/conv", "loss2/fc", "loss3/classifier"]
    layers = [
        *classifier_layers(build(**options), slashes=True)[:-1],
        *((name, "InnerProduct", [np.zeros((2, 2))]) for name in heads),
    ]
    assert import_caffe(caffemodel(layers), build(**options), backbone_only=True).dropped == tuple(heads)


def test_a_backbone_must_be_whole(caffemodel, refusal):
    path = caffemodel(classifier_layers(build())[1:])
    message = refusal(import_caffe, path, build(), backbone_only=True)
    assert message == f"{path} does not fit the config: missing: conv1_1. {CHOOSE}."
