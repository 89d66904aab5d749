"""Caffe nets, written byte by byte after protobuf's published encoding: shares nothing with the reader."""

import re
import struct

import numpy as np
import torch
from torch import nn

V1_TYPES = {"Data": 5, "ReLU": 18, "Convolution": 4, "InnerProduct": 14, "Deconvolution": 39}


def varint(value):
    value &= 2**64 - 1
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def number(field, value):
    return varint(field << 3) + varint(value)


def chunk(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def blob(array, *, legacy=False, data="packed"):
    """A BlobProto. `data`: packed, chunked (two packed fields), unpacked, or double."""
    array = np.asarray(array, np.float32)
    values = [float(value) for value in array.flat]
    packed = struct.pack(f"<{len(values)}f", *values)
    half = len(values) // 2 * 4
    content = {
        "packed": lambda: chunk(5, packed),
        "chunked": lambda: chunk(5, packed[:half]) + chunk(5, packed[half:]),
        "unpacked": lambda: b"".join(varint(5 << 3 | 5) + struct.pack("<f", value) for value in values),
        "double": lambda: chunk(8, struct.pack(f"<{len(values)}d", *values)),
    }[data]()
    sizes = (1,) * (4 - array.ndim) + array.shape
    if legacy:
        return b"".join(number(field, size) for field, size in enumerate(sizes, start=1)) + content
    return chunk(7, chunk(1, b"".join(varint(size) for size in array.shape))) + content


def layer(name, kind, *blobs, legacy=False):
    """A field of NetParameter: a layer with everything that real files have around name, type and blobs."""
    if legacy:
        rates = b"".join(varint(7 << 3 | 5) + struct.pack("<f", rate) for rate in (1, 2))
        around = chunk(2, b"bottom") + chunk(3, b"top") + chunk(4, name.encode()) + number(5, V1_TYPES[kind])
        return chunk(2, around + b"".join(chunk(6, content) for content in blobs) + rates)
    around = chunk(1, name.encode()) + chunk(2, kind.encode()) + chunk(3, b"bottom") + chunk(4, b"top") + number(10, 0)
    return chunk(100, around + b"".join(chunk(7, content) for content in blobs) + chunk(106, number(1, 64)))


def net(*layers):
    return chunk(1, b"a net") + number(5, 0) + chunk(3, b"data") + number(4, 1) + b"".join(layers)


def layers_of(model, *, inner_product=(), slashes=False):
    """[name, type, arrays] of each layer with weights, as Caffe has them.

    Args:
        inner_product: names of convolutions to write as InnerProduct.
        slashes: GoogLeNet's names.
    """
    found, first = [], True
    stored = getattr(model.decoder, "stored_names", {})
    for path, module in model.named_modules():
        name = path.split(".")[-1]
        name = stored.get(name, name)
        name = re.sub(r"^(conv\d|inception_\d\w)_", r"\1/", name) if slashes else name
        if isinstance(module, nn.Conv2d):
            weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()
            weight = weight[:, [2, 1, 0]] if first else weight
            if name in inner_product:
                found.append((name, "InnerProduct", [weight.reshape(len(weight), -1), bias]))
            else:
                found.append((name, "Convolution", [weight, bias]))
            first = False
        elif isinstance(module, nn.BatchNorm2d):
            scale = module.weight / torch.sqrt(module.running_var + module.eps)
            shift = module.bias - module.running_mean * scale
            found.append((name, "BN", [tensor.detach().numpy().reshape(1, -1, 1, 1) for tensor in (scale, shift)]))
        elif name.startswith("upscore"):
            weight = module.weight.detach().numpy()
            if weight.shape[1] != len(weight):  # one kernel per class
                weight = weight * np.eye(len(weight), dtype=np.float32)[:, :, None, None]
            found.append((name, "Deconvolution", [weight]))
    return found


def write(layers, *, legacy=False, legacy_shapes=None, data="packed"):
    """The bytes of a net with `layers`, among others without weights."""
    shapes = legacy if legacy_shapes is None else legacy_shapes
    written = [layer("data", "Data", legacy=legacy)]
    for name, kind, arrays in layers:
        blobs = [blob(array, legacy=shapes, data=data) for array in arrays]
        written += [layer("relu", "ReLU", legacy=legacy), layer(name, kind, *blobs, legacy=legacy)]
    return net(*written)


def classifier_layers(model, **options):
    """The backbone of `model` with fc6 and fc7 as InnerProducts, and a layer of 1000 classes."""
    layers = [entry for entry in layers_of(model, inner_product=("fc6", "fc7"), **options) if "score" not in entry[0]]
    return [*layers, ("fc8", "InnerProduct", [np.zeros((1000, 8)), np.zeros(1000)])]


def changed_layers(model, name, *, kind=None, arrays=None, rename=None):
    """The layers of `model` with one changed, or (no change given) without it."""
    layers = []
    for entry in layers_of(model):
        if entry[0] != name:
            layers.append(entry)
        elif kind or arrays or rename:
            layers.append((rename or name, kind or entry[1], arrays(entry[2]) if arrays else entry[2]))
    return layers
