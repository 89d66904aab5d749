"""Whatever a data file holds, it is read exactly or refused. `pytest --hypothesis-profile=search` looks longer."""

import io
import struct
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from png_writer import GREY, chunk, interlaced_rows, png, rows
from png_writer import PALETTE as COLORED
from scipy.io import savemat

from segkit.data.classes import plain_classes
from segkit.data.dataset import Pair, PairDataset
from segkit.data.datasets.camvid import camvid
from segkit.data.datasets.class_file import classes_text, read_classes
from segkit.data.files.images import read_image, read_labels
from segkit.errors import InputError
from segkit.tensors import IGNORE

PHOTO = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=6)), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


def edited(content, edits):
    for place, removed, inserted in edits:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + removed :]
    return content


KINDS = ["L", "P", "RGB", "interlaced", "2 bits", "4 bits"]


@given(data=st.data(), size=sizes, classes=st.integers(1, 254), kind=st.sampled_from(KINDS))
def test_labels_come_back_exactly_however_they_were_written(folder, data, size, classes, kind):
    bits = int(kind[0]) if kind[1:] == " bits" else 8
    classes = min(classes, 2**bits)
    ids = data.draw(arrays(np.uint8, size, elements=st.integers(0, classes if bits == 8 else classes - 1)))
    ids[ids == classes] = IGNORE
    numbers = data.draw(st.lists(st.integers(0, 2**24 - 1), min_size=classes + 1, max_size=classes + 1, unique=True))
    palette = np.array([(n >> 16, n >> 8 & 255, n & 255) for n in numbers], np.uint8)
    path = folder / "labels.png"
    if kind == "RGB":
        Image.fromarray(palette[np.where(ids == IGNORE, classes, ids)]).save(path)
    elif kind in ("L", "P"):
        image = Image.fromarray(ids)
        if kind == "P":
            image.putpalette(np.resize(palette, 768).tobytes())
        image.save(path, optimize=data.draw(st.booleans()))
    elif kind == "interlaced":
        path.write_bytes(png(*size[::-1], color=GREY, rows=interlaced_rows(ids.tolist()), interlaced=True))
    else:
        color = data.draw(st.sampled_from([GREY, COLORED]))
        packed, colors = rows(ids.tolist(), depth=bits), chunk(b"PLTE", bytes(3 * 2**bits))
        path.write_bytes(png(*size[::-1], depth=bits, color=color, rows=packed, before=colors))
    names, void = [*map(str, range(classes))], tuple(palette[-1].tolist())
    dataset = PairDataset([Pair("a", path, path)], plain_classes(names, palette[:-1], void_color=void))
    np.testing.assert_array_equal(dataset.labels(0), ids)


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
@given(edits=edits, level=st.integers(0, 9))
def test_a_png_that_was_changed_anywhere_is_what_it_was_or_is_refused(folder, mode, edits, level):
    saved, path = io.BytesIO(), folder / "a.png"
    image = Image.fromarray(PHOTO).convert(mode)
    image.save(saved, "png", compress_level=level)
    path.write_bytes(edited(saved.getvalue(), edits))
    for read, expected in ((read_image, np.asarray(image.convert("RGB"))), (read_labels, np.asarray(image))):
        with suppress(InputError):
            np.testing.assert_array_equal(read(path), expected)


def with_checksums(content):
    """The chunks of a damaged PNG with checksums that are right again, as far as lengths make sense."""
    parts, at = [content[:8]], 8
    while at + 8 <= len(content):
        length = min(struct.unpack(">I", content[at : at + 4])[0], len(content) - at - 8)
        parts.append(chunk(content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join(parts)


@given(edits=edits, mode=st.sampled_from(["L", "P", "RGB", "RGBA", "LA", "1"]), deeper=edits)
def test_a_png_made_with_malice_is_an_image_or_refused(folder, edits, mode, deeper):
    saved, path = io.BytesIO(), folder / "a.png"
    Image.fromarray(PHOTO).convert(mode).save(saved, "png")
    content = saved.getvalue()
    start = content.index(b"IDAT")
    length = struct.unpack(">I", content[start - 4 : start])[0]
    pixels = zlib.decompress(content[start + 4 : start + 4 + length])
    pixels = chunk(b"IDAT", zlib.compress(edited(pixels, deeper)))
    content = content[: start - 4] + pixels + content[start + 8 + length :]
    path.write_bytes(with_checksums(content[:8] + edited(content[8:], edits)))
    check_image(path)


@given(
    edits=edits,
    options=st.sampled_from([{}, {"progressive": True}, {"quality": 100, "subsampling": 0}]),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
)
def test_a_jpeg_that_was_changed_anywhere_is_an_image_or_refused(folder, edits, options, mode):
    saved, path = io.BytesIO(), folder / "a.jpg"
    Image.fromarray(PHOTO).convert(mode).save(saved, "jpeg", **options)
    path.write_bytes(edited(saved.getvalue(), edits))
    check_image(path)


def check_image(path):
    with suppress(InputError), warnings.catch_warnings(action="error"):
        image = read_image(path)
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
    with suppress(InputError), warnings.catch_warnings(action="error"):
        assert read_labels(path).dtype == np.uint8


# --- lists and classes ---

WORDS = [
    "a", "b", "train/a.png", "trainannot/a.png", "/SegNet/CamVid/train/a.png", "..", "../../x", "\\", "C:\\a", "\0", "\n", "\r\n", " ",
    "\t", "\u2028", "\ufeff", "#", "CamVid", "CamVid/", "/", "x" * 300, "~", "2007_000032", "é",
]  # fmt: skip
lists = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=12).flatmap(
    lambda words: st.sampled_from(["", " ", "\n"]).map(lambda between: between.join(words).encode(errors="surrogatepass"))
) | st.binary(max_size=40)  # fmt: skip


@given(train=lists, val=lists)
def test_any_list_of_camvid_leads_to_files_inside_root_or_is_refused(folder, train, val):
    for name in ("train", "trainannot"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "a.png").write_bytes(b"not empty")
    (folder / "train.txt").write_bytes(train)
    (folder / "val.txt").write_bytes(val)
    with suppress(InputError):
        for pair in camvid(root=folder).checked("train").pairs:
            assert pair.image.resolve().is_relative_to(folder.resolve())
            assert pair.labels.resolve().is_relative_to(folder.resolve())


CLASS_TOKENS = [
    "- ", "road", ": ", "[1, 2, 3]", "[0, 0, 256]", "\n", "\n- ", "\n  ", "&a ", "*a", "!!int ", "{", "}", "[", "]", ",",
    "'", '"', "#", "|", "010", "~", "? ",
]  # fmt: skip
class_texts = st.lists(st.sampled_from(CLASS_TOKENS) | st.text(max_size=4), max_size=25).map("".join)


@given(content=st.binary(max_size=30) | class_texts.map(lambda text: text.encode(errors="surrogatepass")))
def test_any_class_file_gives_different_names_with_a_colour_each_or_is_refused(folder, content):
    path = folder / "classes.yaml"
    path.write_bytes(content)
    with suppress(InputError):
        classes = read_classes(path)
        names, palette = classes.names, classes.palette
        assert 1 <= len(names) == len(set(names)) == len(palette)
        assert palette.dtype == np.uint8


@given(edits=edits, compressed=st.booleans())
def test_any_damage_to_a_matlab_file_is_refused_or_leaves_labels_of_its_kind(folder, edits, compressed):
    path, content = folder / "labels.mat", io.BytesIO()
    labels = np.arange(63, dtype=np.uint8).reshape(7, 9) % 21
    savemat(content, {"GTcls": {"Segmentation": labels, "Boundaries": 0}}, do_compression=compressed)
    path.write_bytes(edited(content.getvalue(), edits))
    with suppress(InputError):
        found = read_labels(path)
        assert (found.dtype, found.ndim) == (np.uint8, 2)


class_names = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1)


@given(names=st.lists(class_names, min_size=1, max_size=9, unique=True))
def test_any_names_that_are_written_as_class_file_are_read_back(folder, names):
    palette = np.arange(3 * len(names), dtype=np.uint8).reshape(-1, 3)
    (folder / "classes.yaml").write_text(classes_text(tuple(names), palette), encoding="utf-8")
    found = read_classes(folder / "classes.yaml")
    assert found.names == tuple(names)
    np.testing.assert_array_equal(found.palette, palette)
