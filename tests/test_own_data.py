"""From a labelled folder to a training run in three commands, as docs/data.md has them."""

import json

import numpy as np
import pytest
from PIL import Image

from segkit.data.datasets.road_classes import CLASS_NAMES
from segkit.data.datasets.streets import Streets

TINY = [
    "model.encoder.weights=null", "model.encoder.width=0.0625", "model.decoder.head_width=16", "transforms.crop=[32, 32]",
    "training.epochs=1",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Twelve drawn scenes, the masks as colours or as ids."""

    def make(colors: bool):
        dataset = Streets("train", size=(40, 56), train_images=12)
        for kind in ("images", "labels"):
            (tmp_path / "own" / kind).mkdir(parents=True)
        for sample in dataset:
            Image.fromarray(sample.image).save(tmp_path / "own" / "images" / f"{sample.id}.jpg")
            palette = np.vstack([dataset.palette, np.zeros((245, 3), np.uint8)])  # void is black
            mask = palette[sample.labels] if colors else sample.labels
            Image.fromarray(mask).save(tmp_path / "own" / "labels" / f"{sample.id}.png")
        return tmp_path / "own"

    return make


@pytest.mark.parametrize("colors", [True, False])
def test_three_commands_lead_from_a_labelled_folder_to_scores(folder, segkit, colors, tmp_path):
    root = folder(colors)
    code, out, err = segkit("data", "init", root)
    assert (code, err) == (0, "")
    assert f"{root}/train.txt: 8 images" in out
    assert f"Next: segkit data verify configs/own/fcn8s.yaml data.root={root}" in out
    if colors:
        text = (root / "classes.yaml").read_text()
        assert "- class 0: [0, 0, 0]" in text
        (root / "classes.yaml").write_text(text.replace("- class 0: [0, 0, 0]", "- ignored: [0, 0, 0]"))
    code, out, err = segkit("data", "verify", "configs/own/fcn8s.yaml", f"data.root={root}")
    assert (code, err) == (0, ""), out
    code, out, err = segkit("train", "configs/own/fcn8s.yaml", f"data.root={root}", *TINY, "--run", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "mean IoU" in out


def test_init_says_what_it_found_and_keeps_what_is_there(folder, segkit):
    root = folder(colors=False)
    (root / "labels" / "streets-train-00003.png").unlink()
    (root / "classes.yaml").write_text(json.dumps(CLASS_NAMES))
    code, out, err = segkit("data", "init", root, "--val", "0.3", "--test", "0.2")
    assert (code, err) == (0, "")
    assert f"{root}/classes.yaml is kept." in out
    assert f"{root}/val.txt: 3 images" in out
    assert "Images without a mask, which are in no list: 1" in out
    out = segkit("data", "init", root, "--val", "0.6")[1]
    assert "test.txt are kept; --val, --test and --seed change nothing." in out
    assert segkit("data", "init", root / "nowhere")[0] == 2
