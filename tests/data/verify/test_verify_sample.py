"""What one sample shows, in words."""

import numpy as np
import pytest
from PIL import Image

from segkit.data.dataset import Pair, PairDataset
from segkit.data.datasets.camvid import CLASSES
from segkit.data.verify import kinds
from segkit.data.verify.sample import see


@pytest.fixture
def faults(tmp_path):
    """{kind: detail} of an image and a label of these sizes and formats."""

    def look(image, labels, image_format="PNG", labels_format="PNG"):
        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(0, 256, (*image, 3), np.uint8)).save(tmp_path / "image.png", image_format)
        Image.fromarray(rng.integers(0, 11, labels, np.uint8)).save(tmp_path / "labels.png", labels_format)
        dataset = PairDataset([Pair("a", tmp_path / "image.png", tmp_path / "labels.png")], CLASSES)
        return {fault.kind: fault.detail for fault in see(dataset, 0).faults}

    return look


@pytest.mark.parametrize(
    ("labels", "how"),
    [((90, 40), ": transposed"), ((20, 45), ": scaled by 0.5"), ((40, 80), ""), ((13, 30), ": scaled by 0.325")],
)
def test_how_sizes_differ_is_said(faults, labels, how):
    height, width = labels
    assert faults((40, 90), labels) == {kinds.SIZES_DIFFER: f"40x90 (height x width), its label {height}x{width}{how}"}


def test_files_of_another_format_are_named(faults):
    assert faults((4, 9), (4, 9), "WebP", "TIFF") == {kinds.NO_IMAGE: "it is WebP", kinds.NO_PNG: "it is TIFF"}
