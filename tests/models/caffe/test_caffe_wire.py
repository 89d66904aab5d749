"""Caffe's weight files: numbers are read however they are written, and no file does harm."""

import gzip
import os
import random
import struct

import numpy as np
import pytest
from caffe_writer import blob, chunk, layer, layers_of, net, number, varint, write
from hypothesis import example, given
from hypothesis import strategies as st

from segkit.errors import InputError
from segkit.models.caffe.caffemodel import SIZE_LIMIT, read_caffemodel
from segkit.models.caffe.layers import import_caffe
from segkit.models.decoders.fcn import FCN32s
from segkit.models.encoders.vgg import VGG16
from segkit.models.segmenter import Segmenter

NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3) / 7


@pytest.fixture
def caffemodel(tmp_path):
    """Writes bytes to a .caffemodel file."""

    def caffemodel(content):
        path = tmp_path / "net.caffemodel"
        path.write_bytes(content)
        return path

    return caffemodel


def test_a_file_written_byte_by_byte_is_read(caffemodel):
    content = bytes.fromhex(
        "0a01 61"  # NetParameter.name
        "a206 25"  # .layer, 37 bytes
        "0a03 666331"  # .name: fc1
        "120c 496e6e657250726f64756374"  # .type: InnerProduct
        "3a10"  # .blobs, 16 bytes
        "3a04 0a020102"  # .shape.dim, packed: 1, 2
        "2a08 0000803f000000c0"  # .data, packed: 1, -2
    )
    (found,) = read_caffemodel(caffemodel(content)).values()
    assert (found.name, found.type, found.blobs[0].tolist()) == ("fc1", "InnerProduct", [[1, -2]])


@pytest.mark.parametrize("data", ["packed", "chunked", "unpacked", "double"])
@pytest.mark.parametrize("legacy", [False, True])
def test_numbers_are_read_however_they_are_written(caffemodel, data, legacy):
    found = read_caffemodel(caffemodel(net(layer("a", "Convolution", blob(NUMBERS, data=data, legacy=legacy)))))["a"]
    assert (found.name, found.type) == ("a", "Convolution")
    assert found.blobs[0].dtype == np.float32
    assert np.array_equal(found.blobs[0], NUMBERS.reshape((1, 1, 2, 3) if legacy else (2, 3)))


def test_double_data_comes_before_data_and_legacy_dimensions_before_the_shape(caffemodel):
    both = blob(NUMBERS, data="double") + number(1, 3) + number(2, 2) + number(3, 1) + number(4, 1) + chunk(5, bytes(8))
    found = read_caffemodel(caffemodel(net(layer("a", "T", both))))["a"].blobs[0]
    assert np.array_equal(found, NUMBERS.reshape(3, 2, 1, 1))


def test_legacy_layers_have_their_types_and_layers_without_weights_are_left_out(caffemodel):
    layers = [
        layer(kind, kind, *[blob(NUMBERS)] * (kind != "ReLU"), legacy=True)
        for kind in ("Convolution", "Deconvolution", "ReLU", "Data")
    ]
    found = read_caffemodel(caffemodel(net(*layers)))
    assert {name: entry.type for name, entry in found.items()} == {
        "Convolution": "Convolution",
        "Deconvolution": "Deconvolution",
        "Data": "V1 type 5",
    }


def test_gradients_and_unknown_fields_are_skipped(caffemodel):
    eight, four = varint(17 << 3 | 1) + b"\xff" * 8, varint(18 << 3 | 5) + b"\xff" * 4
    unknown = number(15, 2**64 - 1) + chunk(16, b"\xff" * 9) + eight + four
    strange = unknown + blob(NUMBERS) + chunk(6, b"\0" * 4) + chunk(9, b"\0") + unknown
    entry = chunk(100, unknown + chunk(7, strange) + chunk(1, b"late") + chunk(2, b"T"))
    path = caffemodel(unknown + net(entry) + unknown)
    assert np.array_equal(read_caffemodel(path)["late"].blobs[0], NUMBERS)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (chunk(7, number(1, 2)) + chunk(7, number(1, 3)) + chunk(5, NUMBERS.tobytes()), NUMBERS),  # value by value
        (chunk(5, struct.pack("<f", 2)), np.array(2)),  # no dimensions
        (chunk(8, struct.pack("<d", 1e300)), np.array(np.inf)),
    ],
    ids=["shape", "scalar", "beyond float32"],
)
def test_shapes_and_numbers_are_read_as_caffe_does(caffemodel, content, expected):
    found = read_caffemodel(caffemodel(net(layer("a", "T", content))))["a"].blobs[0]
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


# --- files that are no Caffe model ---


def described(shape, content=b""):
    return net(layer("a", "T", chunk(7, chunk(1, b"".join(varint(size) for size in shape))) + content))


ONE = chunk(5, struct.pack("<f", 1))
A = layer("a", "T", blob(NUMBERS))


@pytest.mark.parametrize(
    "content",
    [
        b"\xa2\x06" + varint(2**64 - 1),  # a length beyond the file
        b"\xa2\x06\x10abc",
        b"\xa3\x06" * 2000,  # groups
        b"\xa6\x06",
        b"\x00\x01",  # field 0
        b"\xff" * 11,  # a varint without end
        b"\xa2",
        chunk(100, chunk(7, chunk(5, b"\0" * 5))),  # packed floats of 5 bytes
        chunk(100, chunk(7, chunk(8, b"\0" * 4))),
        chunk(100, chunk(7, chunk(7, chunk(1, b"\x82")) + ONE)),
    ],
)
def test_bytes_that_are_no_message_are_refused(caffemodel, refusal, content, message):
    path = caffemodel(net(content))
    message(refusal(read_caffemodel, path), path, path.stat().st_size)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (net(layer("\x1b[2J", "T", ONE)), ("layer 0", 200)),
        (net(layer("a" * 201, "T", ONE)), ("layer 0", 200)),
        (net(layer("a", "\n", ONE)), ("layer 0", 200)),
        (net(layer("x", "T"), chunk(100, chunk(1, b"\xff") + chunk(7, ONE))), ("layer 1", 200)),
        (described([2], ONE), ("layer 0 'a'", "shape [2] with 1 numbers")),
        (described([1], ONE + ONE), ("layer 0 'a'", "shape [1] with 2 numbers")),
        (described([2**32] * 2, ONE), ("layer 0 'a'", f"shape [{2**32}, {2**32}] with 1 numbers")),
        (described([0]), ("layer 0 'a'", "shape [0]")),
        (described([-1, -1], ONE), ("layer 0 'a'", "shape [-1, -1]")),
        (described([1] * 33, ONE), ("layer 0 'a'", "33 dimensions")),
        (net(layer("a", "T", number(1, 2) + ONE)), ("layer 0 'a'", "shape [2, 0, 0, 0]")),
        (net(A, layer("b", "T"), layer("b", "T"), A), ("layer 3", "'a'")),
        (net(layer("", "T", blob(NUMBERS))), ("layer 0",)),
        (net(chunk(2, chunk(1, chunk(1, b"conv1")))), ()),
        (net(layer("a", "T"), number(100, 1)), ()),
        (b"", ()),
        (b'name: "VGG"\nlayer {\n\tname: "conv1_1"\r\n}\n', ()),
        (b"<!DOCTYPE html>\n<title>404 Not Found</title>\n" * 99, ()),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), ()),
        (b"PK\x03\x04" + bytes(99), ()),
        (gzip.compress(b"x"), ()),
    ],
    ids=[
        "escape", "long", "newline", "no UTF-8", "few", "many", "huge", "none", "negative", "dimensions", "old",
        "twice", "no name", "first format", "no weights", "empty", "prototxt", "web page", "hdf5", "zip", "gzip",
    ],
)  # fmt: skip
def test_what_is_no_trained_net_is_refused_with_its_place(caffemodel, refusal, message, content, shown):
    path = caffemodel(content)
    message(refusal(read_caffemodel, path), path, *shown)


def test_a_file_too_large_a_missing_one_and_a_folder_are_refused(caffemodel, tmp_path, refusal, message):
    path = caffemodel(net(A))
    os.truncate(path, SIZE_LIMIT + 1)  # takes no space
    message(refusal(read_caffemodel, path), SIZE_LIMIT + 1)
    for path in (tmp_path / "missing.caffemodel", tmp_path):
        message(refusal(read_caffemodel, path), path)


# --- files that mean harm ---


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The smallest FCN-32s, a file with its weights, and a path to write to."""
    encoder = VGG16(width=1 / 64, normalization="caffe")
    model = Segmenter(encoder, FCN32s(encoder.stages, 3, head_width=8))
    layers = layers_of(model)
    layers = layers[-1:] + layers[:-1]  # so that the last layer is needed
    path = tmp_path_factory.mktemp("small") / "net.caffemodel"
    return model, write(layers), write(layers, legacy=True, data="unpacked"), path


@pytest.mark.parametrize("which", [1, 2], ids=["layer", "layers"])
def test_a_file_truncated_anywhere_is_refused(small, which):
    model, content, path = small[0], small[which], small[3]
    path.write_bytes(content)
    import_caffe(path, model)
    lengths = [*range(60), *random.Random(0).sample(range(len(content)), 200), len(content) - 1]
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"net\.caffemodel"):
            import_caffe(path, model)


@given(
    which=st.sampled_from([1, 2]),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 3), st.binary(max_size=12)), min_size=1, max_size=4
    ),
)
def test_a_file_changed_anywhere_is_imported_or_refused(small, which, edits):
    model, content, path = small[0], small[which], small[3]
    for place, removed, inserted in edits:
        at = int(place**4 * len(content))  # most often in the first layers
        content = content[:at] + inserted + content[at + removed :]
    path.write_bytes(content)
    try:
        tensors = import_caffe(path, model).tensors
    except InputError:
        return
    assert all(tensors[name].shape == tensor.shape for name, tensor in model.state_dict().items())


@given(
    content=st.binary(max_size=200),
    before=st.sampled_from([b"", b"\xa2\x06\x7f", b"\x12\x7f", b"\xa2\x06\x7f\x3a\x7b", b"\x12\x7f\x32\x7b"]),
)
@example(content=b"\x3a\x02\x0a\x00", before=b"\xa2\x06\x04")
def test_arbitrary_bytes_are_refused(small, content, before):
    model, path = small[0], small[3]
    path.write_bytes(before + content)
    with pytest.raises(InputError, match=r"net\.caffemodel"):
        import_caffe(path, model)
