"""What tests of several rooms share: a made-up CamVid, the real one, and caches that stay out of the home folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

REPOSITORY = Path(__file__).parents[1]

settings.register_profile("segkit", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("segkit")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """Where this test's class counts go; it does not exist yet."""
    folder = tmp_path / "segkit-cache"
    monkeypatch.setenv("SEGKIT_CACHE", str(folder))
    return folder


@pytest.fixture
def tiny_camvid(tmp_path):
    """CamVid's layout with 7, 3 and 4 images of 12x16 pixels; labels hold ids 0..10 and 11 (void)."""
    root, rng = tmp_path / "tiny" / "CamVid", np.random.default_rng(0)
    for split, count in {"train": 7, "val": 3, "test": 4}.items():
        images, labels = root / split, root / f"{split}annot"
        images.mkdir(parents=True)
        labels.mkdir()
        names = [f"{split}_{index}.png" for index in range(count)]
        for name in names:
            Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).save(images / name)
            Image.fromarray(rng.integers(0, 12, (12, 16), np.uint8)).save(labels / name)
        lines = [f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n" for name in names]
        (root / f"{split}.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="session")
def real_camvid():
    """The folder of the real CamVid."""
    places = [os.environ.get("SEGKIT_CAMVID"), REPOSITORY / "data" / "CamVid", REPOSITORY.parent / "shared" / "data" / "CamVid"]
    found = [Path(place) for place in places if place and (Path(place) / "train.txt").is_file()]
    if not found:
        pytest.skip("CamVid is not here: set SEGKIT_CAMVID, or put it into data/CamVid")
    return found[0]
