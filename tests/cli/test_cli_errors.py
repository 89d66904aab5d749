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


def good_camvid(folder: Path) -> Path:
    """CamVid's layout with one image per split."""
    for split in ("train", "val", "test"):
        for name, array in ((split, np.zeros((32, 48, 3), np.uint8)), (f"{split}annot", np.zeros((32, 48), np.uint8))):
            (folder / name).mkdir(parents=True)
            Image.fromarray(array).save(folder / name / "a.png")
        (folder / f"{split}.txt").write_text(f"/SegNet/CamVid/{split}/a.png /SegNet/CamVid/{split}annot/a.png\n")
    return folder


def camvid_error(segkit, root: Path, tmp_path: Path) -> str:
    settings = ["model.encoder.weights=null", "model.encoder.width=0.1", "training.batch_size=1", "training.epochs=1"]
    command = ("train", "configs/camvid/fcn8s.yaml", f"data.root={root}", *settings, "--run", tmp_path / "run")
    code, _, errors = segkit(*command)
    assert (code, errors.count("\n")) == (2, 1), errors
    return errors.removeprefix("segkit: ").rstrip("\n").replace(str(root), "ROOT")


def test_a_missing_folder_is_named(segkit, tmp_path, message):
    message(camvid_error(segkit, tmp_path / "nowhere", tmp_path), "data.root = 'ROOT'")


def save_labels(path: Path, *, ids: int = 0, width: int = 48) -> None:
    labels = np.full((32, width), ids, np.uint8)
    labels[2:] = 11 if ids == 11 else 0
    Image.fromarray(labels).save(path)


@pytest.mark.parametrize(
    ("file", "spoil", "named"),
    [
        ("test.txt", Path.unlink, ()),
        ("trainannot/a.png", Path.unlink, ()),
        ("trainannot/a.png", lambda path: save_labels(path, width=40), ("32x48", "32x40")),
        ("trainannot/a.png", lambda path: save_labels(path, ids=17), ("17 (96 pixels); expected 0..10, or 11 or 255",)),
        ("trainannot/a.png", lambda path: save_labels(path, ids=11), ()),
        ("valannot/a.png", lambda path: save_labels(path, ids=11), ()),
        ("testannot/a.png", lambda path: save_labels(path, ids=11), ()),
        ("testannot/a.png", lambda path: path.write_bytes(b"no picture"), ()),
    ],
    ids=["no test split", "no label", "size", "id", "void train", "void val", "void test", "damaged label"],
)  # fmt: skip
def test_what_is_wrong_with_the_data_is_found_before_training(segkit, tmp_path, message, file, spoil, named):
    root = good_camvid(tmp_path / "data")
    spoil(root / file)
    message(camvid_error(segkit, root, tmp_path), *named)
    assert not (tmp_path / "run").exists()


def test_a_truncated_image_is_named(segkit, tmp_path, message):
    file = good_camvid(tmp_path / "data") / "train/a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    message(camvid_error(segkit, tmp_path / "data", tmp_path), "ROOT/train/a.png")


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
