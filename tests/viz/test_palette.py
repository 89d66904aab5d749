"""Palette images hold ids; pictures hold colours."""

import numpy as np
import pytest
from PIL import Image

from segkit.data.datasets.road_classes import PALETTE
from segkit.data.files.images import read_index_mask
from segkit.viz.overlay import overlay
from segkit.viz.palette import colorize, palette_image

LABELS = np.array([[0, 1, 10], [255, 4, 255]], np.uint8)


@pytest.mark.parametrize("labels", [LABELS, np.arange(256, dtype=np.uint8).reshape(16, 16), np.zeros((1, 1), np.uint8)])
def test_a_palette_file_reads_back_as_the_same_ids(tmp_path, labels):
    palette_image(labels, PALETTE).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_index_mask(tmp_path / "p.png"), labels)


def test_a_palette_file_shows_the_colours_of_the_classes(tmp_path):
    palette_image(LABELS, PALETTE).save(tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colorize(LABELS, PALETTE))


def test_colours_are_those_of_the_palette_and_ignored_pixels_are_black():
    colours = colorize(LABELS, PALETTE)
    assert colours.dtype == np.uint8
    assert colours.shape == (2, 3, 3)
    np.testing.assert_array_equal(colours[0], PALETTE[[0, 1, 10]])
    np.testing.assert_array_equal(colours[1], [(0, 0, 0), PALETTE[4], (0, 0, 0)])


def test_a_palette_of_256_colours_still_leaves_ignored_pixels_black():
    assert colorize(LABELS, np.full((256, 3), 9, np.uint8))[1, 0].tolist() == [0, 0, 0]


def test_an_overlay_mixes_colours_and_leaves_ignored_pixels():
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    mixed = overlay(image, LABELS, PALETTE, opacity=0.25)
    assert mixed.dtype == np.uint8
    np.testing.assert_array_equal(mixed[1, [0, 2]], image[1, [0, 2]])
    np.testing.assert_allclose(mixed[0], 0.75 * image[0] + 0.25 * PALETTE[[0, 1, 10]], atol=0.5)


def test_an_overlay_is_the_image_at_opacity_0_and_the_colours_at_1():
    image = np.full((2, 3, 3), 77, np.uint8)
    np.testing.assert_array_equal(overlay(image, LABELS, PALETTE, opacity=0), image)
    np.testing.assert_array_equal(overlay(image, LABELS, PALETTE, opacity=1)[0], PALETTE[[0, 1, 10]])
