"""Layer tables of the released nets, written out from their prototxts, and the size of every map by Caffe's formulas.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn*/train.prototxt, alexgkendall/SegNet-Tutorial Models/*_train.prototxt,
    bvlc_googlenet.
"""

import re

import pytest
import torch
from test_original_nets import NETS, net
from torch import nn

SIZES = [(360, 480), (500, 375), (65, 97)]


def rows(text):
    """[name, channels in, channels out, kernel, stride, padding, groups] of each line."""
    return [(name, *map(int, numbers)) for name, *numbers in (line.split() for line in text.strip().splitlines())]


def vgg(first_padding):
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    names = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3"]
    pairs = zip(names, channels, channels[1:], strict=False)
    return [(f"conv{name}", into, out, 3, 1, first_padding if name == "1_1" else 1, 1) for name, into, out in pairs]


FC = rows("""
    fc6          512 4096 7 1 0 1
    fc7         4096 4096 1 1 0 1
    score_fr    4096   21 1 1 0 1""")
POOL4 = rows("score_pool4  512   21 1 1 0 1")
POOL3 = rows("score_pool3  256   21 1 1 0 1")

ALEXNET = rows("""
    conv1          3   96 11 4 100 1
    conv2         96  256 5 1 2 2
    conv3        256  384 3 1 1 1
    conv4        384  384 3 1 1 2
    conv5        384  256 3 1 1 2
    fc6          256 4096 6 1 0 1
    fc7         4096 4096 1 1 0 1
    score_fr    4096   21 1 1 0 1""")

SEGNET_DECODER = rows("""
    conv5_3_D    512  512 3 1 1 1
    conv5_2_D    512  512 3 1 1 1
    conv5_1_D    512  512 3 1 1 1
    conv4_3_D    512  512 3 1 1 1
    conv4_2_D    512  512 3 1 1 1
    conv4_1_D    512  256 3 1 1 1
    conv3_3_D    256  256 3 1 1 1
    conv3_2_D    256  256 3 1 1 1
    conv3_1_D    256  128 3 1 1 1
    conv2_2_D    128  128 3 1 1 1
    conv2_1_D    128   64 3 1 1 1
    conv1_2_D     64   64 3 1 1 1
    conv1_1_D     64   11 3 1 1 1""")

BASIC = rows("""
    conv1          3   64 7 1 3 1
    conv2         64   64 7 1 3 1
    conv3         64   64 7 1 3 1
    conv4         64   64 7 1 3 1
    conv_decode4  64   64 7 1 3 1
    conv_decode3  64   64 7 1 3 1
    conv_decode2  64   64 7 1 3 1
    conv_decode1  64   64 7 1 3 1
    conv_classifier 64 11 1 1 0 1""")

TABLES = {
    "FCN-32s": vgg(100) + FC,
    "FCN-16s": vgg(100) + FC + POOL4,
    "FCN-8s": vgg(100) + FC + POOL4 + POOL3,
    "FCN-AlexNet": ALEXNET,
    "SegNet": vgg(1) + SEGNET_DECODER,
    "Bayesian SegNet": vgg(1) + SEGNET_DECODER,
    "SegNet-Basic": BASIC,
    "Bayesian SegNet-Basic": BASIC,
}

INCEPTION = """
    3a 192  64  96 128 16  32  32
    3b 256 128 128 192 32  96  64
    4a 480 192  96 208 16  48  64
    4b 512 160 112 224 24  64  64
    4c 512 128 128 256 24  64  64
    4d 512 112 144 288 32  64  64
    4e 528 256 160 320 32 128 128
    5a 832 256 160 320 32 128 128
    5b 832 384 192 384 48 128 128"""
"""Channels in, then of 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5 and pool_proj. Source: Szegedy et al. 2014, Table 1."""


def googlenet():
    table = [
        ("conv1_7x7_s2", 3, 64, 7, 2, 3, 1),
        ("conv2_3x3_reduce", 64, 64, 1, 1, 0, 1),
        ("conv2_3x3", 64, 192, 3, 1, 1, 1),
    ]
    for name, into, one, reduce3, three, reduce5, five, pooled in rows(INCEPTION):
        table += [
            (f"inception_{name}_1x1", into, one, 1, 1, 0, 1),
            (f"inception_{name}_pool_proj", into, pooled, 1, 1, 0, 1),
        ]
        table += [
            (f"inception_{name}_3x3_reduce", into, reduce3, 1, 1, 0, 1),
            (f"inception_{name}_3x3", reduce3, three, 3, 1, 1, 1),
        ]
        table += [
            (f"inception_{name}_5x5_reduce", into, reduce5, 1, 1, 0, 1),
            (f"inception_{name}_5x5", reduce5, five, 5, 1, 2, 1),
        ]
    return [*table, ("score_fr", 1024, 21, 1, 1, 0, 1)]


TABLES["FCN-GoogLeNet"] = googlenet()


def convolutions(model):
    return {path.split(".")[-1]: layer for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}


@pytest.mark.parametrize("name", NETS)
def test_every_convolution_is_that_of_the_released_net(name):
    with torch.device("meta"):
        layers = convolutions(net(name))
    table = {
        key: (c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, c.groups, c.bias is not None)
        for key, c in layers.items()
    }
    assert table == {n: (i, o, (k, k), (s, s), (p, p), g, True) for n, i, o, k, s, p, g in TABLES[name]}


# Pooling (kernel, stride) that stands before a layer; two where an inception module ends with one.
VGG_POOLS = {name: (2, 2) for name in ("conv2_1", "conv3_1", "conv4_1", "conv5_1", "fc6")}
POOLS = {
    **{name: VGG_POOLS for name in ("FCN-32s", "FCN-16s", "FCN-8s", "SegNet", "Bayesian SegNet")},
    "FCN-AlexNet": {name: (3, 2) for name in ("conv2", "conv3", "fc6")},
    **{name: {f"conv{n}": (2, 2) for n in (2, 3, 4)} for name in ("SegNet-Basic", "Bayesian SegNet-Basic")},
}


def pooled(pixels, kernel, stride):
    """Caffe's pooling without padding: the last window may hang over the edge."""
    return -(-(pixels - kernel) // stride) + 1


def sizes(name, pixels):
    """Pixels of one side of what each layer gives: up to score_fr by Caffe's formulas, then those that a decoder's layer
    has back from the stage of its number."""
    found, stages = {}, []
    for layer, _, _, kernel, stride, padding, _ in TABLES[name]:
        if layer in ("score_pool4", "score_pool3", "conv_classifier"):
            continue
        if layer.endswith("_D") or "decode" in layer:
            found[layer] = [*stages, pixels][int(re.search(r"\d", layer)[0]) - 1]
            continue
        if layer in POOLS[name]:
            stages.append(pixels)
            pixels = pooled(pixels, *POOLS[name][layer])
        pixels = (pixels + 2 * padding - kernel) // stride + 1
        found[layer] = pixels
    return found


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", POOLS)
def test_every_map_has_the_size_of_caffes_formulas(name, size):
    model, found = net(name, width=1 / 32).eval(), {}
    for key, layer in convolutions(model).items():
        layer.register_forward_hook(lambda _, arguments, output, key=key: found.update({key: tuple(output.shape[-2:])}))
    with torch.inference_mode():
        model(torch.zeros(1, 3, *size))
    heights, widths = (sizes(name, pixels) for pixels in size)
    assert {key: found[key] for key in heights} == {key: (heights[key], widths[key]) for key in heights}
