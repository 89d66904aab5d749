"""A run folder is started whole, or is one that the same command starts again."""

import os
from pathlib import Path

import pytest

from segkit.errors import InputError
from segkit.tracking import run_dir
from segkit.tracking.run_dir import RunDir

TEXTS = {"classes.yaml": "[a]\n", "config.yaml": "name: x\n"}


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path / "run")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_start_that_was_cut_off_is_started_again(run, monkeypatch, count):
    write, written = run_dir.write_text, []

    def cut(path, text):
        if len(written) == count:
            raise KeyboardInterrupt
        written.append(path)
        write(path, text)

    monkeypatch.setattr(run_dir, "write_text", cut)
    with pytest.raises(KeyboardInterrupt):
        run.start(TEXTS)
    assert not run.exists
    monkeypatch.setattr(run_dir, "write_text", write)
    run.start(TEXTS)
    assert run.exists


def test_a_removal_that_was_cut_off_leaves_no_finished_run_and_no_locked_door(run, monkeypatch):
    run.start(TEXTS)
    run.write("train", {"step": 1})
    run.finish({"score": 1})
    unlink, calls = Path.unlink, []

    def cut(path, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(path)
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", cut)
    with pytest.raises(KeyboardInterrupt):
        run.start(TEXTS)
    monkeypatch.setattr(Path, "unlink", unlink)
    assert not run.finished
    run.start(TEXTS)
    assert run.records() == []


@pytest.mark.parametrize("name", ["thesis.tex", "config.yaml", "data"])
def test_a_folder_with_anything_else_is_left_alone(run, name):
    run.path.mkdir()
    (run.path / name).write_text("mine")
    with pytest.raises(InputError, match="exists and is no run folder; nothing was written"):
        run.start(TEXTS)
    assert [(path.name, path.read_text()) for path in run.path.iterdir()] == [(name, "mine")]


def test_what_makes_it_a_run_is_on_disk_before_its_first_record(run, monkeypatch):
    synced, fsync = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (synced.add(os.stat(number).st_ino), fsync(number))[1])
    run.start(TEXTS)
    for path in (run.path, run.path.parent, run.path / "config.yaml", run.path / "environment.json"):
        assert path.stat().st_ino in synced, path
    run.write("train", {"step": 1})
    assert (run.path / "metrics.jsonl").stat().st_ino in synced


def test_a_damaged_line_of_metrics_is_left_out(run):
    run.start(TEXTS)
    run.write("train", {"step": 1})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'\xd8\xff\n0\n[]\n{"kind": "train"}\n')
    run.write("train", {"step": 2})
    assert [record["step"] for record in run.records()] == [1, 2]


@pytest.mark.parametrize("text", ["[]", "3", '{"name": 1}', "{", '{"test": {}}'])
def test_a_damaged_result_is_named_with_the_next_step(run, text):
    run.start(TEXTS)
    (run.path / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result.json is damaged \(.*Delete it and repeat"):
        run.result()
