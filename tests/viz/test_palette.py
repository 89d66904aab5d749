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
def test_a_palette_file_reads_back_as_the_same_ids_and_shows_the_colours_of_the_classes(tmp_path, labels):
    palette_image(labels, PALETTE).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_index_mask(tmp_path / "p.png"), labels)
    with Image.open(tmp_path / "p.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colorize(labels, PALETTE))


def test_colours_are_those_of_the_palette_and_ignored_pixels_are_black():
    colours = colorize(LABELS, PALETTE)
    assert (colours.dtype, colours.shape) == (np.uint8, (2, 3, 3))
    np.testing.assert_array_equal(colours[0], PALETTE[[0, 1, 10]])
    np.testing.assert_array_equal(colours[1], [(0, 0, 0), PALETTE[4], (0, 0, 0)])
    assert colorize(LABELS, np.full((256, 3), 9, np.uint8))[1, 0].tolist() == [0, 0, 0]  # of 256 colours, too


@pytest.mark.parametrize("opacity", [0, 0.25, 1])
def test_an_overlay_mixes_colours_and_leaves_ignored_pixels(opacity):
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    mixed = overlay(image, LABELS, PALETTE, opacity=opacity)
    assert mixed.dtype == np.uint8
    np.testing.assert_array_equal(mixed[1, [0, 2]], image[1, [0, 2]])
    np.testing.assert_allclose(mixed[0], (1 - opacity) * image[0] + opacity * PALETTE[[0, 1, 10]], atol=0.5)
