"""What the command line refuses: one sentence that names the mistake, exit code 2, and nothing is written over."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("training.epohs=3", "training.epohs = 3"),
        ("training.batch_size=four", "training.batch_size = 'four'"),
        ("model.decoder=fcn9s", "model.decoder.name = 'fcn9s'"),
        ("model.decoder.head_width=wide", "model.decoder.head_width = 'wide'"),
    ],
    ids=["key", "number", "name", "option"],
)
def test_a_wrong_setting_is_explained(segkit, message, change, named):
    code, _, errors = segkit("train", "configs/streets/fcn8s.yaml", change)
    assert code == 2
    message(errors, "configs/streets/fcn8s.yaml", named)


def test_every_problem_of_a_config_is_named_at_once(segkit):
    code, _, errors = segkit("show", "configs/streets/fcn8s.yaml", "seed=-1", "training.workers=x", "optimizer=adam")
    assert code == 2
    assert len(errors.splitlines()) == 5 - 1
    assert "has 3 problems:" in errors


def test_at_most_fifty_problems_of_a_config_are_listed(segkit, message):
    code, _, errors = segkit("show", "configs/streets/fcn8s.yaml", *[f"k{index}=1" for index in range(60)])
    first, *lines, last = errors.splitlines()
    assert (code, len(lines), last) == (2, 50, "  and 10 more")
    message(first, 60, "configs/streets/fcn8s.yaml")


def test_weights_that_do_not_exist_are_named_and_nothing_is_left_behind(segkit, tiny, tmp_path, message):
    settings = [*tiny, "model.encoder.weights=nowhere/vgg16.safetensors"]
    code, _, errors = segkit("train", "configs/streets/fcn8s.yaml", *settings, "--run", tmp_path / "run")
    assert code == 2
    message(errors, "nowhere/vgg16.safetensors")


def bad_camvid(folder: Path, *, labels: np.ndarray | None = None, without: str = "") -> Path:
    """CamVid's layout with one image per split, and something wrong with it."""
    image = np.zeros((32, 48, 3), np.uint8)
    labels = np.zeros((32, 48), np.uint8) if labels is None else labels
    for split in ("train", "val", "test"):
        for name, array in ((split, image), (f"{split}annot", labels)):
            (folder / name).mkdir(parents=True)
            if name != without:
                Image.fromarray(array).save(folder / name / "a.png")
        (folder / f"{split}.txt").write_text(f"/SegNet/CamVid/{split}/a.png /SegNet/CamVid/{split}annot/a.png\n")
    return folder


def camvid_error(segkit, root: Path, tmp_path: Path) -> str:
    settings = ["model.encoder.weights=null", "model.encoder.width=0.1", "training.batch_size=1", "training.epochs=1"]
    code, _, errors = segkit(
        "train", "configs/camvid/fcn8s.yaml", f"data.root={root}", *settings, "--run", tmp_path / "run"
    )
    assert code == 2
    assert "Traceback" not in errors
    assert errors.count("\n") == 1
    return errors.removeprefix("segkit: ").rstrip("\n").replace(str(root), "ROOT")


def test_a_missing_folder_is_named(segkit, tmp_path, message):
    message(camvid_error(segkit, tmp_path / "nowhere", tmp_path), "data.root = 'ROOT'")


def test_a_missing_test_split_is_found_before_training(segkit, tmp_path, message):
    root = bad_camvid(tmp_path / "data")
    (root / "test.txt").unlink()
    message(camvid_error(segkit, root, tmp_path), "ROOT/test.txt")
    assert not (tmp_path / "run").exists()


def test_an_image_without_label_is_named(segkit, tmp_path):
    error = camvid_error(segkit, bad_camvid(tmp_path / "data", without="trainannot"), tmp_path)
    assert error.startswith("ROOT/trainannot/a.png: missing file. ")


def test_a_label_of_another_size_is_named(segkit, tmp_path, message):
    error = camvid_error(segkit, bad_camvid(tmp_path / "data", labels=np.zeros((32, 40), np.uint8)), tmp_path)
    message(error, "ROOT/train/a.png", "32x48", "32x40")


def test_a_label_id_out_of_range_is_named(segkit, tmp_path, message):
    labels = np.zeros((32, 48), np.uint8)
    labels[:2, :3] = 17
    expected = "17 (6 pixels); expected 0..10, or 11 or 255 for void"
    error = camvid_error(segkit, bad_camvid(tmp_path / "data", labels=labels), tmp_path)
    message(error, "ROOT/trainannot/a.png", expected)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_that_is_all_void_is_found_before_training(segkit, tmp_path, split, message):
    root = bad_camvid(tmp_path / "data")
    Image.fromarray(np.full((32, 48), 11, np.uint8)).save(root / f"{split}annot/a.png")
    message(camvid_error(segkit, root, tmp_path), split)
    assert not (tmp_path / "run").exists()


def test_a_damaged_test_label_is_found_before_training(segkit, tmp_path, message):
    root = bad_camvid(tmp_path / "data")
    (root / "testannot/a.png").write_bytes(b"no picture")
    message(camvid_error(segkit, root, tmp_path), "ROOT/testannot/a.png")
    assert not (tmp_path / "run").exists()


def test_a_truncated_image_is_named(segkit, tmp_path, message):
    root = bad_camvid(tmp_path / "data")
    noise = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    Image.fromarray(noise).save(root / "train/a.png")
    whole = (root / "train/a.png").read_bytes()
    (root / "train/a.png").write_bytes(whole[: len(whole) // 2])
    message(camvid_error(segkit, root, tmp_path), "ROOT/train/a.png")


def test_a_folder_that_is_no_run_is_refused(segkit, tmp_path, message):
    code, _, errors = segkit("evaluate", tmp_path)
    assert code == 2
    message(errors, tmp_path, "config.yaml", "environment.json")


def test_a_run_of_another_config_is_never_overwritten(segkit, finished, message):
    run = finished("fcn32s")
    code, _, errors = segkit("train", run / "config.yaml", "seed=1", "--run", run)
    assert code == 2
    message(errors, run, "seed (0 there, 1 here)", f"model.initialize_from={run}")


def test_predict_never_writes_over_an_image_or_twice(segkit, finished, tmp_path, message):
    run = finished("fcn32s")
    for name in ("a/x.png", "b/x.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / name)
    before = (tmp_path / "a/x.png").read_bytes()
    code, _, errors = segkit("predict", run, tmp_path / "a/x.png", "--out", tmp_path / "a")
    assert (code, (tmp_path / "a/x.png").read_bytes()) == (2, before)
    message(errors, f"{tmp_path}/a/x.png")
    code, _, errors = segkit("predict", run, tmp_path / "a/x.png", tmp_path / "b/x.png", "--out", tmp_path / "out")
    assert code == 2
    assert "would both be written to" in errors
    assert not (tmp_path / "out").exists()


def test_runs_that_were_scored_on_different_images_are_not_compared(segkit, finished, tmp_path, message):
    one = finished("fcn32s")
    assert segkit("train", one / "config.yaml", "data.seed=1", "--run", tmp_path / "other")[0] == 0
    code, _, errors = segkit("compare", one, tmp_path / "other")
    assert code == 2
    message(errors, one, tmp_path / "other")


def test_too_little_memory_is_said_with_what_helps(segkit, monkeypatch, message):
    monkeypatch.setattr(
        "segkit.build.load_config", lambda *_: torch.empty(2**60, dtype=torch.uint8)
    )  # torch's own error
    code, _, errors = segkit("train", "configs/streets/fcn8s.yaml")
    assert code == 1
    message(errors, "training.batch_size", "transforms.crop", "training.workers", "training.accumulation")


def test_a_mistake_in_the_code_keeps_its_traceback(segkit, monkeypatch):
    def mistake(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("segkit.build.load_config", mistake)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        segkit("train", "configs/streets/fcn8s.yaml")
