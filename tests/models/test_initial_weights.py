"""Where a model starts: torchvision's names fit, images suit the weights, and stages hand on what they learned."""

import os
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models.vgg import make_layers

from segkit.build import initialize
from segkit.engine.checkpoint import BEST, save_weights
from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.decoders.segnet import SegNet
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import Needs
from segkit.models.segmenter import Segmenter
from segkit.models.weights import read_weights

WIDTH = 1 / 16
NARROW = [4, 4, "M", 8, 8, "M", 16, 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M"]
IMAGENET = Path(os.environ.get("SEGKIT_VGG16_WEIGHTS") or Path(__file__).parents[2] / "weights/vgg16.safetensors")


@pytest.fixture(params=[False, True], ids=["plain", "batch_norm"])
def batch_norm(request):
    return request.param


def torchvision_features(batch_norm=False):
    """torchvision's own VGG16 feature layers, 1/16 as wide, every tensor random."""
    torch.manual_seed(3)
    layers = make_layers(NARROW, batch_norm=batch_norm).eval()
    for module in layers:
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.bias, std=0.1)
    return layers


def named(layers):
    return {f"features.{name}": tensor.clone() for name, tensor in layers.state_dict().items()}


# --- files with torchvision's names ---


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_the_encoder_computes_what_torchvisions_does_with_the_same_weights(write, batch_norm, suffix):
    theirs = torchvision_features(batch_norm)
    tensors = {name: t for name, t in named(theirs).items() if not name.endswith("num_batches_tracked")}
    path = write(tensors | {"classifier.0.weight": torch.zeros(4, 4)}, f"w{suffix}")
    ours = VGG16(width=WIDTH, batch_norm=batch_norm, weights=path).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            ours(image, Needs(pooled=frozenset({4}))).pooled[4], theirs(image), rtol=1e-5, atol=1e-6
        )
    assert ours.pretrained_names >= {name for name, _ in ours.named_parameters() if "_bn" not in name}
    assert VGG16(width=WIDTH).pretrained_names == frozenset()


def test_weights_of_plain_vgg16_fit_batch_norm_which_starts_as_the_identity(write):
    theirs = torchvision_features()
    ours = VGG16(width=WIDTH, batch_norm=True, weights=write(named(theirs))).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            ours(image, Needs(pooled=frozenset({4}))).pooled[4], theirs(image), rtol=1e-3, atol=1e-4
        )
    assert ours.pretrained_names == {name for name, _ in ours.named_parameters() if "_bn" not in name}


def test_weights_of_batch_normalized_vgg16_do_not_fit_the_plain_one(write, refusal):
    message = refusal(VGG16, width=WIDTH, weights=write(named(torchvision_features(True))))
    assert "_bn." in message
    assert "missing" not in message


# --- misfits ---


def test_missing_left_over_and_misshapen_tensors_are_all_listed_in_one_message(write, refusal):
    tensors = named(torchvision_features())
    del tensors["features.0.weight"], tensors["features.28.bias"]
    tensors["features.2.weight"] = torch.zeros(4, 4, 5, 5)
    tensors |= {"features.99.weight": torch.zeros(1), "head.weight": torch.zeros(1), "stray": torch.zeros(1)}
    path = write(tensors)
    message = refusal(VGG16, width=WIDTH, weights=path)
    assert (
        f"weights {path} does not fit VGG16: conv1_1.weight is missing; conv5_3.bias is missing; features.99.weight fits "
        "nothing; head.weight fits nothing; stray fits nothing; conv1_2.weight is [4, 4, 5, 5], expected [4, 4, 3, 3]."
    ) in message


def test_a_name_that_torchvision_does_not_know_is_refused_with_those_it_knows(refusal):
    message = refusal(VGG16, width=WIDTH, weights="IMAGENET_V1")
    assert "IMAGENET1K_FEATURES, IMAGENET1K_V1" in message


# --- normalization belongs to weights ---

CAFFE = (123.68, 116.779, 103.939), (1, 1, 1)
TORCHVISION = tuple([255 * v for v in values] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.mark.parametrize(
    ("weights", "stated", "expected"),
    [
        ("IMAGENET1K_V1", None, TORCHVISION), ("IMAGENET1K_FEATURES", None, CAFFE), (None, None, TORCHVISION),
        ("x.pt", None, CAFFE), ("x.safetensors", None, CAFFE), ("x.pt", "torchvision", TORCHVISION),
        (None, "caffe", CAFFE),
    ],
)  # fmt: skip
def test_weights_have_their_normalization_unless_another_is_stated_and_are_not_read_to_be_restored(
    weights, stated, expected
):
    encoder = VGG16(True, width=WIDTH, weights=weights, normalization=stated)
    assert encoder.normalization.mean == pytest.approx(expected[0])
    assert encoder.normalization.std == pytest.approx(expected[1])
    assert len(encoder.pretrained_names) == (0 if weights is None else 26)


# --- stages hand on ---


def model(decoder, *, seed=0, num_classes=3, trained=False, **options):
    torch.manual_seed(seed)
    encoder = VGG16(width=WIDTH, batch_norm=decoder is SegNet)
    options |= {} if decoder is SegNet else {"head_width": 8}
    result = Segmenter(encoder, decoder(encoder.stages, num_classes, **options))
    if trained:
        for parameter in result.parameters():
            nn.init.normal_(parameter, std=0.1)
    return result


def saved(trained, path):
    save_weights(path, trained, metadata={})
    return path


CHAIN = [
    (FCN32s, FCN16s, {"fc6", "fc7", "score_fr"}, {"score_pool4"}),
    (FCN16s, FCN8s, {"fc6", "fc7", "score_fr", "score_pool4"}, {"score_pool3"}),
    (FCN32s, FCN8s, {"fc6", "fc7", "score_fr"}, {"score_pool4", "score_pool3"}),
    (FCN8s, FCN8s, {"fc6", "fc7", "score_fr", "score_pool4", "score_pool3"}, set()),
    (FCN8s, FCN32s, {"fc6", "fc7", "score_fr"}, set()),
]


@pytest.mark.parametrize(("coarse", "fine", "copied", "zero"), CHAIN)
def test_a_finer_stage_takes_over_what_the_coarser_has_and_its_new_scores_stay_zero(
    tmp_path, coarse, fine, copied, zero
):
    source, target = model(coarse, trained=True), model(fine, seed=1)
    initialize(target, saved(source, tmp_path / "w.safetensors"))
    old, new = source.state_dict(), target.state_dict()
    taken = {name for name in new if name.startswith("encoder.") or name.split(".")[1] in copied}
    assert all(torch.equal(new[name], old[name]) for name in taken)
    assert {name.split(".")[1] for name in set(new) - taken} == zero
    assert not any(new[name].any() for name in set(new) - taken)


def test_weights_come_from_the_best_of_a_run_folder(tmp_path):
    source, target = model(FCN32s, trained=True), model(FCN16s, seed=1)
    saved(source, tmp_path / "run" / "checkpoints" / BEST)
    initialize(target, tmp_path / "run")
    assert torch.equal(target.decoder.fc6.weight, source.decoder.fc6.weight)


def test_learned_upsamplings_are_taken_over_where_both_have_them_and_start_bilinear_elsewhere(tmp_path):
    source, target = model(FCN16s, trained=True, upsampling="learned"), model(FCN8s, seed=1, upsampling="learned")
    start = target.decoder.upscore_pool4.weight.detach().clone()
    initialize(target, saved(source, tmp_path / "w.safetensors"))
    assert torch.equal(target.decoder.upscore2.weight, source.decoder.upscore2.weight)
    assert torch.equal(target.decoder.upscore_pool4.weight, start)


@pytest.mark.parametrize(("source", "target"), [(SegNet, FCN8s), (FCN8s, SegNet)])
def test_weights_of_another_architecture_are_refused(tmp_path, refusal, source, target):
    path = saved(model(source), tmp_path / "w.safetensors")
    message = refusal(initialize, model(target), path)
    assert "is missing" in message
    assert "fits nothing" in message


def test_weights_for_another_number_of_classes_are_refused(tmp_path, refusal, message):
    path = saved(model(FCN32s, num_classes=4), tmp_path / "w.safetensors")
    text = refusal(initialize, model(FCN16s), path)
    message(text, "decoder.score_fr.weight", "decoder.score_fr.bias", [4, 8, 1, 1], [3, 8, 1, 1])


def test_a_run_without_best_weights_is_refused(tmp_path, refusal):
    assert "best.safetensors do not exist" in refusal(initialize, model(FCN16s), tmp_path)


@pytest.mark.parametrize(
    "error",
    [URLError("no network"), RuntimeError('invalid hash value (expected "397", got "00")'), IncompleteRead(b"half")],
    ids=lambda error: type(error).__name__,
)
def test_a_download_that_fails_is_explained_with_its_address(monkeypatch, refusal, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    text = refusal(VGG16, width=WIDTH, weights="IMAGENET1K_FEATURES")
    message(text, "IMAGENET1K_FEATURES", "model.encoder.weights", error)


# --- the real ones ---


@pytest.mark.skipif(
    not IMAGENET.is_file(), reason=f"needs ImageNet weights: {IMAGENET}, or a path in SEGKIT_VGG16_WEIGHTS"
)
def test_the_imagenet_weights_arrive_in_their_layers():
    tensors = read_weights(IMAGENET)
    encoder = VGG16(weights=str(IMAGENET))
    convolutions = {name: layer for name, layer in encoder.named_modules() if isinstance(layer, nn.Conv2d)}
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    assert list(convolutions)[::12] == ["conv1_1", "conv5_3"]
    assert len(tensors) == 26
    for number, layer in zip(numbers, convolutions.values(), strict=True):
        assert torch.equal(layer.weight, tensors[f"features.{number}.weight"])
        assert torch.equal(layer.bias, tensors[f"features.{number}.bias"])
    assert float(encoder.conv1_1.bias.detach()[0]) == pytest.approx(0.73430, abs=1e-5)
