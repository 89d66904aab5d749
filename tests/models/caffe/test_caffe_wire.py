"""Caffe's weight files: numbers are read however they are written, and no file does harm."""

import gzip
import random
import struct
import tracemalloc

import numpy as np
import pytest
from caffe_writer import blob, chunk, layer, layers_of, net, number, varint, write
from hypothesis import example, given
from hypothesis import strategies as st

from segkit.errors import InputError
from segkit.models.caffe import caffemodel as caffe_wire
from segkit.models.caffe.caffemodel import read_caffemodel
from segkit.models.caffe.layers import import_caffe
from segkit.models.decoders.fcn import FCN32s
from segkit.models.encoders.vgg import VGG16
from segkit.models.segmenter import Segmenter

FETCH_AGAIN = "The file is truncated, damaged or no Caffe model: fetch it again."
NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3) / 7


@pytest.fixture
def caffemodel(tmp_path):
    """Writes bytes to a .caffemodel file."""

    def caffemodel(content):
        path = tmp_path / "net.caffemodel"
        path.write_bytes(content)
        return path

    return caffemodel


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
    unknown = (
        number(15, 2**64 - 1)
        + chunk(16, b"\xff" * 9)
        + varint(17 << 3 | 1)
        + b"\xff" * 8
        + varint(18 << 3 | 5)
        + b"\xff" * 4
    )
    strange = unknown + blob(NUMBERS) + chunk(6, b"\0" * 5) + chunk(9, b"\0") + unknown
    path = caffemodel(
        unknown + net(chunk(100, unknown + chunk(7, strange) + chunk(1, b"late") + chunk(2, b"T"))) + unknown
    )
    assert np.array_equal(read_caffemodel(path)["late"].blobs[0], NUMBERS)


def test_shapes_may_be_written_value_by_value(caffemodel):
    shape = chunk(7, number(1, 2)) + chunk(7, number(1, 3))
    path = caffemodel(net(layer("a", "T", shape + chunk(5, NUMBERS.tobytes()))))
    assert read_caffemodel(path)["a"].blobs[0].shape == (2, 3)


@pytest.mark.parametrize("runs", [[1], [2], [5], [1, 1], [7, 1, 2], [64, 65]])
def test_runs_of_unpacked_numbers_are_read_whole(caffemodel, runs):
    values = np.arange(sum(runs), dtype=np.float32)
    each = [varint(5 << 3 | 5) + struct.pack("<f", value) for value in values]
    ends = np.cumsum(runs)
    content = b"".join(b"".join(each[end - run : end]) + number(15, 0) for run, end in zip(runs, ends, strict=True))
    path = caffemodel(net(layer("a", "T", chunk(7, chunk(1, varint(len(values)))) + content)))
    assert np.array_equal(read_caffemodel(path)["a"].blobs[0], values)


def test_a_run_ends_with_its_blob_and_with_its_tag(caffemodel):
    one, same, other = (tag + struct.pack("<f", 3) for tag in (b"\x2d", b"\xad\x00", b"\xad\x01"))  # fields 5, 5 and 21
    contents = [chunk(7, chunk(7, number(1, 1)) + values) + one for values in (one, same + other)]
    path = caffemodel(
        net(*[chunk(100, chunk(1, name) + content) for name, content in zip((b"a", b"b"), contents, strict=True)])
    )
    assert [layer.blobs[0].tolist() for layer in read_caffemodel(path).values()] == [[3], [3]]


def test_a_number_without_dimensions_is_a_scalar(caffemodel):
    assert read_caffemodel(caffemodel(net(layer("a", "T", chunk(5, struct.pack("<f", 2))))))["a"].blobs[0].shape == ()


# --- files that are no Caffe model ---


def described(shape, content=b""):
    return net(layer("a", "T", chunk(7, chunk(1, b"".join(varint(size) for size in shape))) + content))


HEAD = len(net())  # bytes before the first layer
BLOB = len(layer("a", "T")) - len(chunk(106, number(1, 64)))  # bytes of a layer before its blob
HUGE, WIDE = 2**64 - 1, 2**32
WHOLE = "expected a whole NetParameter"
COUNT = "expected as many as the shape says"
DIMENSIONS = "expected at most 32 dimensions of at least 1"
NAME = "field 1 is no name; expected at most 200 bytes of printable UTF-8"
ONE = chunk(5, struct.pack("<f", 1))


@pytest.mark.parametrize(
    ("content", "at", "found"),
    [
        (net(b"\xa2\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), HEAD, f"field 100 takes {HUGE} bytes where 0 are left; {WHOLE}"),
        (net(b"\xa2\x06\x10abc"), HEAD, f"field 100 takes 16 bytes where 3 are left; {WHOLE}"),
        (net(b"\xa3\x06" * 2000), HEAD, "field 100 is the start of a group; expected a field of a NetParameter"),
        (net(b"\xa6\x06"), HEAD, "field 100 is of no known kind; expected a field of a NetParameter"),
        (net(b"\x00\x01"), HEAD, "field 0 is a varint; expected a field of a NetParameter"),
        (net(b"\xff" * 11), HEAD, "a number takes more than 64 bits; expected a varint"),
        (net(b"\xff" * 9 + b"\x02"), HEAD, "a number takes more than 64 bits; expected a varint"),
        (net(b"\xa2"), HEAD, "a number has no end; expected a varint"),
        (net(number(100, 1)), HEAD, "field 100 is a varint; expected bytes of a stated length in a NetParameter"),
        (number(1, 5000) + chunk(2, b"x"), 0, "field 1 is a varint; expected bytes of a stated length in a NetParameter"),
        (net(chunk(100, chunk(1, b"\xff"))), HEAD + 3, NAME),
        (net(chunk(100, chunk(1, b"\x1b[2J"))), HEAD + 3, NAME),
        (net(chunk(100, chunk(1, b"a" * 201))), HEAD + 4, NAME),
        (described([2], ONE), HEAD + BLOB, f"a blob of shape [2] with 1 numbers; {COUNT}"),
        (described([1], ONE + ONE), HEAD + BLOB, f"a blob of shape [1] with 2 numbers; {COUNT}"),
        (described([WIDE, WIDE], ONE), HEAD + BLOB, f"a blob of shape [{WIDE}, {WIDE}] with 1 numbers; {COUNT}"),
        (described([0], b""), HEAD + BLOB, f"a blob of shape [0]; {DIMENSIONS}"),
        (described([-1, -1], ONE), HEAD + BLOB, f"a blob of shape [-1, -1]; {DIMENSIONS}"),
        (described([1] * 33, ONE), HEAD + BLOB, f"a blob of 33 dimensions; {DIMENSIONS}"),
        (net(layer("a", "T", number(1, 2) + ONE)), HEAD + BLOB, f"a blob of shape [2, 0, 0, 0]; {DIMENSIONS}"),
        (net(layer("a", "T", chunk(7, chunk(1, b"\x82")) + ONE)), HEAD + BLOB + 6, "a number has no end; expected a varint"),
        (net(layer("a", "T", chunk(5, b"\0" * 5))), HEAD + BLOB + 2, "5 bytes of packed numbers; expected a multiple of 4"),
        (net(layer("a", "T", chunk(8, b"\0" * 4))), HEAD + BLOB + 2, "4 bytes of packed numbers; expected a multiple of 8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bytes_that_make_no_sense_are_refused_where_they_are(caffemodel, refusal, content, at, found):
    path = caffemodel(content)
    assert refusal(read_caffemodel, path) == f"{path}, byte {at} of {len(content)}: {found}. {FETCH_AGAIN}"


def test_layers_of_one_name_or_without_one_are_refused(caffemodel, refusal):
    one = layer("a", "T", blob(NUMBERS))
    path = caffemodel(net(one, layer("b", "T"), layer("b", "T"), one))
    assert refusal(read_caffemodel, path).endswith(
        ": a second layer 'a' with weights; expected a name for each layer. Name the layers apart and save the net again."
    )
    path = caffemodel(net(layer("", "T", blob(NUMBERS))))
    assert f"byte {HEAD} of {path.stat().st_size}: a layer with weights and without a name;" in refusal(
        read_caffemodel, path
    )


def test_caffes_first_format_is_named(caffemodel, refusal):
    path = caffemodel(net(chunk(2, chunk(1, chunk(1, b"conv1")))))
    assert refusal(read_caffemodel, path) == (
        f"{path}, byte {HEAD + 2} of {HEAD + 11}: a layer of Caffe's first format; expected a V1LayerParameter. "
        "Upgrade it with upgrade_net_proto_binary."
    )


def test_a_net_without_weights_is_refused(caffemodel, refusal):
    path = caffemodel(net(layer("a", "T")))
    assert refusal(read_caffemodel, path) == (
        f"{path}: {path.stat().st_size} bytes without a layer that has weights; expected a trained Caffe net. {FETCH_AGAIN}"
    )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty; expected a binary .caffemodel. Fetch it again."),
        (b'name: "VGG"\nlayer {\n\tname: "conv1_1"\r\n}\n', "text, such as a prototxt or a web page; expected a binary .caffemodel. "
         "Give the weights that belong to it."),
        (b"<!DOCTYPE html>\n<title>404 Not Found</title>\n" * 99, "text, such as a prototxt or a web page; expected a binary .caffemodel. "
         "Give the weights that belong to it."),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, Caffe's other format; expected a binary .caffemodel. "
         "Load it in Caffe and save it with net.save()."),
        (b"PK\x03\x04" + bytes(99), "a zip archive, as PyTorch writes; expected a binary .caffemodel. "
         "Extract it if it holds one; weights of PyTorch need no import."),
        (gzip.compress(b"x"), "a gzip archive; expected a binary .caffemodel. Extract it."),
    ],
    ids=["empty", "prototxt", "web page", "hdf5", "zip", "gzip"],
)  # fmt: skip
def test_other_kinds_of_files_are_named(caffemodel, refusal, content, found):
    path = caffemodel(content)
    assert refusal(read_caffemodel, path) == f"{path} is {found}"


def test_a_missing_file_and_a_folder_are_refused(tmp_path, refusal):
    for path in (tmp_path / "net.caffemodel", tmp_path):
        assert refusal(read_caffemodel, path) == f"{path} does not exist; expected a .caffemodel file. Check the path."


# --- files that mean harm ---


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The smallest FCN-32s, a file with its weights, and a path to write to."""
    encoder = VGG16(width=1 / 64, normalization="caffe")
    model = Segmenter(encoder, FCN32s(encoder.stages, 3, head_width=8))
    layers = layers_of(model)
    layers = layers[-1:] + layers[:-1]  # so that the last layer is needed
    return (
        model,
        write(layers),
        write(layers, legacy=True, data="unpacked"),
        tmp_path_factory.mktemp("small") / "net.caffemodel",
    )


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


LIMIT = 2000
FLOAT = varint(5 << 3 | 5) + bytes(4)


@pytest.mark.parametrize(
    "content",
    [
        net(*[layer("a", "T")] * LIMIT),
        net(layer("a", "T", (FLOAT + number(15, 0)) * LIMIT)),
        net(layer("a", "T", *[FLOAT] * LIMIT)),
        net(layer("a", "T", chunk(7, chunk(1, b"\x01" * 2 * LIMIT)))),
        net(layer("a", "T", chunk(5, b"") * 2 * LIMIT)),
        net(chunk(100, chunk(1, b"") * 2 * LIMIT)),
    ],
    ids=["layers", "floats", "blobs", "dimensions", "chunks", "names"],
)
def test_a_file_of_very_many_small_parts_takes_little_memory(caffemodel, refusal, monkeypatch, content):
    assert caffe_wire.FIELD_LIMIT == 50 * LIMIT
    monkeypatch.setattr(caffe_wire, "FIELD_LIMIT", LIMIT)
    path = caffemodel(content)
    tracemalloc.start()
    try:
        message = refusal(read_caffemodel, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert f"more than {LIMIT} fields; expected a net of reasonable size. {FETCH_AGAIN}" in message
    assert 50 * peak < 64e6


def test_reading_takes_little_more_memory_than_the_weights(caffemodel):
    values = bytes(4_000_000)
    path = caffemodel(described([1000, 1000], chunk(5, values)))
    tracemalloc.start()
    try:
        found = read_caffemodel(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["a"].blobs[0].shape == (1000, 1000)
    assert peak < 4.5e6
