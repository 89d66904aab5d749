"""The nets of the papers: layer tables, parameters, and what their special layers compute."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.build import DECODERS, ENCODERS
from segkit.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.encoders.alexnet import AlexNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import Needs
from segkit.models.layers import batch_norm_layer
from segkit.models.segmenter import Segmenter
from segkit.tensors import AuxiliaryLogits

# encoder, its options, decoder, its options, classes, parameters
NETS = {
    "FCN-32s": ("vgg16", {"padding": 100}, "fcn32s", {"head_padding": "none"}, 21, 134_346_581),
    "FCN-16s": ("vgg16", {"padding": 100}, "fcn16s", {"head_padding": "none"}, 21, 134_357_354),
    "FCN-8s": ("vgg16", {"padding": 100}, "fcn8s", {"head_padding": "none"}, 21, 134_362_751),
    "FCN-AlexNet": ("alexnet", {}, "fcn32s", {"head_padding": "none"}, 21, 56_954_261),
    "FCN-GoogLeNet": ("googlenet", {}, "fcn32s", {"head_padding": "none"}, 21, 5_995_077),
    "SegNet": ("vgg16", {"batch_norm": "caffe"}, "segnet", {"batch_norm": "caffe"}, 11, 29_449_355),
    "Bayesian SegNet": ("vgg16", {"batch_norm": "caffe", "dropout": 0.5}, "segnet", {"dropout": 0.5}, 11, 29_449_355),
    "SegNet-Basic": ("segnet_basic", {}, "segnet_basic", {}, 11, 1_416_587),
    "Bayesian SegNet-Basic": ("segnet_basic", {"dropout": 0.5}, "segnet_basic", {"dropout": 0.5}, 11, 1_416_587),
}


def net(name, **narrow):
    encoder_name, encoder_options, decoder_name, decoder_options, num_classes, _ = NETS[name]
    torch.manual_seed(0)
    encoder = ENCODERS[encoder_name](**encoder_options, **narrow)
    head = {"head_width": 8} if narrow and decoder_name.startswith("fcn") else {}
    return Segmenter(encoder, DECODERS[decoder_name](encoder.stages, num_classes, **decoder_options, **head))


@pytest.mark.parametrize("name", NETS)
def test_the_parameters_are_those_of_the_paper(name):
    with torch.device("meta"):
        assert sum(p.numel() for p in net(name).parameters()) == NETS[name][-1]


# --- FCN in its original geometry ---


@pytest.mark.parametrize("build", [FCN32s, FCN16s, FCN8s])
@torch.no_grad()
def test_padding_100_and_same_padding_agree_where_no_pixel_sees_a_border(build):
    """The grids lie 99 pixels apart, 3 strides and 3 pixels: 29 pixels cut off the image bring them together."""
    nets = []
    for padding, head in ((100, "none"), (1, "same")):
        torch.manual_seed(0)
        encoder = VGG16(width=1 / 32, padding=padding)
        nets.append(Segmenter(encoder, build(encoder.stages, 3, head_width=4, head_padding=head)).eval())
    for score in ("score_fr", "score_pool4", "score_pool3"):
        if hasattr(nets[0].decoder, score):
            nn.init.normal_(getattr(nets[0].decoder, score).weight)
    nets[1].load_state_dict(nets[0].state_dict())
    image = torch.randn(1, 3, 704, 720)
    original, same = nets[0](image), nets[1](image[..., 29:, 29:])
    reach = 29 + 404 // 2 + 32  # from a border to the centre of a score that sees none, and to what it is upsampled to
    inside = (..., slice(reach, -reach), slice(reach, -reach))
    assert original[inside].shape[-2:] == (704 - 2 * reach, 720 - 2 * reach)
    shifted = F.pad(same, (29, 0, 29, 0))
    torch.testing.assert_close(shifted[inside], original[inside], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(shifted, original, rtol=1e-2)  # but not at the borders


@pytest.mark.parametrize(
    ("upsampling", "learned"),
    [
        ("fixed", set()),
        ("learned", {"upscore2", "upscore_pool4", "upscore8"}),
        ("learned_intermediate", {"upscore2", "upscore_pool4"}),
        ("learned_final", {"upscore8"}),
    ],
)
def test_the_option_says_which_upsamplings_are_trained(upsampling, learned):
    decoder = FCN8s(VGG16(width=1 / 32).stages, 2, head_width=4, upsampling=upsampling)
    assert {name.split(".")[0] for name, _ in decoder.named_parameters() if name.startswith("upscore")} == learned


# --- AlexNet and GoogLeNet ---


@torch.no_grad()
def test_alexnet_computes_its_layers_in_order():
    encoder = AlexNet(width=1 / 8).eval()
    image = torch.randn(1, 3, 64, 80)

    def pooled(x):
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    x = F.local_response_norm(pooled(F.relu(encoder.conv1(image))), 5, 1e-4, 0.75, 1)
    x = F.local_response_norm(pooled(F.relu(encoder.conv2(x))), 5, 1e-4, 0.75, 1)
    x = pooled(F.relu(encoder.conv5(F.relu(encoder.conv4(F.relu(encoder.conv3(x)))))))
    torch.testing.assert_close(encoder(image, Needs(pooled=frozenset({2}))).pooled[2], x)


def test_googlenets_auxiliary_classifiers_speak_in_training_only():
    encoder = GoogLeNet(width=1 / 8)
    model = Segmenter(encoder, FCN32s(encoder.stages, 3, head_padding="none", auxiliary_weight=0.3))
    image, labels = torch.randn(1, 3, 65, 97), torch.zeros(1, 65, 97, dtype=torch.int64)
    assert model.eval()(image).shape == (1, 3, 65, 97)
    logits = model.train()(image)
    assert isinstance(logits, AuxiliaryLogits)
    assert [each.shape for each in logits.auxiliary] == [(1, 3, 65, 97)] * 2
    loss = CrossEntropy(None)
    parts = [loss(each, labels) for each in (logits.logits, *logits.auxiliary)]
    torch.testing.assert_close(loss(logits, labels), parts[0] + 0.3 * (parts[1] + parts[2]))
    nn.init.normal_(model.decoder.auxiliary[0].score.weight)
    loss(model(image), labels).backward()
    assert encoder.inception_4a_1x1.weight.grad.any()
    assert not encoder.inception_5b_1x1.weight.grad.any()  # its scores are still zero: only the auxiliary one pulls


def test_auxiliary_classifiers_need_an_encoder_that_has_them():
    with pytest.raises(InputError, match=r"auxiliary_weight = 0.3: the encoder has no auxiliary classifiers"):
        FCN32s(VGG16(width=1 / 32).stages, 3, head_width=4, auxiliary_weight=0.3)


# --- SegNet's batch norm and dropout ---


@pytest.mark.parametrize(("kind", "shift"), [("caffe", 0.001), ("caffe_zero_shift", 0.0)])
def test_caffes_batch_norm_is_torchs_with_another_eps_start_and_running_variance(kind, shift):
    layer, theirs = batch_norm_layer(4, kind), nn.BatchNorm2d(4, eps=1e-9)
    torch.testing.assert_close(layer.bias.detach(), torch.full((4,), shift))
    for _ in range(3):
        x, direction = torch.randn(2, 4, 3, 5) * 0.01, torch.randn(2, 4, 3, 5)  # torch's eps of 1e-5 would change it
        before, gradients, outputs = layer.running_var.clone(), [], []
        for norm in (layer, theirs):
            leaf = x.clone().requires_grad_()
            outputs.append(norm(leaf))
            (outputs[-1] * direction).sum().backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(outputs[0], outputs[1] + shift)
        torch.testing.assert_close(*gradients)
        torch.testing.assert_close(layer.running_var, 0.9 * before + 0.1 * x.var(dim=(0, 2, 3), correction=0))
    torch.testing.assert_close(layer.running_mean, theirs.running_mean)


@pytest.mark.parametrize(
    ("name", "pools", "layers"),
    [
        ("Bayesian SegNet", {2, 3, 4}, {"conv4_3_D", "conv3_3_D", "conv2_2_D"}),
        ("Bayesian SegNet-Basic", {2, 3}, {"conv_decode3", "conv_decode2"}),
    ],
)
def test_dropout_is_where_the_released_nets_have_it(name, pools, layers):
    """After pooling, and before the unpooling that feeds the named layers."""
    model = net(name, width=1 / 8)
    calls = []
    for part in (model.encoder, model.decoder):
        part.dropout.register_forward_hook(
            lambda m, arguments, output, part=part: calls.append((part, arguments[0].shape[-1]))
        )
    model.train()(torch.randn(1, 3, 64, 64))
    sizes = {0: 32, 1: 16, 2: 8, 3: 4, 4: 2}
    assert {size for part, size in calls if part is model.encoder} == {sizes[pool] for pool in pools}
    first = {"conv4_3_D": 4, "conv3_3_D": 8, "conv2_2_D": 16, "conv_decode3": 8, "conv_decode2": 16}
    assert {size for part, size in calls if part is model.decoder} == {first[layer] for layer in layers}


def test_pooling_indices_come_from_the_map_before_dropout():
    encoder = VGG16(width=1 / 8, dropout=0.5)
    everything = frozenset(range(5))
    torch.manual_seed(0)
    features = encoder.train()(
        torch.randn(1, 3, 64, 64), Needs(pooled=everything, indices=everything, unpooled=everything)
    )
    _, expected = F.max_pool2d(features.unpooled[4], 2, 2, ceil_mode=True, return_indices=True)
    assert torch.equal(features.indices[4], expected)
