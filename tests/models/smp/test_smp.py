"""Whole models of smp, and what is asked of weights from the hub. The contract that they share with all models is in
test_contract.py."""

import json
from typing import get_args

import huggingface_hub.constants
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from segkit.compare.ledger import count
from segkit.errors import InputError
from segkit.models.features import Features, Needs
from segkit.models.smp.encoder import smp_encoder
from segkit.models.smp.hub import require_fit
from segkit.models.smp.model import Architecture, smp_model

SMALL = "tu-test_efficientnet"
K = 5
NARROW = {"decoder_channels": 32}  # for UPerNet, whose decoder is slow
IMAGENET = {"input_space": "RGB", "input_range": [0, 1], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_every_architecture_gives_float32_logits_at_image_size_and_trains_in_bfloat16(architecture):
    model = smp_model(K, architecture=architecture, encoder=SMALL, **(NARROW if architecture == "UPerNet" else {}))
    odd = (max(model.minimum_size, 33), max(model.minimum_size, 40) + 1)
    for size in ((model.minimum_size,) * 2, odd):
        with torch.inference_mode():
            logits = model.eval()(torch.randn(1, 3, *size))
        assert logits.shape == (1, K, *size)
        assert torch.isfinite(logits).all()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.train()(torch.randn(2, 3, *odd))
    assert logits.dtype == torch.float32
    logits.square().mean().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    unused = {name for name, gradient in gradients.items() if gradient is None}
    # PSPNet uses three stages and keeps all
    assert all(name.startswith("encoder.") and architecture == "PSPNet" for name in unused)
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values() if gradient is not None)


@pytest.mark.parametrize("architecture", ["Unet", "FPN", "DeepLabV3Plus", "Linknet"])
def test_the_model_computes_what_smps_own_does(architecture):
    model = smp_model(K, architecture=architecture, encoder="resnet18").eval()
    theirs = getattr(smp, architecture)("resnet18", encoder_weights=None, classes=K).eval()
    theirs.encoder.load_state_dict(dict(model.encoder.network.state_dict()))
    theirs.decoder.load_state_dict(model.decoder.network.state_dict())
    theirs.segmentation_head.load_state_dict(model.decoder.head.state_dict())
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(model(image), theirs(image))
        padded = torch.nn.functional.pad(image[..., :50, :70], (0, 26, 0, 14), mode="replicate")
        torch.testing.assert_close(model(image[..., :50, :70]), theirs(padded)[..., :50, :70])


CHANNELS = {SMALL: (16, 24, 32, 48, 64), "tu-test_convnext": (0, 24, 32, 48, 64)}  # at strides 2, 4, 8, 16 and 32
ALL = (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("architecture", "options", "read"),
    [
        ("Unet", {}, ALL),
        ("Unet", {"depth": 3, "decoder_channels": (8, 8, 8)}, (0, 1, 2)),
        ("UnetPlusPlus", {}, ALL),
        ("MAnet", {}, ALL),
        ("Linknet", {}, ALL),
        ("Segformer", {}, ALL),
        ("Segformer", {"encoder": "tu-test_convnext"}, (0, 1, 2, 3)),  # its first map has stride 4
        ("FPN", {}, (1, 2, 3, 4)),
        ("FPN", {"encoder": "tu-test_convnext"}, (0, 1, 2, 3)),
        ("UPerNet", NARROW, (1, 2, 3, 4)),
        ("PAN", {}, (1, 2, 3, 4)),
        ("PAN", {"depth": 3}, (1, 2)),
        ("PSPNet", {}, (2,)),
        ("PSPNet", {"depth": 5}, (4,)),
        ("DeepLabV3", {}, (4,)),
        ("DeepLabV3Plus", {}, (1, 4)),
        ("DeepLabV3Plus", {"encoder": "tu-test_convnext"}, (0, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # of smp, where an encoder lacks stride 2
def test_a_decoder_states_the_stages_that_its_logits_depend_on_and_only_these_are_kept(architecture, options, read):
    torch.manual_seed(0)
    size = (128, 128) if architecture == "PAN" else (64, 64)
    encoder = options.get("encoder", SMALL)
    model = smp_model(K, architecture=architecture, **({"encoder": encoder} | options)).eval()
    with torch.inference_mode():
        maps = model.encoder(torch.randn(1, 3, *size), Needs(pooled=frozenset(ALL))).pooled
        logits = model.decoder(Features(size, maps))
        alone = model.decoder(Features(size, {stage: maps[stage] for stage in read}))
        changed = {stage: Features(size, maps | {stage: torch.randn_like(maps[stage])}) for stage in maps}
        used = {stage for stage, other in changed.items() if not torch.equal(model.decoder(other), logits)}
    assert used == set(read) == model.needs.pooled
    assert torch.equal(alone, logits)
    levels = [level for level, channels in enumerate(CHANNELS[encoder], start=1) if channels]
    kept = [levels[stage] for stage in read if stage != len(maps) - 1]  # without the deepest
    values = sum(CHANNELS[encoder][level - 1] * (size[0] // 2**level) ** 2 for level in kept)
    assert count(architecture, model, size).kept_bytes == 4 * values


def test_models_of_one_seed_start_from_the_same_encoder():
    starts = []
    for build in (
        lambda: smp_model(K, architecture="Unet", encoder=SMALL),
        lambda: smp_model(3, architecture="FPN", encoder=SMALL),
        lambda: smp_encoder(encoder=SMALL),
    ):
        torch.manual_seed(3)
        built = build()
        starts.append((built.encoder if hasattr(built, "encoder") else built).state_dict())
    assert all(torch.equal(tensor, other[name]) for other in starts[1:] for name, tensor in starts[0].items())


def test_an_image_that_pan_cannot_halve_three_times_is_refused(message):
    model = smp_model(K, architecture="PAN", encoder=SMALL).eval()
    assert model.minimum_size == 97
    with pytest.raises(InputError) as caught:
        model(torch.zeros(1, 3, 96, 200))
    message(caught.value, 97)


def test_options_reach_smp():
    model = smp_model(K, architecture="Unet", encoder="resnet18", depth=4, decoder_channels=(32, 16, 8, 4))
    assert model.stages.strides == (2, 4, 8, 16)
    assert model.decoder.head[0].in_channels == 4
    assert smp_model(K, architecture="DeepLabV3Plus", encoder=SMALL, output_stride=8).stages.strides == (2, 4, 8, 8, 8)
    assert smp_model(K, architecture="Segformer", encoder=SMALL, decoder_channels=24).decoder.head[0].in_channels == 24
    pspnet = smp_model(K, architecture="PSPNet", encoder=SMALL, depth=4)
    assert pspnet(torch.zeros(2, 3, 33, 64)).shape == (2, K, 33, 64)


@pytest.mark.parametrize(
    ("architecture", "encoder", "options", "sentence"),
    [
        ("Unet", "resnet81", {}, "model.whole.encoder = 'resnet81': .* no such encoder. Did you mean 'resnet18'"),
        ("Linknet", SMALL, {"decoder_channels": 8}, "model.whole.decoder_channels = 8: Linknet has no such option"),
        ("Unet", SMALL, {"output_stride": 8}, "model.whole.output_stride = 8: Unet has no such option"),
        ("Unet", SMALL, {"decoder_channels": 8}, "'Unet' with model.whole.encoder = 'tu-test_.*' cannot be built"),
        ("DeepLabV3", "vgg11", {}, "'DeepLabV3' with model.whole.encoder = 'vgg11' cannot be built .*dilated mode"),
        ("Linknet", "mit_b0", {}, "'Linknet' with model.whole.encoder = 'mit_b0' cannot be built"),
        ("Unet", "tu-test_vit", {}, "'Unet' with model.whole.encoder = 'tu-test_vit' cannot be built"),
        ("Unet", SMALL, {"weights": "imagenet"}, "model.whole.weights = 'imagenet': expected a path .* or one of timm"),
        ("Unet", "resnet18", {"weights": "voc"}, "model.whole.weights = 'voc': .* or one of imagenet, ssl, swsl"),
        ("Unet", SMALL, {"weights": "gone.pth"}, "weights gone.pth do not exist"),
    ],
)
def test_what_does_not_go_together_is_refused(architecture, encoder, options, sentence):
    with pytest.raises(InputError, match=sentence):
        smp_model(K, architecture=architecture, encoder=encoder, **options)


def test_weights_come_from_a_file_unless_the_model_is_to_be_restored(tmp_path):
    torch.manual_seed(1)
    file = tmp_path / "small.safetensors"
    weights = smp_encoder(encoder=SMALL).network.state_dict()
    save_file(weights, file)
    encoder = smp_encoder(encoder=SMALL, weights=str(file))
    model = smp_model(K, architecture="FPN", encoder=SMALL, weights=str(file))
    for network in (encoder.network, model.encoder.network):
        assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    assert encoder.pretrained_names == {name for name, _ in encoder.named_parameters()}
    assert model.pretrained_names == {name for name, _ in model.named_parameters() if name.startswith("encoder.")}
    restored = smp_model(K, True, architecture="FPN", encoder=SMALL, weights="gone.pth")
    assert restored.pretrained_names == model.pretrained_names
    assert smp_encoder(True, encoder=SMALL, weights="gone.pth").pretrained_names == encoder.pretrained_names
    assert smp_encoder(encoder=SMALL).pretrained_names == frozenset()
    with pytest.raises(InputError, match=r"small.safetensors does not fit .*conv_stem.weight fits nothing"):
        smp_encoder(encoder="tu-test_convnext", weights=str(file))


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and nothing downloaded before."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(("encoder", "weights"), [("resnet18", "imagenet"), ("tu-resnet18", "timm")])
def test_without_network_named_weights_are_one_sentence_and_restoring_needs_none(offline, encoder, weights):
    options = {"architecture": "Unet", "encoder": encoder, "weights": weights}
    sentence = (
        rf"^model.whole.weights = '{weights}' could not be downloaded .*expected network access to huggingface.co."
    )
    with pytest.raises(InputError, match=sentence):
        smp_model(K, **options)
    assert smp_model(K, True, **options).pretrained_names


@pytest.mark.parametrize(
    ("space", "sentence"), [("RGB", None), ("BGR", "these weights expect BGR images .* No normalization here fits")]
)
def test_weights_of_the_hub_are_loaded_if_they_expect_the_input_that_they_get(offline, tmp_path, space, sentence):
    settings = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    repository = f"models--{settings['repo_id'].replace('/', '--')}"
    folder = tmp_path / "hub" / repository / "snapshots" / settings["revision"]  # as if downloaded
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(IMAGENET | {"input_space": space}))
    weights = smp_encoder(encoder="resnet18").network.state_dict()
    save_file(weights, folder / "model.safetensors")
    if sentence:
        with pytest.raises(InputError, match=sentence):
            smp_encoder(encoder="resnet18", weights="imagenet")
    else:
        found = smp_encoder(encoder="resnet18", weights="imagenet")
        assert all(torch.equal(tensor, weights[name]) for name, tensor in found.network.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "fitting"),
    [
        ({}, "torchvision"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, "inception"),
        ({"input_range": [0, 255], "mean": [123.68, 116.779, 103.939], "std": [1, 1, 1]}, "caffe"),
        ({"input_range": [0, 1], "mean": [0, 0, 0], "std": [1 / 255] * 3}, "raw"),
        ({"input_space": "BGR"}, None),
        ({"mean": [0.406, 0.456, 0.485], "std": [0.225, 0.224, 0.229]}, None),
    ],
)
@pytest.mark.parametrize("chosen", ["torchvision", "inception", "caffe", "raw"])
def test_weights_that_expect_another_input_are_refused_with_the_right_one(settings, fitting, chosen):
    arguments = (IMAGENET | settings, chosen)
    if chosen == fitting:
        require_fit(*arguments, key="model.whole.weights = 'x'", section="model.whole")
        return
    advice = f"Set model.whole.normalization={fitting}" if fitting else "No normalization here fits"
    with pytest.raises(InputError) as caught:
        require_fit(*arguments, key="model.whole.weights = 'x'", section="model.whole")
    assert f"model.whole.normalization is '{chosen}'. {advice}" in str(caught.value)
