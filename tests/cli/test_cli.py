"""The command line, as a user meets it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from same_runs import differences, last_checkpoint

from segkit import __version__
from segkit.data.datasets.streets import Streets

ROOT = Path(__file__).parents[2]


def test_help_does_not_load_torch():
    code = "import sys; sys.argv = ['segkit', '--help']\ntry:\n    from segkit.cli.app import main; main()\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'albumentations', 'pandas', 'pydantic'} & set(sys.modules), 'a heavy module was loaded'"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    commands = ("train", "evaluate", "predict", "show", "class-weights", "compare", "costs", "data")
    assert all(command in ran.stdout for command in commands)


@pytest.mark.parametrize("decoder", ["fcn32s", "fcn16s", "fcn8s", "segnet"])
def test_a_run_leaves_everything_that_it_is_known_by(segkit, finished, decoder):
    run = finished(decoder)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validations = [r for r in records if r["kind"] == "validation"]
    result = json.loads((run / "result.json").read_text())
    assert [r["step"] for r in validations] == [2, 4]
    assert result["decoder"] == decoder
    assert result["best_validation_mean_iou"] == max(r["mean_iou"] for r in validations)
    assert result["test"]["classes_averaged"] >= 10
    names = ("step_00000002_epoch_0001", "step_00000004_epoch_0002")
    steps = [f"{name}.{ending}" for name in names for ending in ("json", "pt")]
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["best.safetensors", *steps]
    assert json.loads((run / "environment.json").read_text())["segkit"] == __version__
    assert np.load(run / "confusion_test.npz")["matrices"].shape == (4, 11, 11)
    code, out, _ = segkit("evaluate", run)
    assert code == 0
    assert f"mean IoU {100 * result['test']['mean_iou']:.1f}" in out


@pytest.mark.slow
def test_four_images_are_learned_by_heart(segkit, tmp_path):
    settings = [
        "data.size=[48,64]", "data.train_images=4", "data.val_images=1", "data.test_images=1", "transforms.flip=0",
        "transforms.color_jitter=0", "training.batch_size=4", "training.epochs=200", "evaluation.every_epochs=200",
        "loss.class_weights=none", "optimizer.lr=0.01",
    ]  # fmt: skip
    run = tmp_path / "run"
    assert segkit("train", "configs/streets/segnet.yaml", *settings, "--run", run)[0] == 0
    code, out, _ = segkit("evaluate", run, "--split", "train")
    assert code == 0
    assert float(out.rsplit("mean IoU", 1)[1].split()[0]) > 90


def test_predict_writes_class_ids_with_a_palette_an_overlay_and_the_uncertainty(segkit, finished, tmp_path):
    run, sample = finished("fcn32s"), Streets("test", size=(45, 61))[0]
    Image.fromarray(sample.image).save(tmp_path / "scene.png")
    code, out, errors = segkit("predict", run, tmp_path / "scene.png", "--out", tmp_path / "out", "--samples", 5)
    written = [tmp_path / f"out/scene{ending}.png" for ending in ("", "_overlay", "_uncertainty")]
    assert (code, errors, out) == (0, "", "  ".join(map(str, written)) + "\n")
    for file, mode in zip(written, ("P", "RGB", "L"), strict=True):
        with Image.open(file) as picture:
            assert (picture.mode, picture.size) == (mode, (61, 45))
    assert np.asarray(Image.open(written[0])).max() < 11


def test_show_names_the_file_of_every_value(segkit):
    code, out, _ = segkit("show", "configs/streets/fcn8s.yaml", "optimizer.lr=1e-3")
    lines = dict(re.split(r" +# ", line) for line in out.splitlines())
    assert code == 0
    assert lines["optimizer.lr = 0.001"] == "command line: optimizer.lr=1e-3"
    assert lines["model.encoder.width = 0.25"].startswith("configs/base/streets.yaml:")
    assert lines["model.decoder.dropout = 0.5"] == "default"


def test_class_weights_counts_pixels_and_prints_every_variant(segkit, tiny):
    code, out, _ = segkit("class-weights", "configs/streets/fcn8s.yaml", *tiny)
    assert code == 0
    assert max(map(len, out.splitlines())) < 100
    assert re.search(r"│ void +(│ +- ){7}│", out)
    assert all(name in out for name in ("sky", "bicyclist", "config", "SegNet", "weight_sum"))


def test_training_from_the_saved_config_repeats_the_run(segkit, finished, tmp_path):
    run = finished("segnet")
    assert segkit("train", run / "config.yaml", "--run", tmp_path / "again")[0] == 0
    assert differences(run, tmp_path / "again") == []


def test_a_finished_run_is_never_trained_again(segkit, finished):
    run = finished("fcn32s")
    before = (run / "metrics.jsonl").read_bytes()
    code, out, _ = segkit("train", run / "config.yaml", "--run", run)
    assert code == 0
    assert f"{run} is finished; nothing was trained." in out
    assert (run / "metrics.jsonl").read_bytes() == before


def test_how_often_a_run_is_validated_does_not_change_its_weights(segkit, finished, tmp_path):
    often = finished("fcn8s")
    assert segkit("train", often / "config.yaml", "evaluation.every_epochs=2", "--run", tmp_path / "seldom")[0] == 0
    weights = [torch.load(last_checkpoint(run), weights_only=True)["model"] for run in (often, tmp_path / "seldom")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_a_staged_fcn_starts_from_the_coarser_one(segkit, finished, tiny, tmp_path):
    coarse = finished("fcn32s")
    settings = [f"model.initialize_from={coarse}", "optimizer.lr=1e-9", "training.epochs=1"]
    code, _, errors = segkit("train", "configs/streets/fcn16s.yaml", *tiny, *settings, "--run", tmp_path / "fine")
    assert (code, errors) == (0, "")
    before, after = (load_file(run / "checkpoints/best.safetensors") for run in (coarse, tmp_path / "fine"))
    torch.testing.assert_close(before["decoder.fc7.weight"], after["decoder.fc7.weight"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("config", sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("configs/[!b]*/**/*.yaml")))
def test_every_config_is_valid(segkit, config):
    code, out, errors = segkit("show", config)
    assert (code, errors) == (0, "")
    assert out.startswith("name = ")


def test_the_module_runs_as_a_program():
    ran = subprocess.run([sys.executable, "-m", "segkit", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"segkit {__version__}\n"


def test_statistics_of_the_training_split_make_weights_that_evaluate_takes(segkit, finished, tmp_path):
    run, weights = finished("segnet"), tmp_path / "bn.safetensors"
    assert segkit("bn-statistics", run, "--out", weights)[0] == 0
    assert segkit("evaluate", run, "--weights", weights)[0] == 0
    before, after = load_file(run / "checkpoints/best.safetensors"), load_file(weights)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.endswith(("running_mean", "running_var")) for name in changed)


def test_a_run_without_batch_norm_has_no_statistics(segkit, tiny, tmp_path):
    settings = [*tiny, "model.encoder.batch_norm=false", "training.epochs=1"]
    assert segkit("train", "configs/streets/fcn32s.yaml", *settings, "--run", tmp_path / "run")[0] == 0
    code, _, errors = segkit("bn-statistics", tmp_path / "run", "--out", tmp_path / "bn.safetensors")
    assert code == 2
    assert errors.startswith("segkit: the model has no batch norm")
    assert not (tmp_path / "bn.safetensors").exists()


def test_a_run_from_before_an_option_existed_is_still_this_run(segkit, tiny, tmp_path):
    command = ("train", "configs/streets/fcn32s.yaml", *tiny, "training.epochs=1", "--run", tmp_path / "run")
    assert segkit(*command)[0] == 0
    config = tmp_path / "run/config.yaml"
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "replacement:" not in line))
    assert len(lines) - len(config.read_text().splitlines()) == 1
    assert "is finished; nothing was trained" in segkit(*command)[1]
    (tmp_path / "run/confusion_test.npz").unlink()
    assert segkit("evaluate", tmp_path / "run")[0] == 0
    assert (tmp_path / "run/confusion_test.npz").is_file()
