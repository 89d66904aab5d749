"""Image and mask files are read as they are, or refused with one sentence that names the file."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from png_writer import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, chunk, interlaced_rows, png, rows

from segkit.data import faults
from segkit.data.faults import DataError
from segkit.data.files.headers import MAX_PIXELS
from segkit.data.files.images import MAX_BYTES, read_image, read_index_mask, read_labels
from segkit.errors import InputError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def refused(function, path):
    """Kind and detail of the fault."""
    with pytest.raises(DataError) as caught:
        function(path)
    assert caught.value.fault.place == str(path)
    return caught.value.fault.kind, caught.value.fault.detail


@pytest.fixture
def write(tmp_path):
    """Writes bytes to a file."""

    def write(content, name="a.png"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


# --- masks ---


@pytest.mark.parametrize(("depth", "color"), [(d, c) for c in (GREY, PALETTE) for d in (2, 4, 8)])
def test_a_mask_gives_its_ids_whatever_its_bits(write, depth, color):
    ids = [[0, 1, 2, 3, 2], [3, 2, 1, 0, 1]]
    colors = chunk(b"PLTE", bytes(range(100, 112))) if color == PALETTE else b""
    path = write(png(5, 2, depth=depth, color=color, rows=rows(ids, depth=depth), before=colors))
    assert read_index_mask(path).tolist() == ids


def test_the_largest_id_of_four_grey_bits_is_15_and_not_255(write):
    assert read_index_mask(write(png(2, 1, depth=4, color=GREY, rows=rows([[15, 7]], depth=4)))).tolist() == [[15, 7]]


def test_a_black_and_white_mask_gives_0_and_1(write):
    assert read_index_mask(write(png(3, 1, depth=1, color=GREY, rows=rows([[1, 0, 1]], depth=1)))).tolist() == [
        [1, 0, 1]
    ]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (8, 8), (9, 17)])
def test_an_interlaced_mask_gives_its_ids(write, height, width):
    ids = NOISE[:height, :width, 0].tolist()
    path = write(png(width, height, color=GREY, rows=interlaced_rows(ids), interlaced=True))
    assert read_index_mask(path).tolist() == ids


def test_transparency_of_a_palette_changes_no_id(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    assert read_index_mask(tmp_path / "a.png").tolist() == [[0, 1, 2]]


def test_an_rgb_mask_gives_its_colours_and_no_ids(write, message):
    path = write(png(1, 1, rows=b"\0\1\2\3"))
    assert read_labels(path).tolist() == [[[1, 2, 3]]]
    with pytest.raises(InputError) as caught:
        read_index_mask(path)
    message(caught.value, path)


@pytest.mark.parametrize(
    ("color", "name", "pixel"), [(RGBA, "RGB and alpha", b"\0\1\2\3\4"), (GREY_ALPHA, "grey and alpha", b"\0\1\2")]
)
def test_a_mask_with_alpha_is_refused(write, color, name, pixel):
    assert refused(read_labels, write(png(1, 1, color=color, rows=pixel))) == (faults.ALPHA_LABEL, name)


def test_a_mask_that_lacks_rows_is_refused(write):
    short = png(3, 2, color=GREY, rows=rows([[1, 2, 3]]))
    assert refused(read_labels, write(short)) == (faults.DAMAGED, "it holds 4 of 8 bytes of pixels")


def test_a_mask_whose_pixels_are_no_zlib_stream_is_refused(write):
    header = struct.pack(">IIBBBBB", 3, 2, 8, GREY, 0, 0, 0)
    path = write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"no zlib") + chunk(b"IEND"))
    kind, detail = refused(read_labels, path)
    assert kind == faults.DAMAGED
    assert detail.startswith("its pixels are damaged: ")


# --- images ---


def test_grey_images_have_three_equal_channels(write):
    assert read_image(write(png(2, 1, color=GREY, rows=rows([[9, 255]])))).tolist() == [[[9] * 3, [255] * 3]]
    assert read_image(write(png(2, 1, depth=1, color=GREY, rows=rows([[0, 1]], depth=1)))).tolist() == [
        [[0] * 3, [255] * 3]
    ]


@pytest.mark.parametrize(
    ("color", "pixel", "expected"), [(RGBA, b"\0\1\2\3\0", [1, 2, 3]), (GREY_ALPHA, b"\0\7\0", [7, 7, 7])]
)
def test_alpha_is_dropped(write, color, pixel, expected):
    assert read_image(write(png(1, 1, color=color, rows=pixel))).tolist() == [[expected]]


@pytest.mark.parametrize("transparency", [b"", chunk(b"tRNS", bytes([0, 128]))])
def test_palette_images_become_their_colours(write, transparency):
    colors = chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 50])) + transparency
    assert read_image(write(png(2, 1, color=PALETTE, rows=rows([[0, 1]]), before=colors))).tolist() == [
        [[10, 20, 30], [200, 100, 50]]
    ]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_images_are_rgb(tmp_path, mode):
    Image.new("RGB", (8, 6), (90, 90, 90)).convert(mode).save(tmp_path / "i.jpg", quality=100)
    image = read_image(tmp_path / "i.jpg")
    assert image.shape == (6, 8, 3)
    assert np.abs(image.astype(int) - 90).max() <= 3


def test_an_inverted_cmyk_colour_is_that_colour(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "red.jpg").astype(int) - [255, 0, 0]).max() <= 3


def test_the_first_picture_of_a_camera_file_is_read(tmp_path):
    first, second = Image.new("RGB", (8, 6), (90, 90, 90)), Image.new("RGB", (4, 3))
    first.save(tmp_path / "i.jpg", format="MPO", save_all=True, append_images=[second])
    assert read_image(tmp_path / "i.jpg").shape == (6, 8, 3)


def test_rotation_marks_are_ignored_for_images_and_masks_alike(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees"
    Image.fromarray(NOISE).save(tmp_path / "i.jpg", exif=exif)
    Image.fromarray(NOISE).save(tmp_path / "i.png", exif=exif)
    Image.fromarray(NOISE[..., 0]).save(tmp_path / "m.png", exif=exif)
    assert chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) in (tmp_path / "m.png").read_bytes()
    assert read_image(tmp_path / "i.jpg").shape == (40, 50, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "i.png"), NOISE)
    np.testing.assert_array_equal(read_index_mask(tmp_path / "m.png"), NOISE[..., 0])


# --- what is no such file ---


def test_what_is_no_plain_file_with_content_is_refused(tmp_path, write):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for read in (read_image, read_labels):
        assert refused(read, tmp_path) == (faults.UNREADABLE, "it is a folder")
        assert refused(read, tmp_path / "pipe.png") == (faults.UNREADABLE, "it is not a plain file")
        assert refused(read, tmp_path / "nowhere.png") == (faults.MISSING, "")
        assert refused(read, tmp_path / "loop.png") == (faults.UNREADABLE, "Too many levels of symbolic links")
        assert refused(read, tmp_path / ("a" * 300)) == (faults.UNREADABLE, "File name too long")
        assert refused(read, tmp_path / "a\0b") == (faults.UNREADABLE, "embedded null byte")
        assert refused(read, write(b"")) == (faults.EMPTY, "")


def test_a_file_that_nobody_may_read_is_refused_as_such(tmp_path, write):
    path = write(png(1, 1, rows=b"\0\1\2\3"))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # nobody: root may read everything
    try:
        found = refused(read_image, path)
    finally:
        os.seteuid(user)
    assert found == (faults.UNREADABLE, "Permission denied")


def test_files_that_are_no_image_are_refused(write):
    path = write(b"\x89PNG\r\n")
    assert (refused(read_image, path)[0], refused(read_labels, path)[0]) == (faults.NO_IMAGE, faults.NO_PNG)
    path = write(b"\xff\xd8\xff")
    assert refused(read_image, path)[0] == faults.DAMAGED
    assert refused(read_labels, path) == (faults.NO_PNG, "it is a JPEG file")


def test_a_jpeg_that_is_called_png_is_an_image_and_no_mask(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "i.png", format="jpeg")
    assert read_image(tmp_path / "i.png").shape == (40, 50, 3)
    assert refused(read_labels, tmp_path / "i.png") == (faults.NO_PNG, "it is a JPEG file")


# --- damage ---


@pytest.mark.parametrize("name", ["i.png", "i.jpg"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    path = tmp_path / name
    Image.fromarray(NOISE).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    kind, detail = refused(read_image, path)
    assert kind == faults.DAMAGED
    assert detail.startswith("image file is truncated")


def test_a_flipped_bit_in_the_pixels_of_a_png_is_found(tmp_path):
    path = tmp_path / "i.png"
    Image.fromarray(NOISE).save(path, compress_level=0)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    assert refused(read_image, path) == (faults.DAMAGED, "its part IDAT at byte 33 is damaged")


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT") + chunk(b"IEND") * 2,
        png(1, 1, rows=b"\0\1\2\3", before=png(9, 9)[8:33]),
        png(1, 1, before=chunk(b"gAMA") * 100_000),
        png(0, 4),
        png(1, 1, depth=3),
        png(1, 1, color=5),
    ],
    ids=["no chunk", "no header", "two headers", "many chunks", "no width", "three bits", "no colour type"],
)
def test_a_png_that_makes_no_sense_is_refused(write, message, content):
    kind, detail = refused(read_image, write(content))
    assert kind == faults.DAMAGED
    message(detail)


# --- what Pillow would read, and not mean ---


@pytest.mark.parametrize(("color", "channels"), [(GREY, 1), (GREY_ALPHA, 2), (RGB, 3), (RGBA, 4)])
def test_16_bit_files_are_refused(write, color, channels):
    path = write(png(1, 1, depth=16, color=color, rows=bytes(1 + 2 * channels)))
    for read in (read_labels, read_image):
        wrong = read is read_labels and color in (GREY_ALPHA, RGBA)
        assert refused(read, path)[0] == (faults.ALPHA_LABEL if wrong else faults.DEEP)


def test_an_animation_is_refused(tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    for read in (read_image, read_labels):
        assert refused(read, tmp_path / "a.png") == (faults.ANIMATED, "3 frames")


# --- bombs ---


@pytest.mark.parametrize("size", [(12_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_before_decoding(write, monkeypatch, size):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    for function, color in ((read_image, RGB), (read_labels, GREY)):
        detail = f"{size[1]}x{size[0]} pixels; at most {MAX_PIXELS} are decoded"
        assert refused(function, write(png(*size, color=color))) == (faults.HUGE, detail)


def test_an_image_just_below_the_limit_is_no_bomb(write):
    path = write(png(8_900, 10_000, color=GREY))  # without data to decode
    assert MAX_PIXELS == 8_900 * 10_000
    assert refused(read_labels, path) == (faults.DAMAGED, "it holds 0 of 89010000 bytes of pixels")


@pytest.mark.parametrize(
    ("name", "head", "place"),
    [
        (b"zTXt", b"a\0\0", "before"),
        (b"zTXt", b"a\0\0", "after"),
        (b"iTXt", b"a\0\1\0\0\0", "before"),
        (b"iTXt", b"a\0\1\0\0\0", "after"),
        (b"iCCP", b"a\0\0", "before"),
    ],
)
def test_a_text_that_unpacks_to_much_is_refused(write, name, head, place):
    bomb = chunk(name, head + zlib.compress(bytes(20_000_000)))
    path = write(png(1, 1, rows=b"\0\1\2\3", **{place: bomb}))
    kind, detail = refused(read_image, path)
    assert kind == faults.DAMAGED
    assert detail.startswith("Decompressed data too large")


def test_pixels_that_unpack_to_more_than_the_image_are_left_packed(write):
    path = write(png(1, 1, color=GREY, rows=b"\0\7" + bytes(50_000_000)))
    assert read_labels(path).tolist() == [[7]]


def test_a_file_of_enormous_size_is_refused_unread(tmp_path):
    path = tmp_path / "i.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse
    assert refused(read_image, path) == (faults.HUGE, f"{MAX_BYTES + 1} bytes; at most {MAX_BYTES} are read")
