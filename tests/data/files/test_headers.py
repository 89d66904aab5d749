"""What first bytes say, of files that are written byte by byte."""

import struct

import pytest
from PIL import Image

from segkit.data import faults
from segkit.data.faults import DataError
from segkit.data.files.headers import Header
from segkit.data.files.images import read_image, read_image_header, read_labels


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def frame(height: int, width: int, channels: int) -> bytes:
    return struct.pack(">BHHB", 8, height, width, channels) + b"\1\x11\0" * channels


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC, 0xE1, 0xDB])
def test_the_size_of_a_jpeg_file_is_that_of_its_frame_and_not_of_another_segment(tmp_path, marker):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8" + segment(marker, frame(7, 7, 1)) + b"\xff" + segment(0xC2, frame(300, 200, 4)))
    assert read_image_header(path) == Header("JPEG", 300, 200, 8, "CMYK")


def test_of_a_jpeg_file_without_a_frame_the_size_is_unknown(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8" + segment(0xC4, frame(7, 7, 1)))
    assert read_image_header(path) == Header("JPEG", 0, 0, 8, "RGB")


@pytest.mark.parametrize("name", ["WebP", "TIFF", "GIF", "BMP"])
def test_files_of_other_formats_are_named(tmp_path, name):
    path = tmp_path / "a.png"
    Image.new("RGB", (3, 2)).save(path, name)
    for read, kind in (
        (read_image, faults.NO_IMAGE),
        (read_image_header, faults.NO_IMAGE),
        (read_labels, faults.NO_PNG),
    ):
        with pytest.raises(DataError) as caught:
            read(path)
        assert (caught.value.fault.kind, caught.value.fault.detail) == (kind, f"it is {name}")


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"<!DOCTYPE html><p>", "it is HTML"), (b"\xef\xbb\xbf\r\n <HTML lang=en>", "it is HTML"), (b"anything", "")],
)
def test_a_page_in_place_of_an_image_is_named(tmp_path, content, found):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_image_header(tmp_path / "a.png")
    assert caught.value.fault.detail.partition(",")[0] == found
