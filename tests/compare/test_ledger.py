"""Costs against arithmetic by hand, on small nets whose sizes are written out here."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from segkit.compare.ledger import Costs, Spread, cost_tables, count, interleaved
from segkit.errors import InputError
from segkit.models.decoders import fcn_basic, segnet_basic
from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.decoders.segnet import SegNet
from segkit.models.encoders.alexnet import AlexNet
from segkit.models.encoders.segnet_basic import SegNetBasicEncoder
from segkit.models.encoders.vgg import VGG16
from segkit.models.segmenter import Segmenter

K = 5  # classes
WIDTHS = (4, 8, 16, 32, 32)  # VGG16 at a sixteenth of its width
LAYERS = (2, 2, 3, 3, 3)  # convolutions of each stage
# an image of 45x61, and what each pooling leaves of it, rounded up
SIZES = [(45, 61), (23, 31), (12, 16), (6, 8), (3, 4), (2, 2)]
PIXELS = [height * width for height, width in SIZES]


def costs(encoder, decoder, size=(45, 61), **options) -> Costs:
    with torch.device("meta"):
        net = encoder()
        return count("net", Segmenter(net, decoder(net.stages, K, **options)).eval(), size)


def narrow_vgg():
    return VGG16(width=1 / 16)


def convolutions_of_vgg():
    """(kernel, channels in, channels out, pixels) of the 13 convolutions."""
    incoming = 3
    for stage, (outgoing, layers) in enumerate(zip(WIDTHS, LAYERS, strict=True)):
        for _ in range(layers):
            yield 3, incoming, outgoing, PIXELS[stage]
            incoming = outgoing


def macs(layers) -> int:
    return sum(kernel**2 * incoming * outgoing * pixels for kernel, incoming, outgoing, pixels in layers)


def parameters(layers) -> int:
    return sum(kernel**2 * incoming * outgoing + outgoing for kernel, incoming, outgoing, _ in layers)


@pytest.mark.parametrize(("upsampling", "dense"), [("fixed", 1), ("learned", K)])
def test_fcn32s_costs_what_its_layers_cost(upsampling, dense):
    head = [(7, 32, 24, PIXELS[5]), (1, 24, 24, PIXELS[5]), (1, 24, K, PIXELS[5])]
    enlargement = 64**2 * K * dense * PIXELS[5]  # every pixel of its input, by the whole kernel
    learned = 64**2 * K * K if dense == K else 0
    layers = [*convolutions_of_vgg(), *head]
    found = costs(narrow_vgg, FCN32s, head_width=24, upsampling=upsampling)
    assert found.macs == macs(layers) + enlargement
    assert found.parameters == parameters(layers) + learned
    assert found.file_bytes == 4 * found.parameters


def test_segnet_costs_what_its_layers_cost():
    layers = [*convolutions_of_vgg()]
    encoder_channels = sum(outgoing for _, _, outgoing, _ in layers)
    decoder = []
    for stage in (4, 3, 2, 1, 0):
        channels, outgoing = WIDTHS[stage], WIDTHS[stage - 1] if stage else K
        decoder += [(3, channels, channels, PIXELS[stage])] * (LAYERS[stage] - 1)
        decoder += [(3, channels, outgoing, PIXELS[stage])]
    decoder_channels = sum(outgoing for _, _, outgoing, _ in decoder) - K  # no batch norm after the last
    norms = encoder_channels + decoder_channels
    found = costs(lambda: VGG16(width=1 / 16, batch_norm=True), SegNet)
    assert found.macs == macs([*layers, *decoder])
    assert found.parameters == parameters([*layers, *decoder]) + 2 * norms
    # running statistics, and a counter for each norm
    assert found.file_bytes == 4 * (found.parameters + 2 * norms) + 8 * (13 + 12)


def test_fcn_keeps_scores_of_the_skips_and_segnet_its_indices():
    pool3, pool4 = PIXELS[3], PIXELS[4]
    indices = sum(width * pixels for width, pixels in zip(WIDTHS, PIXELS[1:], strict=True))
    kept = {FCN32s: (0, 0), FCN16s: (4 * K * pool4,) * 2, FCN8s: (4 * K * (pool3 + pool4),) * 2}
    for decoder, expected in (kept | {SegNet: (8 * indices, 2 * indices / 8)}).items():
        found = costs(narrow_vgg, decoder)
        assert (found.kept_bytes, found.kept_bytes_two_bit_indices) == expected
        assert found.storage_multiplier is None  # stages of VGG16 differ in width
    # a map narrower than the scores, of 4 channels, is kept as it is
    assert costs(lambda: VGG16(width=1 / 64), FCN8s).kept_bytes == 4 * (4 * pool3 + K * pool4)


INDEXED, UNPOOLED = 16 * sum(PIXELS[1:5]), 16 * sum(PIXELS[:4])  # values of 16 channels


@pytest.mark.parametrize(
    ("decoder", "multiplier", "maps", "indices"),
    [
        (fcn_basic.BilinearInterpolation, 0, 0, 0),
        (fcn_basic.fcn_basic_no_addition, 0, 0, 0),
        (fcn_basic.fcn_basic_no_addition_no_dim_reduction, 0, 0, 0),
        (fcn_basic.fcn_basic, K, K * sum(PIXELS[1:4]), 0),
        (fcn_basic.fcn_basic_no_dim_reduction, 16, 16 * sum(PIXELS[1:4]), 0),
        (segnet_basic.segnet_basic, 1, 0, INDEXED),
        (segnet_basic.segnet_basic_single_channel, 1, 0, INDEXED),
        (segnet_basic.segnet_basic_encoder_addition, 16, UNPOOLED, INDEXED),
    ],
)
def test_table_1_is_in_proportion_to_its_storage_multipliers(decoder, multiplier, maps, indices):
    found = costs(lambda: SegNetBasicEncoder(width=0.25), decoder)
    assert found.storage_multiplier == multiplier
    assert (found.kept_bytes, found.kept_bytes_two_bit_indices) == (4 * maps + 8 * indices, 4 * maps + indices / 4)


def test_counting_computes_and_allocates_nothing():
    size = (65536, 65536)  # the finest map alone would take 70 GB
    assert costs(narrow_vgg, FCN8s, size, head_width=8).kept_bytes == 4 * K * (8192**2 + 4096**2)


def test_what_is_kept_is_unknown_of_a_model_without_encoder_and_decoder():
    found = count("one layer", nn.Conv2d(3, 2, 3, padding=1), (10, 20))
    assert (found.macs, found.parameters, found.file_bytes) == (9 * 3 * 2 * 200, 9 * 3 * 2 + 2, 4 * 56)
    assert (found.kept_bytes, found.kept_bytes_two_bit_indices, found.storage_multiplier) == (None, None, None)


def test_an_image_too_small_for_the_net_is_refused():
    with pytest.raises(InputError, match="an image of 8x8 pixels .* is too small for this net"):
        costs(lambda: AlexNet(padding=1), FCN32s, (8, 8), head_width=8)


def test_rounds_run_every_model_once_and_start_with_another_each_time():
    now, order, rounds = [0.0], [], []

    def task(name, seconds):
        def run():
            order.append(name)
            now[0] += next(seconds)

        return run

    seconds = {"a": [1, 2, 3, 4], "b": [10, 10, 10, 10], "c": [5, 9, 1, 7]}
    tasks = [task(name, iter([100, *each])) for name, each in seconds.items()]  # the first of each is the warm-up
    found = interleaved(tasks, 4, warm_up=1, clock=lambda: now[0], progress=rounds.append)
    assert "".join(order) == "cab" + "abc" + "bca" + "cab" + "abc"
    assert rounds == [1] * 5
    assert found == [Spread(2.5, 1.75, 3.25), Spread(10, 10, 10), Spread(6, 4, 7.5)]


def test_tables_say_what_was_counted_what_was_measured_and_what_could_not_be():
    counted = Costs("a", (36, 48), 1_500_000, 2_340_000_000, 1_234_567_890, 4_321, None, 6_000_000)
    times = Spread(0.0123, 0.01, 2), Spread(3, 2, 4)
    measured = Costs("b", (36, 48), 100, 0, None, None, 64, 0, "cpu", None, 12_345_678, *times)
    (only,) = cost_tables([counted])
    assert only.title == "counted: one image of 36x48 pixels (height x width)"
    assert only.rows == (("a", "1.50", "2.34", "1,234.57", "0.0043", "-", "6.00"),)
    first, second = cost_tables([counted, measured])
    assert first.rows[1] == ("b", "0.0001", "0.00", "-", "-", "64", "0.00")
    assert second.title == "measured: cpu"
    assert second.rows == (
        ("a", "-", "-", "-", "-"),
        ("b", "12.3 (10.0 to 2,000.0)", "-", "3,000.0 (2,000.0 to 4,000.0)", "12.35"),
    )
    assert all(len(row) == len(table.columns) for table in (only, first, second) for row in table.rows)
    (of_sizes,) = cost_tables([counted, replace(counted, name="b", size=(18, 24))])
    assert [row[0] for row in of_sizes.rows] == ["a 36x48", "b 18x24"]
