"""Our crops put scores where they were seen, by brute force: no expectation here comes from coordinate maps."""

import pytest
import torch
from torch.nn import functional as F

from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import Features, Needs


@pytest.fixture(scope="module")
def encoder():
    return VGG16(width=1 / 16)


def centre_of_mass(plane):
    """(row, column) of [H, W]."""
    plane = plane.double()
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in plane.shape)
    return float(plane.sum(1) @ rows / plane.sum()), float(plane.sum(0) @ columns / plane.sum())


def upsampled_impulse(decoder, encoder, score, position, size):
    """Logits where one score layer gives 1 at one position and every other score is 0."""

    def impulse(module, arguments, output):
        output = torch.zeros_like(output)
        output[0, 0, *position] = 1
        return output

    handle = decoder.get_submodule(score).register_forward_hook(impulse)
    with torch.inference_mode():
        logits = decoder(encoder(torch.zeros(1, 3, *size), decoder.needs))
    handle.remove()
    return logits[0, 0]


def seen_centre(monkeypatch, stage, position, size):
    """Centre of what a pixel of a pooled map sees: of its gradient, with equal weights and averages for maxima."""
    encoder = VGG16(width=1 / 64).double()
    for name, parameter in encoder.named_parameters():
        torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1 / parameter[0].numel())
    image = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    with monkeypatch.context() as patch:
        patch.setattr(F, "max_pool2d", F.avg_pool2d)
        pooled = encoder(image, Needs(pooled=frozenset({stage}))).pooled[stage]
    pooled[0, 0, *position].backward()
    seen = image.grad[0].sum(0)
    assert not any(edge.any() for edge in (seen[0], seen[-1], seen[:, 0], seen[:, -1])), (
        "the whole receptive field lies in the image"
    )
    return centre_of_mass(seen)


@pytest.mark.parametrize("upsampling", ["fixed", "learned"])
@pytest.mark.parametrize(
    ("build", "score", "stage"),
    [
        (FCN32s, "score_fr", 4),
        (FCN16s, "score_fr", 4),
        (FCN16s, "score_pool4", 3),
        (FCN8s, "score_fr", 4),
        (FCN8s, "score_pool4", 3),
        (FCN8s, "score_pool3", 2),
    ],
)
def test_a_score_is_upsampled_around_the_centre_of_what_it_saw(monkeypatch, encoder, build, score, stage, upsampling):
    size, position = (270, 279), {4: (4, 3), 3: (8, 9), 2: (14, 19)}[stage]
    decoder = build(encoder.stages, 1, head_width=4, upsampling=upsampling).eval()
    plane = upsampled_impulse(decoder, encoder, score, position, size)
    assert float(plane.sum()) == pytest.approx(4 ** (stage + 1))  # a pixel of stride s is worth s x s pixels
    assert centre_of_mass(plane) == pytest.approx(seen_centre(monkeypatch, stage, position, size), abs=1e-4)


@pytest.mark.parametrize("build", [FCN32s, FCN16s, FCN8s])
@pytest.mark.parametrize("size", [(1, 1), (65, 97)])
def test_the_last_upsampling_reaches_every_image_size(encoder, build, size):
    decoder = build(encoder.stages, 2, head_width=4).eval()
    torch.nn.init.ones_(decoder.score_fr.bias)
    with torch.inference_mode():
        logits = decoder(encoder(torch.zeros(1, 3, *size), decoder.needs))
    assert logits.shape[-2:] == size
    assert float(logits.min()) > 0  # the constant score covers the image up to its edges


def test_where_heights_differ_the_common_part_of_two_maps_is_added(encoder):
    decoder = FCN8s(encoder.stages, 1, head_width=4).eval()
    channels = encoder.stages.channels
    sizes = {4: (2, 3), 3: (3, 5), 2: (6, 9)}
    pooled = {stage: torch.zeros(1, channels[stage], *size) for stage, size in sizes.items()}
    assert decoder(Features(image_size=(48, 72), pooled=pooled)).shape == (1, 1, 48, 72)
