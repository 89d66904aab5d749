"""Files become samples with the right ids and colours, or one sentence that names the file."""

import contextlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segkit.data.dataset import MAX_PIXELS, Pair, PairDataset, read_image, read_index_mask
from segkit.errors import InputError

PALETTE = np.array([(10, 20, 30), (200, 100, 50), (7, 7, 7)], np.uint8)
CLASSES = ("road", "sky", "car")
IDS = np.array([[0, 1, 2, 255], [2, 2, 1, 0]], np.uint8)


@pytest.fixture
def files(tmp_path):
    """An image and its labels, 2x4 pixels."""
    pair = Pair("a", tmp_path / "a.png", tmp_path / "a_labels.png")
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3)).save(pair.image)
    Image.fromarray(IDS).save(pair.labels)
    return pair


def dataset(*pairs, void=None):
    return PairDataset(pairs, class_names=CLASSES, palette=PALETTE, void=void)


def refusal(function, *arguments):
    with pytest.raises(InputError) as caught:
        function(*arguments)
    return str(caught.value)


def png(width, height, *, depth=8, color=2, data=b""):
    """The bytes of a PNG with valid checksums whose header may promise anything."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(b)) + name + b + struct.pack(">I", zlib.crc32(name + b)) for name, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


# --- samples ---


def test_a_sample_is_the_files_as_they_are(files):
    sample = dataset(files)[0]
    assert sample.id == "a"
    assert sample.image.dtype == sample.labels.dtype == np.uint8
    np.testing.assert_array_equal(sample.image, np.arange(24).reshape(2, 4, 3))
    np.testing.assert_array_equal(sample.labels, IDS)


def test_a_palette_label_gives_indices_and_never_colours(files):
    image = Image.fromarray(IDS)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    assert image.mode == "P"
    image.save(files.labels)
    np.testing.assert_array_equal(dataset(files)[0].labels, IDS)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_palette_label_may_have_fewer_bits(tmp_path, bits):
    ids = np.array([[0, 1, 1, 0, 1]], np.uint8)
    image = Image.fromarray(ids)
    image.putpalette([0, 0, 0, 128, 0, 0] * 2 ** (bits - 1))
    image.save(tmp_path / "l.png", bits=bits)
    assert (tmp_path / "l.png").read_bytes()[24] == bits
    np.testing.assert_array_equal(read_index_mask(tmp_path / "l.png"), ids)


def test_a_black_and_white_label_gives_0_and_1(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "l.png")
    assert read_index_mask(tmp_path / "l.png").tolist() == [[1, 0]]


def test_the_void_id_becomes_255_and_other_ids_stay(files):
    Image.fromarray(np.array([[0, 1, 2, 11], [11, 255, 0, 0]], np.uint8)).save(files.labels)
    assert dataset(files, void=11)[0].labels.tolist() == [[0, 1, 2, 255], [255, 255, 0, 0]]


def test_grey_images_have_three_equal_channels(tmp_path):
    grey = np.array([[0, 9], [100, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "g.png")
    np.testing.assert_array_equal(read_image(tmp_path / "g.png"), np.stack([grey] * 3, -1))


def test_alpha_is_dropped(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (3, 4, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgba[..., :3])


@pytest.mark.parametrize("transparency", [None, bytes([0, 128, 255])])
def test_palette_images_become_their_colours(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette(PALETTE.tobytes())
    image.save(tmp_path / "p.png", **({"transparency": transparency} if transparency else {}))
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), PALETTE[None])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_images_are_rgb(tmp_path, mode):
    Image.new("RGB", (8, 6), (90, 90, 90)).convert(mode).save(tmp_path / "i.jpg", quality=100)
    image = read_image(tmp_path / "i.jpg")
    assert image.shape == (6, 8, 3)
    assert np.abs(image.astype(int) - 90).max() <= 3


def test_rotation_marks_are_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees"
    Image.new("RGB", (8, 4)).save(tmp_path / "i.jpg", exif=exif)
    assert read_image(tmp_path / "i.jpg").shape == (4, 8, 3)


# --- what is refused ---


def test_a_missing_image_is_named(files):
    files.image.unlink()
    assert refusal(dataset(files).__getitem__, 0) == (
        f"{files.image} does not exist; expected a PNG or JPEG file. Check the dataset's folder and split lists."
    )


def test_missing_labels_are_named(files):
    files.labels.unlink()
    sentence = f"{files.labels} does not exist; expected a PNG file. Check the dataset's folder and split lists."
    assert refusal(dataset(files).__getitem__, 0) == sentence
    assert refusal(dataset(files).labels, 0) == sentence


def test_a_folder_in_place_of_an_image_is_refused(tmp_path):
    assert refusal(read_image, tmp_path).startswith(f"{tmp_path} cannot be decoded ([Errno 21] Is a directory")


def test_unequal_sizes_are_refused_with_both_sizes(files):
    Image.fromarray(np.zeros((4, 2), np.uint8)).save(files.labels)
    assert refusal(dataset(files).__getitem__, 0) == (
        f"{files.image} is 2x4 (height x width) but its labels {files.labels} are 4x2 (height x width): "
        "expected equal sizes. Resize neither by hand; find the matching pair of files."
    )


def test_ids_that_no_class_has_are_counted(files):
    Image.fromarray(np.array([[0, 3, 3, 255], [254, 2, 3, 0]], np.uint8)).save(files.labels)
    assert refusal(dataset(files).labels, 0) == (
        f"{files.labels} holds label ids that no class has: 3 (3 pixels), 254 (1 pixels); expected 0..2, or 255 for ignored. "
        "Fix the file, or name every class of the dataset."
    )


def test_at_most_five_unknown_ids_are_listed(files):
    Image.fromarray(np.arange(100, 110, dtype=np.uint8)[None]).save(files.labels)
    assert "100 (1 pixels), 101 (1 pixels), 102 (1 pixels), 103 (1 pixels), 104 (1 pixels); expected" in refusal(dataset(files).labels, 0)


def test_truncated_files_are_refused(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    for name in ("i.png", "i.jpg"):
        path = tmp_path / name
        noise.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        sentence = refusal(read_image, path)
        assert sentence.startswith(f"{path} cannot be decoded (image file is truncated")
        assert sentence.endswith("); expected a whole PNG or JPEG file. Copy it again from its source.")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html><body>Please log in</body></html>", b"\x89PNG\r\n\x1a\n"])
def test_files_that_are_no_image_are_refused(tmp_path, content):
    path = tmp_path / "i.png"
    path.write_bytes(content)
    assert refusal(read_image, path) == f"{path} is no PNG or JPEG file. Copy it again from its source, or convert it first."
    assert refusal(read_index_mask, path) == f"{path} is no PNG file. Copy it again from its source, or convert it first."


@pytest.mark.parametrize("kind", ["gif", "bmp", "tiff", "webp"])
def test_other_formats_are_refused_whatever_their_name(tmp_path, kind):
    path = tmp_path / "i.png"
    Image.new("RGB", (4, 4)).save(path, format=kind)
    assert refusal(read_image, path) == f"{path} is no PNG or JPEG file. Copy it again from its source, or convert it first."


def test_jpeg_labels_are_refused_because_jpeg_changes_ids(files):
    Image.fromarray(IDS).save(files.labels, format="jpeg")
    assert refusal(dataset(files).labels, 0) == f"{files.labels} is no PNG file. Copy it again from its source, or convert it first."


@pytest.mark.parametrize(("mode", "shape"), [("RGB", (2, 4, 3)), ("RGBA", (2, 4, 4)), ("LA", (2, 4, 2))])
def test_colour_labels_are_refused(files, mode, shape):
    Image.fromarray(np.zeros(shape, np.uint8), mode=None).save(files.labels)
    assert refusal(dataset(files).labels, 0) == (
        f"{files.labels} has mode {mode}; expected one 8-bit channel of class ids (mode L or P). Save the mask as indices, not as colours."
    )


def test_16_bit_files_are_refused(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((2, 4), 1000, np.uint16)).save(path)
    assert refusal(read_index_mask, path) == (
        f"{path} has mode I;16; expected one 8-bit channel of class ids (mode L or P). Save the mask as indices, not as colours."
    )
    assert refusal(read_image, path) == (
        f"{path} has mode I;16 (more than 8 bits a channel); expected 8-bit RGB or grey. Convert it first."
    )


@pytest.mark.parametrize("size", [(12_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path, monkeypatch, size):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size))
    sentence = f"{path} declares more than {MAX_PIXELS} pixels; nothing was decoded. Crop or shrink the image first."
    assert refusal(read_image, path) == sentence
    path.write_bytes(png(*size, color=0))
    assert refusal(read_index_mask, path) == sentence


def test_an_image_just_below_the_limit_is_read_without_a_warning(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png(9_500, 10_000))  # Pillow warns from 89 million pixels on; here there are no data to decode
    assert refusal(read_image, path).startswith(f"{path} cannot be decoded (")


@given(place=st.integers(0, 199), value=st.integers(0, 255), kind=st.sampled_from(["png", "jpeg"]))
def test_a_damaged_file_is_an_image_or_an_input_error(tmp_path_factory, place, value, kind):
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        image = read_image(path)
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


# --- the hash of a split ---


def test_the_fingerprint_follows_the_labels_and_not_the_images(files):
    before = dataset(files).fingerprint()
    assert before == dataset(files).fingerprint()
    Image.new("RGB", (4, 2)).save(files.image)
    assert dataset(files).fingerprint() == before
    changed = IDS.copy()
    changed[0, 0] = 1
    Image.fromarray(changed).save(files.labels)
    assert dataset(files).fingerprint() != before


def test_the_fingerprint_follows_how_labels_are_read(files):
    prints = {dataset(files).fingerprint(), dataset(files, void=2).fingerprint(), dataset(files, files).fingerprint()}
    renamed = PairDataset([files], class_names=("a", "b", "c"), palette=PALETTE)
    assert len(prints | {renamed.fingerprint()}) == 4


def test_the_fingerprint_names_a_missing_label(files):
    files.labels.unlink()
    assert refusal(dataset(files).fingerprint) == (
        f"{files.labels} cannot be read: No such file or directory; expected a label PNG. Restore the file."
    )
