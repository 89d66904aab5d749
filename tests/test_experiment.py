"""`segkit experiment run`: stages, each from the best weights of the one before."""

import shutil
from pathlib import Path

import pytest

from segkit.build import load_experiment
from segkit.experiment import read_stages

ROOT = Path(__file__).parents[1]
STAGES = ("fcn32s", "fcn16s", "fcn8s")


@pytest.fixture
def file(tmp_path):
    """An experiment of three stages whose configs stand beside it."""
    for name in STAGES:
        (tmp_path / f"{name}.yaml").write_text(f"base: base.yaml\nname: {name}\nmodel: {{decoder: {{name: {name}, head_width: 16}}}}\n")
    (tmp_path / "base.yaml").write_text(
        "data: {name: streets}\nmodel: {encoder: vgg16}\nloss: {function: cross_entropy, class_weights: none}\n"
        "optimizer: {name: adamw, lr: 0.001}\nschedule: constant\n"
    )
    path = tmp_path / "experiment.yaml"
    path.write_text("name: staged\nstages:\n" + "".join(f"  {name}: {name}.yaml\n" for name in STAGES))
    return path


def test_each_stage_starts_from_the_one_before_and_finished_ones_are_skipped(segkit, tiny, file, tmp_path):
    runs = tmp_path / "runs"
    first_start = "model.initialize_from=null"
    code, out, errors = segkit("experiment", "run", file, *tiny, "training.epochs=1", first_start, "--runs", runs)
    assert (code, errors) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines() if "run folder" in line] == list(STAGES)
    starts = [load_experiment(runs / "staged" / name / "config.yaml")[0].model.initialize_from for name in STAGES]
    assert starts == [None, runs / "staged/fcn32s", runs / "staged/fcn16s"]

    (runs / "staged/fcn8s/result.json").unlink()  # as if the last stage had been stopped at its very end
    code, out, _ = segkit("experiment", "run", file, *tiny, "training.epochs=1", first_start, "--runs", runs)
    assert code == 0
    assert [line.split(" is finished")[0] for line in out.splitlines() if "is finished" in line] == [
        str(runs / "staged/fcn32s"),
        str(runs / "staged/fcn16s"),
    ]
    assert (runs / "staged/fcn8s/result.json").is_file()


def test_a_stage_that_started_from_weights_that_are_gone_is_refused_and_overwriting_starts_all_again(segkit, tiny, file, tmp_path):
    command = ("experiment", "run", file, *tiny, "training.epochs=1", "model.initialize_from=null", "--runs", tmp_path / "a b: #1")
    assert segkit(*command)[0] == 0
    run = tmp_path / "a b: #1" / "staged"
    shutil.rmtree(run / "fcn16s")
    code, _, errors = segkit(*command)
    assert code == 2
    assert f"{run / 'fcn8s'} did not start from {run / 'fcn16s'}, which is yet to be trained" in errors
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    elsewhere = f"data={{name: camvid, root: {tmp_path / 'nowhere'}}}"
    code, _, errors = segkit(*command[:3], "training.epochs=1", elsewhere, *command[-2:], "--overwrite")
    assert code == 2
    assert "is no folder" in errors
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (run / "fcn32s/metrics.jsonl").write_text("")
    assert segkit(*command, "--overwrite")[0] == 0
    assert all((run / stage / "metrics.jsonl").read_text() for stage in STAGES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: staged\n", "has the keys name; expected exactly name (a text) and stages"),
        ("name: staged\nstages: fcn32s.yaml\n", "expected a config file for each run, such as fcn32s:"),
        ("name: staged\nstages: {a: fcn32s.yaml}\nseeds: [1]\n", "has the keys name, stages, seeds; expected exactly"),
        ("name: staged\nstages: {a: nowhere.yaml}\n", "nowhere.yaml' does not exist"),
        ("name: staged\nstages: {a: [1, 2]}\n", "expected a config file for each run"),
        ("name: ../up\nstages: {a: fcn32s.yaml}\n", "'../up' names a folder: expected letters, digits"),
        ("name: staged\nstages: {a/b: fcn32s.yaml}\n", "'a/b' names a folder: expected letters, digits"),
    ],
    ids=["no stages", "no mapping", "another key", "no config", "no path", "a path for a name", "a path for a stage"],
)
def test_a_mistake_in_the_file_is_named_before_anything_is_trained(segkit, file, tmp_path, text, message):
    file.write_text(text)
    code, out, errors = segkit("experiment", "run", file, "--runs", tmp_path / "runs")
    assert (code, out) == (2, "")
    assert message in errors
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("decoder", "message"),
    [("fcn9s", "fcn9s"), ("{name: fcn8s, head_padding: none}", "the scores do not cover the border of the image")],
    ids=["unknown", "cannot be built"],
)
def test_a_mistake_in_a_later_stage_is_named_before_the_first_is_trained(segkit, file, tmp_path, decoder, message):
    (tmp_path / "fcn8s.yaml").write_text(f"base: base.yaml\nname: fcn8s\nmodel: {{decoder: {decoder}}}\n")
    code, _, errors = segkit("experiment", "run", file, "training.epochs=1", "--runs", tmp_path / "runs")
    assert code == 2
    assert message in errors
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", sorted(ROOT.glob("experiments/*/experiment.yaml")), ids=lambda path: path.parent.name)
def test_every_experiment_of_the_repository_is_valid(path):
    assert [member.experiment.model.decoder.name for member in read_stages(path)]


def test_a_missing_file_is_named(segkit, tmp_path):
    code, _, errors = segkit("experiment", "run", tmp_path / "no.yaml")
    assert (code, errors) == (2, f"segkit: The experiment file '{tmp_path / 'no.yaml'}' does not exist. Check the path.\n")
