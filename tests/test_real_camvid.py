"""The real dataset with real weights, for one epoch. Needs both; skips where one is absent."""

import json
import os
from pathlib import Path

import pytest

from segkit.cli.app import main

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_one_epoch_on_camvid_from_imagenet_beats_thirty_percent(real_camvid, tmp_path, monkeypatch, capsys):
    weights = Path(os.environ.get("SEGKIT_VGG16_WEIGHTS", ROOT / "weights/vgg16.safetensors"))
    if not weights.is_file():
        pytest.skip("no ImageNet weights: set SEGKIT_VGG16_WEIGHTS to a VGG16 file")
    settings = [f"data.root={real_camvid}", f"model.encoder.weights={weights}", "training.epochs=1"]
    command = ["segkit", "train", str(ROOT / "configs/camvid/fcn8s.yaml"), *settings, "--run", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code, capsys.readouterr().err
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["test"]["mean_iou"] > 0.3
    assert result["test"]["classes_averaged"] == 11
