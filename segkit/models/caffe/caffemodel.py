"""Caffe's weight files, read without Caffe by the protobuf runtime.

The schema holds only the fields of caffe.proto that weights need, with Caffe's names and numbers. It is built at run
time and kept out of protobuf's default pool, where Caffe's own would collide with it.

Source: BVLC/caffe src/caffe/proto/caffe.proto and blob.cpp (Blob::FromProto: legacy dimensions and double_data first).
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from segkit.errors import InputError

SIZE_LIMIT = 2**30  # bytes; published nets have up to 0.6 GB. Parsing a hostile file takes up to 30 times its size
NAME_LIMIT = 200  # GoogLeNet has names of up to 27 characters
AXIS_LIMIT = 32  # Caffe's kMaxBlobAxes

_ONE, _MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
SCHEMA = {
    "NetParameter": [("layers", 2, _MANY, "V1LayerParameter"), ("layer", 100, _MANY, "LayerParameter")],
    "LayerParameter": [("name", 1, _ONE, "bytes"), ("type", 2, _ONE, "bytes"), ("blobs", 7, _MANY, "BlobProto")],
    "V1LayerParameter": [
        ("layer", 1, _ONE, "bytes"),  # a V0LayerParameter, which is refused
        ("name", 4, _ONE, "bytes"),
        ("type", 5, _ONE, "int32"),  # an enum
        ("blobs", 6, _MANY, "BlobProto"),
    ],
    "BlobProto": [
        ("num", 1, _ONE, "int32"),
        ("channels", 2, _ONE, "int32"),
        ("height", 3, _ONE, "int32"),
        ("width", 4, _ONE, "int32"),
        ("data", 5, _MANY, "float"),
        ("shape", 7, _ONE, "BlobShape"),
        ("double_data", 8, _MANY, "double"),
    ],
    "BlobShape": [("dim", 1, _MANY, "int64")],
}
LEGACY_SHAPE = ("num", "channels", "height", "width")
V1_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}

FETCH_AGAIN = "The file is truncated, damaged or not a Caffe model: fetch it again."
OTHER_KINDS = {
    b"\x89HDF": ("an HDF5 file, Caffe's other format", "Load it in Caffe and save it with net.save()."),
    b"PK\x03\x04": ("a zip archive, as PyTorch writes", "Extract it if it holds one; PyTorch weights need no import."),
    b"\x1f\x8b": ("a gzip archive", "Extract it."),
}


def _message_class() -> Any:
    """Return the class of NetParameter."""
    file = FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in SCHEMA.items():
        added = file.message_type.add(name=message)
        for name, number, label, kind in fields:
            if kind in SCHEMA:
                added.field.add(name=name, number=number, label=label, type_name=f".caffe.{kind}")
            else:
                scalar = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
                added.field.add(name=name, number=number, label=label, type=scalar)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


NetParameter = _message_class()


@dataclass(frozen=True)
class CaffeLayer:
    """A layer that holds weights.

    Attributes:
        name: as in the net's prototxt.
        type: `Convolution`, `BN` and so on.
        blobs: float32 arrays in C order, shaped as the file says.
    """

    name: str
    type: str
    blobs: tuple[np.ndarray, ...]


def read_caffemodel(path: Path) -> dict[str, CaffeLayer]:
    """Return the layers of a .caffemodel that hold weights, by name: `layer` or the legacy `layers` of a NetParameter.

    Raises:
        InputError: if the file is missing, too large, of another kind, truncated or damaged, names a layer twice, or
            holds no weights.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a .caffemodel file. Check the path.")
    with path.open("rb") as file:
        head = file.read(256)
    kinds = [kind for start, kind in OTHER_KINDS.items() if head.startswith(start)]
    if not head:
        kinds = [("empty", "Fetch it again.")]
    elif not any(byte < 32 and byte not in b"\t\n\r" for byte in head):  # every NetParameter has a small tag early on
        kinds = [("text, such as a prototxt or a web page", "Give the weights that belong to it.")]
    if kinds:
        raise InputError(f"{path} is {kinds[0][0]}; expected a binary .caffemodel. {kinds[0][1]}")
    size = path.stat().st_size
    if size > SIZE_LIMIT:
        raise InputError(f"{path} has {size} bytes; expected a .caffemodel of at most {SIZE_LIMIT}. Check the file.")
    try:
        net = NetParameter.FromString(path.read_bytes())
    except DecodeError:
        raise InputError(f"{path}: {size} bytes that are not a NetParameter. {FETCH_AGAIN}") from None
    if any(layer.HasField("layer") for layer in net.layers):
        raise InputError(
            f"{path} is in Caffe's first format; expected `layer` or `layers` of a NetParameter. "
            "Upgrade it with upgrade_net_proto_binary."
        )

    layers: dict[str, CaffeLayer] = {}
    for index, layer in enumerate([*net.layers, *net.layer]):
        if not layer.blobs:
            continue
        place = f"{path}, layer {index}"
        name = _text(layer.name, place)
        if not name or name in layers:
            found = f"a second layer '{name}' with weights" if name else "a layer with weights and without a name"
            raise InputError(
                f"{place}: {found}; expected a name for each layer. Name the layers apart and save the net again."
            )
        legacy = isinstance(layer.type, int)
        kind = V1_TYPES.get(layer.type, f"V1 type {layer.type}") if legacy else _text(layer.type, place)
        layers[name] = CaffeLayer(name, kind, tuple(_array(blob, f"{place} '{name}'") for blob in layer.blobs))
    if not layers:
        raise InputError(
            f"{path}: {size} bytes without a layer that has weights; expected a trained Caffe net. {FETCH_AGAIN}"
        )
    return layers


def _text(value: bytes, place: str) -> str:
    """Return a name that is safe to print."""
    text = value[: NAME_LIMIT + 1].decode(errors="replace")
    if len(value) > NAME_LIMIT or "\N{REPLACEMENT CHARACTER}" in text or not text.isprintable():
        raise InputError(
            f"{place}: its name or type is not text; expected at most {NAME_LIMIT} bytes of printable UTF-8. "
            f"{FETCH_AGAIN}"
        )
    return text


def _array(blob: Any, place: str) -> np.ndarray:
    """Return the numbers of a BlobProto as float32, in the shape that it states."""
    legacy = any(blob.HasField(name) for name in LEGACY_SHAPE)
    shape = [getattr(blob, name) for name in LEGACY_SHAPE] if legacy else blob.shape.dim
    numbers = blob.double_data or blob.data
    too_deep = len(shape) > AXIS_LIMIT
    if too_deep or any(size < 1 for size in shape) or len(numbers) != prod(shape):
        found = f"{len(shape)} dimensions" if too_deep else f"shape {list(shape)} with {len(numbers)} numbers"
        raise InputError(
            f"{place}: a blob of {found}; expected at most {AXIS_LIMIT} dimensions of at least 1, and as many numbers "
            f"as they say. {FETCH_AGAIN}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # doubles beyond float32 become infinite: refused when fitted
        return np.array(numbers, np.float32).reshape(tuple(shape))
