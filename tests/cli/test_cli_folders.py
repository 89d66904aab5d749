"""Folders that cannot be written, and files that are not there: found before the work, one sentence, exit code 2."""

import numpy as np
import pytest
from PIL import Image

from segkit.system.files import sha256


@pytest.fixture
def scene(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def contents(folder):
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()}


def refused(found, start):
    """The message, if the command ended as for bad input."""
    code, out, errors = found
    assert (code, errors.count("\n")) == (2, 1), errors
    assert errors.startswith(f"segkit: {start}"), errors
    return out


def test_a_run_in_a_folder_that_cannot_be_written_is_refused(segkit, tiny, read_only, tmp_path):
    run = read_only / "runs" / "fcn8s"
    refused(segkit("train", "configs/streets/fcn8s.yaml", *tiny, "--run", run), "")
    assert not run.parent.exists()
    (tmp_path / "file").write_text("")
    refused(segkit("train", "configs/streets/fcn8s.yaml", *tiny, "--run", tmp_path / "file" / "run"), "")


def test_what_cannot_be_written_is_refused_before_the_work(segkit, finished, read_only, scene, monkeypatch):
    run = finished("segnet")
    before = contents(run)
    monkeypatch.setattr("segkit.build.build_model", lambda *_, **__: pytest.fail("the work began"))
    place = read_only / "out"
    start = f"--out {place}: {read_only} cannot be written ("
    assert refused(segkit("predict", run, scene, "--out", place), start) == ""
    assert refused(segkit("bn-statistics", run, "--out", place / "bn.safetensors"), start) == ""
    command = ("import-caffe", scene, "--config", "configs/streets/fcn8s.yaml", "--out", place / "x.safetensors")
    assert refused(segkit(*command), start) == ""
    assert refused(segkit("compare", run, "--out", place), start) == ""
    assert refused(segkit("data", "stats", run / "config.yaml", "--out", place), start) == ""
    assert contents(run) == before


def test_nothing_is_predicted_unless_every_image_can_be_read(segkit, finished, scene, tmp_path):
    run, out = finished("fcn32s"), tmp_path / "out"
    broken = tmp_path / "broken.png"
    broken.write_bytes(scene.read_bytes()[:200])
    refused(segkit("predict", run, scene, broken, "--out", out), f"{broken}: truncated or damaged file: ")
    found = segkit("predict", run, scene, tmp_path / "none.png", "--out", out)
    refused(found, f"{tmp_path}/none.png does not exist; expected a PNG or JPEG")
    found = segkit("predict", run, scene, tmp_path, "--out", out)
    refused(found, f"{tmp_path} is a folder; expected a PNG or JPEG file. Give its files: ")
    assert not out.exists()
    (out / "scene_overlay.png").mkdir(parents=True)
    refused(segkit("predict", run, scene, "--out", out), f"{out}/scene_overlay.png is a folder; nothing was written.")
    assert contents(out) == {}


def test_an_uncertainty_of_an_earlier_call_does_not_stay_beside_other_labels(segkit, finished, scene, tmp_path):
    run, out = finished("fcn32s"), tmp_path / "out"
    (out / "other_uncertainty.png").parent.mkdir()
    (out / "other_uncertainty.png").write_text("of another image")
    assert segkit("predict", run, scene, "--out", out, "--samples", 2)[0] == 0
    assert sorted(contents(out)) == ["other_uncertainty.png", "scene.png", "scene_overlay.png", "scene_uncertainty.png"]
    assert segkit("predict", run, scene, "--out", out)[0] == 0
    assert sorted(contents(out)) == ["other_uncertainty.png", "scene.png", "scene_overlay.png"]


def test_an_image_is_never_taken_for_an_uncertainty_of_an_earlier_call(segkit, finished, scene, tmp_path):
    run, other = finished("fcn32s"), tmp_path / "scene_uncertainty.png"
    other.write_bytes(scene.read_bytes())
    found = segkit("predict", run, scene, other, "--out", tmp_path)
    refused(found, f"{tmp_path}/scene.png is one of the images; nothing was written.")
    code, out = segkit("predict", run, other, "--out", tmp_path / "out")[:2]
    assert (code, other.read_bytes()) == (0, scene.read_bytes())
    assert "scene_uncertainty.png" in out


@pytest.mark.parametrize("command", ["show", "train"])
def test_a_folder_is_no_config(segkit, tmp_path, command):
    refused(segkit(command, tmp_path), f"The config file '{tmp_path}' is a folder; expected a YAML file.")


SINGLE = ["data.size=[32,32]", "transforms.input_scale=0.5"]  # segnet's last encoder maps are 1x1


def test_a_batch_norm_cannot_be_trained_on_a_single_value(segkit, tiny, tmp_path):
    settings = [*tiny, *SINGLE, "training.batch_size=1"]
    found = segkit("train", "configs/streets/segnet.yaml", *settings, "--run", tmp_path / "run")
    refused(found, "batch norm cannot train on one value per channel (feature map [1, 32, 1, 1]); expected two or ")


@pytest.mark.parametrize("batch_size", [1, 7])
def test_statistics_of_a_batch_norm_need_more_than_a_single_value(segkit, tiny, tmp_path, batch_size):
    run, out = tmp_path / "run", tmp_path / "bn.safetensors"
    assert segkit("train", "configs/streets/segnet.yaml", *tiny, *SINGLE, "training.epochs=1", "--run", run)[0] == 0
    found = segkit("bn-statistics", run, "--out", out, "--set", f"training.batch_size={batch_size}")
    refused(found, "a batch of 1 training images gives a batch norm a single value per channel; expected two or more")
    assert not out.exists()
