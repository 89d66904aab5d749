"""Caffe's weight files, read without Caffe: protobuf's wire format within bounds.

Nothing is allocated from what a file declares: a length that exceeds its surroundings is refused, nesting is fixed
(net, layer, blob, shape), and the number of fields is limited. Whatever a file holds, reading takes memory for its
numbers and a few tens of MB.

Source: BVLC/caffe src/caffe/proto/caffe.proto (NetParameter, LayerParameter, V1LayerParameter, BlobProto, BlobShape)
    and blob.cpp
(Blob::FromProto: legacy dimensions and double_data come first); protobuf.dev, Encoding.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from segkit.errors import InputError

VARINT, EIGHT_BYTES, STATED_LENGTH, FOUR_BYTES = 0, 1, 2, 5
KINDS = {
    VARINT: "a varint",
    EIGHT_BYTES: "8 bytes",
    STATED_LENGTH: "bytes of a stated length",
    3: "the start of a group",
    4: "the end of a group",
    FOUR_BYTES: "4 bytes",
}
NET = {1: (STATED_LENGTH,), 2: (STATED_LENGTH,), 100: (STATED_LENGTH,)}
LAYER = {1: (STATED_LENGTH,), 2: (STATED_LENGTH,), 7: (STATED_LENGTH,)}
V1_LAYER = {1: (STATED_LENGTH,), 4: (STATED_LENGTH,), 5: (VARINT,), 6: (STATED_LENGTH,)}
BLOB = {
    **{number: (VARINT,) for number in (1, 2, 3, 4)},
    5: (STATED_LENGTH, FOUR_BYTES),
    7: (STATED_LENGTH,),
    8: (STATED_LENGTH, EIGHT_BYTES),
}
SHAPE = {1: (STATED_LENGTH, VARINT)}
V1_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}

FIELD_LIMIT = 100_000  # GoogLeNet has a few thousand
AXIS_LIMIT = 32  # Caffe's kMaxBlobAxes
NAME_LIMIT = 200  # bytes; the longest of GoogLeNet has 27
FETCH_AGAIN = "The file is truncated, damaged or no Caffe model: fetch it again."


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


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message, or neighbours with the same number whose values have a fixed size.

    Attributes:
        number: which field.
        kind: its wire type, a key of KINDS.
        at: byte of its (first) tag.
        first: byte of its (first) content.
        last: byte after its (last) content.
        value: of a varint, as int64; else 0.
    """

    number: int
    kind: int
    at: int
    first: int
    last: int
    value: int = 0


class Wire:
    """A file in protobuf's wire format, memory-mapped.

    Args:
        path: a file that is not empty.
    """

    def __init__(self, path: Path):
        self.path = path
        self.view = np.memmap(path, np.uint8, "r").data
        self.bytes = np.frombuffer(self.view, np.uint8)
        self.size = len(self.view)
        self._fields_read = 0

    def refusal(self, at: int, found: str, expected: str, step: str = FETCH_AGAIN) -> InputError:
        """What to raise about byte `at`."""
        return InputError(f"{self.path}, byte {at} of {self.size}: {found}; expected {expected}. {step}")

    def fields(self, first: int, last: int, wanted: Mapping[int, tuple[int, ...]], message: str) -> Iterator[Field]:
        """Fields of the message in bytes `first` to `last` whose numbers are `wanted`; others are skipped.

        Args:
            wanted: field number -> wire types that it may have.
            message: its name in caffe.proto.
        Raises:
            InputError: for whatever is no such message.
        """
        at = first
        while at < last:
            field = self._field(at, last, message)
            if field.number in wanted:
                if field.kind not in wanted[field.number]:
                    kinds = " or ".join(KINDS[kind] for kind in wanted[field.number])
                    raise self.refusal(at, f"field {field.number} is {KINDS[field.kind]}", f"{kinds} in a {message}")
                if field.kind in (FOUR_BYTES, EIGHT_BYTES):
                    field = self._with_neighbours(field, last)
                yield field
            at = field.last

    def text(self, field: Field) -> str:
        """Content of a string field."""
        try:
            text = bytes(self.view[field.first : min(field.last, field.first + NAME_LIMIT + 1)]).decode()
        except UnicodeDecodeError:
            text = "\0"
        if field.last - field.first > NAME_LIMIT or not text.isprintable():
            raise self.refusal(
                field.at, f"field {field.number} is no name", f"at most {NAME_LIMIT} bytes of printable UTF-8"
            )
        return text

    def numbers(self, field: Field) -> np.ndarray:
        """Values [N] of floats or doubles, packed or in neighbouring fields; a packed field is not copied."""
        wide = field.number == 8
        width, dtype = (8, "<f8") if wide else (4, "<f4")
        if field.kind != STATED_LENGTH:
            step = field.first - field.at + width
            return (
                np.ascontiguousarray(self.bytes[field.at : field.last].reshape(-1, step)[:, -width:])
                .view(dtype)
                .reshape(-1)
            )
        if (field.last - field.first) % width:
            raise self.refusal(
                field.at, f"{field.last - field.first} bytes of packed numbers", f"a multiple of {width}"
            )
        return self.bytes[field.first : field.last].view(dtype)

    def varints(self, field: Field) -> list[int]:
        """Values of packed varints, as int64."""
        values, at = [], field.first
        while at < field.last:
            self._count(at)
            value, at = self._varint(at, field.last)
            values.append(_signed(value))
        return values

    def _field(self, at: int, last: int, message: str) -> Field:
        self._count(at)
        key, first = self._varint(at, last)
        number, kind = key >> 3, key & 7
        if kind not in (VARINT, EIGHT_BYTES, STATED_LENGTH, FOUR_BYTES) or not 0 < number < 2**29:
            raise self.refusal(
                at, f"field {number} is {KINDS.get(kind, 'of no known kind')}", f"a field of a {message}"
            )
        value, end = 0, first + (8 if kind == EIGHT_BYTES else 4)
        if kind == VARINT:
            value, end = self._varint(first, last)
        elif kind == STATED_LENGTH:
            length, first = self._varint(first, last)
            end = first + length
        if end > last:
            raise self.refusal(
                at, f"field {number} takes {end - first} bytes where {last - first} are left", f"a whole {message}"
            )
        return Field(number, kind, at, first, end, _signed(value))

    def _varint(self, at: int, last: int) -> tuple[int, int]:
        """An unsigned varint, and the byte after it."""
        value = 0
        for index, byte in enumerate(self.view[at : min(last, at + 10)]):
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80 and value < 2**64:
                return value, at + index + 1
        raise self.refusal(
            at, "a number has no end" if last - at < 10 else "a number takes more than 64 bits", "a varint"
        )

    def _with_neighbours(self, field: Field, last: int) -> Field:
        """`field` with all that follow at once and have the same tag of one byte; the work is proportional to what is
        found."""
        step, count = field.last - field.at, 1
        room = (last - field.at) // step if field.first - field.at == 1 else 1
        while count < room:
            start, block = field.at + count * step, min(count, room - count)
            others = self.bytes[start : start + block * step : step] != self.bytes[field.at]
            if others.any():
                count += int(others.argmax())
                break
            count += block
        return Field(field.number, field.kind, field.at, field.first, field.at + count * step)

    def _count(self, at: int) -> None:
        self._fields_read += 1
        if self._fields_read > FIELD_LIMIT:
            raise self.refusal(at, f"more than {FIELD_LIMIT} fields", "a net of reasonable size")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def read_caffemodel(path: Path) -> dict[str, CaffeLayer]:
    """Layers with weights of a .caffemodel by name: binary NetParameter, with `layer` or the legacy `layers`.

    Raises:
        InputError: if the file is missing, of another kind, truncated or damaged, names a layer twice, or holds no
            weights.
    Source: see the module.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a .caffemodel file. Check the path.")
    _refuse_other_kinds(path)
    wire, layers = Wire(path), {}
    for field in wire.fields(0, wire.size, NET, "NetParameter"):
        layer = _layer(wire, field) if field.number != 1 else None
        if layer is None or not layer.blobs:
            continue
        if layer.name in layers or not layer.name:
            found = (
                f"a second layer '{layer.name}' with weights"
                if layer.name
                else "a layer with weights and without a name"
            )
            raise wire.refusal(
                field.at, found, "a name for each layer", "Name the layers apart and save the net again."
            )
        layers[layer.name] = layer
    if not layers:
        raise InputError(
            f"{path}: {wire.size} bytes without a layer that has weights; expected a trained Caffe net. {FETCH_AGAIN}"
        )
    return layers


def _refuse_other_kinds(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(256)
    known = {
        b"\x89HDF": ("an HDF5 file, Caffe's other format", "Load it in Caffe and save it with net.save()."),
        b"PK\x03\x04": (
            "a zip archive, as PyTorch writes",
            "Extract it if it holds one; weights of PyTorch need no import.",
        ),
        b"\x1f\x8b": ("a gzip archive", "Extract it."),
    }
    kinds = [kind for start, kind in known.items() if head.startswith(start)]
    if not head:
        kinds = [("empty", "Fetch it again.")]
    elif not any(
        byte < 32 and byte not in b"\t\n\r" for byte in head
    ):  # every NetParameter has a tag below 32 early on
        kinds = [("text, such as a prototxt or a web page", "Give the weights that belong to it.")]
    if kinds:
        raise InputError(f"{path} is {kinds[0][0]}; expected a binary .caffemodel. {kinds[0][1]}")


def _layer(wire: Wire, layer: Field) -> CaffeLayer:
    """The layer of a field of NetParameter: `layer` (100) or the legacy `layers` (2)."""
    legacy = layer.number == 2
    roles = {1: "v0", 4: "name", 5: "type", 6: "blobs"} if legacy else {1: "name", 2: "type", 7: "blobs"}
    name, kind, blobs = "", "", []
    message = "V1LayerParameter" if legacy else "LayerParameter"
    for field in wire.fields(layer.first, layer.last, V1_LAYER if legacy else LAYER, message):
        role = roles[field.number]
        if role == "v0":
            raise wire.refusal(
                field.at, "a layer of Caffe's first format", f"a {message}", "Upgrade it with upgrade_net_proto_binary."
            )
        if role == "name":
            name = wire.text(field)
        elif role == "type":
            kind = V1_TYPES.get(field.value, f"V1 type {field.value}") if legacy else wire.text(field)
        else:
            blobs.append(_blob(wire, field))
    return CaffeLayer(name, kind, tuple(blobs))


def _blob(wire: Wire, blob: Field) -> np.ndarray:
    legacy: dict[int, int] = {}
    shape: list[int] = []
    chunks: dict[int, list[np.ndarray]] = {5: [], 8: []}
    for field in wire.fields(blob.first, blob.last, BLOB, "BlobProto"):
        if field.number == 7:
            for dim in wire.fields(field.first, field.last, SHAPE, "BlobShape"):
                shape += [dim.value] if dim.kind == VARINT else wire.varints(dim)
        elif field.number in chunks:
            chunks[field.number].append(wire.numbers(field))
        else:
            legacy[field.number] = field.value
    if legacy:
        shape = [legacy.get(number, 0) for number in (1, 2, 3, 4)]
    if len(shape) > AXIS_LIMIT or any(size < 1 for size in shape):
        found = f"a blob of {len(shape)} dimensions" if len(shape) > AXIS_LIMIT else f"a blob of shape {shape}"
        raise wire.refusal(blob.at, found, f"at most {AXIS_LIMIT} dimensions of at least 1")
    found = chunks[8] or chunks[5]
    count = sum(len(chunk) for chunk in found)
    if count != prod(shape):
        raise wire.refusal(blob.at, f"a blob of shape {shape} with {count} numbers", "as many as the shape says")
    values = found[0] if len(found) == 1 else np.concatenate(found)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # doubles beyond float32 become infinite, which the mapping refuses
        return values.astype(np.float32).reshape(shape)
