"""`segkit sync`: a run folder logged afterwards gives the W&B run that tracking gives during training."""

import json
import os
import random
import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from wandb_runs import read_session

from segkit.build import load_config
from segkit.runs.wandb_sync import start_tracker, sync
from segkit.tracking.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("no_wandb_settings")
LOCAL = ("_timestamp", "_runtime")  # differ between two sessions of the same run


def without(item, *keys):
    """A history item without what is local to a session."""
    return {key: value for key, value in item.items() if key not in keys and "artifact_path" not in key}


@pytest.fixture
def copy(pair, tmp_path):
    """A copy of the run without W&B."""
    return shutil.copytree(pair[0], tmp_path / "run")


def test_a_run_that_was_trained_without_it_is_logged_as_if_it_had_been_tracked(pair, session, copy):
    first, second = RunDir(pair[1]), RunDir(copy)
    (second.path / "metrics.jsonl").write_text((first.path / "metrics.jsonl").read_text())  # the same seconds
    place = sync(copy, "offline")
    logged = read_session(copy)
    assert place == str(logged.folder)
    assert [without(item, *LOCAL) for item in logged.history] == [without(item, *LOCAL) for item in session.history]
    assert without(logged.summary, *LOCAL, "_wandb.runtime") == without(session.summary, *LOCAL, "_wandb.runtime")
    assert without(logged.config, "_wandb", "tracking") == without(session.config, "_wandb", "tracking")
    model, again = (
        [[c["digest"] for c in a["manifest"]["contents"][:2]] for a in s.of("artifact") if a["type"] == "model"]
        for s in (session, logged)
    )
    assert model[0][1] == again[0][1]


def test_logging_a_run_again_keeps_its_id_and_leaves_one_session(copy):
    sync(copy, "offline")
    first = read_session(copy)
    sync(copy, "offline")
    second = read_session(copy)
    assert first.run["run_id"] == second.run["run_id"]
    assert [without(item, *LOCAL) for item in first.history] == [without(item, *LOCAL) for item in second.history]
    assert second.run["resume"] is True


def test_a_new_start_removes_what_w_and_b_left(copy):
    sync(copy, "offline")
    (copy / "notes.txt").write_text("mine")
    RunDir(copy).remove()
    assert sorted(path.name for path in copy.iterdir()) == ["notes.txt"]


def test_without_the_images_everything_else_is_logged(segkit, pair, copy, tmp_path):
    elsewhere = f"data={{name: camvid, root: {tmp_path / 'nowhere'}}}"
    code, out, errors = segkit("sync", copy, "--mode", "offline", "--set", elsewhere)
    assert code == 0
    assert out.startswith(str(copy / "wandb" / "offline-run-"))
    assert errors.startswith("segkit: no pictures are sent: ")
    assert "nowhere" in errors
    logged = read_session(copy)
    assert "test/mean_iou" in logged.summary
    assert not [key for key in logged.history[-1] if key.startswith("predictions/")]


def test_a_run_that_has_not_finished_is_logged_as_far_as_it_came(copy):
    (copy / "result.json").unlink()
    sync(copy, "offline")
    logged = read_session(copy)
    assert [item["_step"] for item in logged.history] == [1, 2, 3, 4, 5]  # the last may lack its validation
    assert logged.of("exit")[0]["exit_code"] == 1


def test_what_is_no_run_folder_is_refused(segkit, tmp_path):
    code, _, errors = segkit("sync", tmp_path)
    assert (code, errors.startswith(f"segkit: {tmp_path} is not a run folder: it lacks config.yaml")) == (2, True)
    assert list(tmp_path.glob("wandb*")) == []


def test_it_needs_a_login_or_the_offline_mode(segkit, copy):
    sync(copy, "offline")
    before = sorted(copy.rglob("*"))
    code, _, errors = segkit("sync", copy)
    assert code == 2
    assert errors == (
        f"segkit: {copy} was not sent to W&B: there is no W&B login; run 'wandb login', or set WANDB_API_KEY. "
        "Repeat the command later, or add --mode offline.\n"
    )
    assert sorted(copy.rglob("*")) == before


def test_a_sweeps_agent_says_which_run_it_is(copy, monkeypatch):
    agent = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "chosen12", "WANDB_PROJECT": "theirs", "WANDB_ENTITY": "team"}
    for key, value in agent.items():
        monkeypatch.setenv(key, value)
    sync(copy, "offline")
    logged = read_session(copy)
    assert (logged.run["run_id"], logged.run["project"], logged.run["sweep_id"]) == ("chosen12", "theirs", "sweep1")
    assert json.loads((copy / "wandb.json").read_text()) == {"id": "chosen12", "project": "theirs", "entity": "team"}


def test_this_process_stays_as_it_was(copy):
    def state():
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        hooks = (sys.exit, sys.excepthook, sys.stdout, sys.stderr, handlers, dict(os.environ))
        return hooks, random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before, config = state(), load_config(copy / "config.yaml")[0]
    tracker = start_tracker(config, RunDir(copy), "offline")
    during = state()
    tracker.close(0)
    assert during[0][:5] == before[0][:5]
    assert during[1:] == before[1:]
    assert state() == before
