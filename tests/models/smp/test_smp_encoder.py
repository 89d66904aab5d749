"""smp's encoders under our decoders: coordinates and sizes of their maps, and weights."""

import pytest
import torch
from safetensors.torch import save_file

from segkit.build import DECODERS
from segkit.errors import InputError
from segkit.models.decoders.fcn import FCN8s, FCN32s
from segkit.models.encoders.vgg import VGG16, torchvision_layers
from segkit.models.segmenter import Segmenter
from segkit.models.smp.encoder import map_coordinates, smp_encoder

SMALL = "tu-test_efficientnet"  # 82,300 parameters

# First pixel of each stage's map in the image, by hand: a convolution of kernel k and padding p puts it (k - 1) / 2 - p
# pixels of its input away, whatever the stride.
FIRST_PIXELS = {
    "resnet18": (0, 0, 0, 0, 0),  # 7x7 padded by 3; 3x3 padded by 1 from then on
    "mobilenet_v2": (0, 0, 0, 0, 0),
    "densenet121": (0, 0, 2, 6, 14),  # 7x7 and 3x3 as above; then 2x2 averages: half of 4, 8 and 16 pixels more
    "se_resnet50": (0, 2, 2, 2, 2),  # 3x3 maximum without padding: 1 of 2 pixels more, once
    "tu-tf_efficientnet_b0": (1, 3, 7, 15, 31),  # 3x3 or 5x5 padded by one less before than after, as TensorFlow does
    "tu-test_convnext": (1.5, 3.5, 7.5, 15.5),  # patches of 4x4, then of 2x2; strides from 4 on
    SMALL: (0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", FIRST_PIXELS)
def test_a_map_lies_where_the_arithmetic_of_its_layers_puts_it(name):
    assert map_coordinates(name, 5)[1] == FIRST_PIXELS[name]


# attention sees everything; shortcuts average 2x2 pixels, convolutions are centred on one
@pytest.mark.parametrize("name", ["mit_b0", "tu-resnet18d"])
def test_an_encoder_whose_maps_have_no_fixed_place_is_refused(name):
    with pytest.raises(InputError) as caught:
        smp_encoder(encoder=name)
    assert f"model.encoder.encoder = '{name}'" in str(caught.value)
    assert "has no fixed place in the image" in str(caught.value)


def test_measuring_coordinates_leaves_the_random_numbers_alone():
    map_coordinates.cache_clear()
    starts = []
    for _ in range(2):  # measured, even where gradients are off; then remembered
        torch.manual_seed(0)
        with torch.no_grad():
            starts.append(smp_encoder(encoder=SMALL).state_dict() | {"next": torch.rand(1)})
    assert all(torch.equal(tensor, starts[1][name]) for name, tensor in starts[0].items())


def test_measuring_coordinates_touches_no_gpu(monkeypatch):
    map_coordinates.cache_clear()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    asked = "GPU {} was asked for its random state"
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: pytest.fail(asked.format(device)))
    assert map_coordinates(SMALL, 5)[1] == FIRST_PIXELS[SMALL]


def test_scores_move_with_the_image():
    torch.manual_seed(0)
    encoder = smp_encoder(encoder="resnet18")
    model = Segmenter(encoder, FCN8s(encoder.stages, 3)).eval()
    for layer in (model.decoder.score_fr, model.decoder.score_pool4, model.decoder.score_pool3):
        torch.nn.init.normal_(layer.weight)
    image = torch.randn(1, 3, 32, 928)
    with torch.inference_mode():
        here, there = model(image[..., :896]), model(image[..., 32:])  # the second starts 32 pixels later
    middle = slice(400, 500)  # further than the receptive field's 435 / 2 + 64 pixels from either border
    expected, tolerance = here[..., middle], 1e-3 * float(here[..., middle].abs().max())
    torch.testing.assert_close(there[..., 400 - 32 : 500 - 32], expected, rtol=1e-3, atol=tolerance)
    assert not torch.allclose(there[..., 400 - 31 : 500 - 31], expected, rtol=1e-2)


def test_fcn8s_on_smps_vgg16_is_fcn8s_on_ours(tmp_path):
    ours, file = VGG16().eval(), tmp_path / "vgg16.safetensors"
    weights = {
        f"{theirs}.{part}": ours.state_dict()[f"{name}.{part}"]
        for theirs, name in torchvision_layers(False).items()
        for part in ("weight", "bias")
    }
    save_file(weights | {"classifier.0.weight": torch.zeros(2)}, file)
    theirs = smp_encoder(encoder="vgg16", weights=str(file)).eval()
    assert theirs.stages.channels == ours.stages.channels
    assert theirs.stages.classifier == ours.stages.classifier
    assert [path.coordinates for path in theirs.stages.paths] == [path.coordinates for path in ours.stages.paths]
    decoder = FCN8s(ours.stages, 3, head_width=8).eval()
    for layer in (decoder.score_fr, decoder.score_pool4, decoder.score_pool3):
        torch.nn.init.normal_(layer.weight)
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        found, expected = (Segmenter(encoder, decoder)(image) for encoder in (theirs, ours))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_stage_less_is_a_coarser_stage_less(message):
    encoder = smp_encoder(encoder=SMALL, depth=4)
    assert encoder.stages.strides == (2, 4, 8, 16)
    assert FCN32s(encoder.stages, 3).upscore.factor == 16
    with pytest.raises(InputError) as caught:
        smp_encoder(encoder="tu-test_convnext", depth=3)
    message(caught.value, "tu-test_convnext", 2, 3)


@pytest.mark.parametrize("decoder", ["fcn_basic", "fcn_basic_no_addition", "bilinear_interpolation"])
def test_a_decoder_of_even_kernels_refuses_maps_centred_on_pixels(decoder, message):
    with pytest.raises(InputError) as caught:
        DECODERS[decoder](smp_encoder(encoder=SMALL).stages, 3)
    message(caught.value, decoder)


@pytest.mark.parametrize(
    ("name", "guess"),
    [("resnet81", "resnet18"), ("tu-test_efficientnett", SMALL), ("timm-efficientnet-b0", "efficientnet-b0")],
)
def test_an_unknown_encoder_is_answered_with_the_nearest(name, guess, message):
    with pytest.raises(InputError) as caught:
        smp_encoder(encoder=name)
    message(caught.value, "model.encoder.encoder", name, guess)
