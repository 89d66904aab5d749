"""Run folders: what is written is read back, a start that was cut off is started again, and nothing else is touched."""

import json
import math
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from segkit.errors import InputError
from segkit.tracking import run_dir
from segkit.tracking.run_dir import RunDir

TEXTS = {"classes.yaml": "[a]\n", "config.yaml": "name: one\n"}


@pytest.fixture
def run(tmp_path):
    """A run that has started."""
    run = RunDir(tmp_path / "runs" / "one")
    run.start(TEXTS)
    return run


def refusal(function, *arguments, **options):
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    return str(caught.value)


# --- the folder ---


def test_a_started_run_holds_its_config_and_environment(run):
    assert run.exists
    assert not run.finished
    assert run.config_text() == "name: one\n"
    assert run.checkpoints.is_dir()
    environment = set(json.loads((run.path / "environment.json").read_text()))
    assert {"segkit", "commit", "command", "python", "torch", "threads", "machine", "processor"} <= environment
    assert run.require() is run


@pytest.mark.parametrize("name", ["thesis.tex", "config.yaml", "data"])
def test_a_folder_with_anything_else_is_refused_and_left_alone(tmp_path, name, message):
    (tmp_path / name).write_text("mine")
    message(refusal(RunDir(tmp_path).start, TEXTS), tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path, message):
    (tmp_path / "run").write_text("precious")
    assert "exists and is not a run folder" in refusal(RunDir(tmp_path / "run").start, TEXTS)
    message(refusal(RunDir(tmp_path / "run" / "below").start, TEXTS), tmp_path / "run" / "below", "Not a directory")


def test_a_new_start_removes_everything_of_the_old_run(run):
    run.write("train", {"step": 1})
    run.finish({"score": 1})
    (run.path / "notes.txt").write_text("mine")
    run.start({"config.yaml": "name: zwölf\n"})
    assert run.config_text() == "name: zwölf\n"
    assert run.records() == []
    assert not run.finished
    assert (run.path / "notes.txt").read_text() == "mine"


def test_an_empty_folder_holds_no_run_and_may_become_one(tmp_path, message):
    message(refusal(RunDir(tmp_path).require), tmp_path, "config.yaml", "environment.json")
    RunDir(tmp_path).start(TEXTS)
    assert RunDir(tmp_path).exists


def test_a_run_can_be_resumed_once_it_has_a_checkpoint(run):
    assert not run.trained
    (run.checkpoints / "step_00000007_epoch_0000.pt").touch()
    assert not run.trained
    (run.checkpoints / "step_00000007_epoch_0000.json").touch()
    assert run.trained
    assert run.saved_step == 7
    (run.path / "config.yaml").unlink()
    assert not run.trained


@contextmanager
def cut_off(owner, name, *, after):
    """In this block, `owner.name` raises KeyboardInterrupt when it was called `after` times; the block must let it."""
    real, calls = getattr(owner, name), []

    def cut(*arguments, **options):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(arguments)
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, cut)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_start_that_was_cut_off_is_started_again(tmp_path, count):
    run = RunDir(tmp_path / "run")
    with cut_off(run_dir, "write_text", after=count):
        run.start(TEXTS)
    assert not run.exists
    run.start(TEXTS)
    assert run.exists


def test_a_removal_that_was_cut_off_leaves_no_finished_run_and_can_be_started_again(run):
    run.write("train", {"step": 1})
    run.finish({"score": 1})
    with cut_off(Path, "unlink", after=2):
        run.start(TEXTS)
    assert not run.finished
    run.start(TEXTS)
    assert run.records() == []


def test_what_makes_it_a_run_is_on_disk_before_its_first_record(tmp_path, monkeypatch):
    synced, fsync, run = set(), os.fsync, RunDir(tmp_path / "run")
    monkeypatch.setattr(os, "fsync", lambda number: (synced.add(os.stat(number).st_ino), fsync(number))[1])
    run.start(TEXTS)
    for path in (run.path, run.path.parent, run.path / "config.yaml", run.path / "environment.json"):
        assert path.stat().st_ino in synced, path
    run.write("train", {"step": 1})
    assert (run.path / "metrics.jsonl").stat().st_ino in synced


# --- metrics ---


def test_records_are_appended_and_read_back_by_kind(run):
    assert run.records() == []
    run.write("train", {"step": 1, "loss": 0.1})
    run.write("validation", {"step": 1, "iou": [0.5, math.nan]})
    RunDir(run.path).write("train", {"step": 2, "loss": 1e-30})
    kinds = [(record["kind"], record["step"], record.get("loss")) for record in run.records()]
    assert kinds == [("train", 1, 0.1), ("validation", 1, None), ("train", 2, 1e-30)]
    assert [record["step"] for record in run.records("train")] == [1, 2]
    assert run.records("validation")[0]["iou"] == [0.5, None]  # JSON has no NaN


@pytest.mark.parametrize("damage", [b'\xd8\xff\n0\n[]\n{"kind": "train"}\n', b'{"kind": "train", "st'])
def test_damaged_and_incomplete_lines_are_left_out(run, damage):
    run.write("train", {"step": 1})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(damage)
    assert [record["step"] for record in run.records()] == [1]


def test_a_resumed_run_forgets_later_steps_and_the_incomplete_line(run):
    run.forget_after(0, 0)
    assert run.records() == []
    for step in (1, 2, 3):
        run.write("train", {"step": step})
    run.write("validation", {"step": 2, "epoch": 1})
    path = run.path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"kind": "tr')

    def kept():
        return [(record["kind"], record["step"]) for record in run.records()]

    run.forget_after(2, 1)
    run.write("train", {"step": 3})
    assert kept() == [("train", 1), ("train", 2), ("validation", 2), ("train", 3)]
    assert len(path.read_text().splitlines()) == 4
    run.forget_after(2, 0)  # step 2 is done, its validation is not
    assert kept() == [("train", 1), ("train", 2)]
    run.forget_after(0, 0)
    assert kept() == []


# --- results ---


def test_a_finished_run_gives_its_result_and_an_unfinished_one_has_none(run, message):
    message(refusal(run.result), run.path, "result.json")
    result = {"test": {"mean_iou": 0.5}, "best_step": 3, "class_names": ["a"]}
    run.finish(result)
    assert run.finished
    assert run.result() == result
    assert not list(run.path.glob(".*"))


@pytest.mark.parametrize("text", ["[]", "3", '{"name": 1}', "{", '{"test": {}}'])
def test_a_damaged_result_is_named_with_the_next_step(run, text):
    (run.path / "result.json").write_text(text)
    assert refusal(run.result).startswith(f"{run.path / 'result.json'} is damaged (")
    assert "segkit train" in refusal(run.result)


def test_matrices_read_back_as_they_were_written_and_are_missed_before(run, message):
    message(refusal(run.matrices, "test"), f"{run.path}/confusion_test.npz", run.path)
    matrices = np.random.default_rng(0).integers(0, 200_000, (3, 4, 4))
    path = run.write_matrices("test", ("a", "b", "ü"), matrices, "of the labels")
    ids, stored = run.matrices("test")
    assert (ids, stored.dtype, run.fingerprint("test")) == (("a", "b", "ü"), np.int64, "of the labels")
    np.testing.assert_array_equal(stored, matrices)
    assert list(run.path.glob("confusion*")) == [path] == [run.path / "confusion_test.npz"]
