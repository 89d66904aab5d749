"""Whatever stops a run, the same command goes on to the same result, bit by bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
from same_runs import differences, last_checkpoint, records

import segkit.runs.train
from segkit.compare.listing import run_state
from segkit.system.signals import SIGNALS, TOGETHER_SECONDS
from segkit.tracking.run_dir import RunDir

ROOT = Path(__file__).parents[2]
CONFIG = """
name: interrupted
data: {name: streets, size: [32, 48], train_images: 12, val_images: 3, test_images: 2}
transforms: {scale: [0.75, 1.25], crop: [32, 48], flip: 0.5, color_jitter: 0.2}
model: {encoder: {name: vgg16, width: 0.0625}, decoder: {name: fcn8s, head_width: 16}}
loss: {function: cross_entropy, class_weights: median_frequency}
optimizer: {name: adamw, lr: 0.001}
schedule: poly
training: {epochs: 3, batch_size: 4, log_every: 1}
"""
SEGNET = ["model.decoder={name: segnet, dropout: 0.5}", "model.encoder.batch_norm=true", "schedule=plateau"]


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path / "config.yaml"


@pytest.fixture
def cut(monkeypatch):
    """Raises signals at given moments: (kind of record, step or 0 for any) once each; `scoring` is in the middle of
    validation."""

    def at(*moments: tuple[str, int], number: int = signal.SIGTERM) -> None:
        left = deque(moments)

        def reach(kind: str, step: int) -> None:
            if left and left[0] in ((kind, step), (kind, 0)):
                left.popleft()
                signal.raise_signal(number)

        write, evaluate = RunDir.write, segkit.runs.train.evaluate

        def watched_write(self, kind, record):
            write(self, kind, record)
            reach(kind, record["step"])
            watched_write.step = record["step"]

        def watched_evaluate(model, batches, **options):
            def watched():
                for index, batch in enumerate(batches):
                    if index == 1:
                        reach("scoring", watched_write.step)
                    yield batch

            return evaluate(model, watched(), **options)

        monkeypatch.setattr(RunDir, "write", watched_write)
        monkeypatch.setattr(segkit.runs.train, "evaluate", watched_evaluate)

    return at


def trained_twice(segkit, cut, config, folder, settings, moments, number=signal.SIGTERM):
    """Run folders without and with interruptions, and the exit codes and messages of the latter's commands."""
    code, _, errors = segkit("train", config, *settings, "--run", folder / "whole")
    assert (code, errors) == (0, "")
    cut(*moments, number=number)
    ends = []
    while not ends or ends[-1][0]:
        code, out, errors = segkit("train", config, *settings, "--run", folder / "cut")
        ends.append((code, out, errors))
        assert len(ends) <= len(moments) + 1, errors
    return folder / "whole", folder / "cut", ends


EVERYWHERE = [("train", 1), ("train", 2), ("scoring", 3), ("validation", 3), ("train", 5), ("scoring", 9), ("test", 0)]


@pytest.mark.parametrize(
    ("decoder", "workers", "precision"),
    [
        ([], 0, "float32"),
        pytest.param([], 2, "bfloat16", marks=pytest.mark.slow),
        (SEGNET, 0, "bfloat16"),
        (SEGNET, 2, "float32"),
        pytest.param([], 0, "bfloat16", marks=pytest.mark.slow),
        pytest.param([], 2, "float32", marks=pytest.mark.slow),
        pytest.param(SEGNET, 0, "float32", marks=pytest.mark.slow),
        pytest.param(SEGNET, 2, "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_cut_everywhere_is_the_run_that_was_not(
    segkit, cut, config, tmp_path, decoder, workers, precision
):
    settings = [*decoder, f"training.workers={workers}", f"training.precision={precision}"]
    whole, interrupted, ends = trained_twice(segkit, cut, config, tmp_path, settings, EVERYWHERE)
    assert [code for code, _, _ in ends] == [143] * 7 + [0]
    assert differences(whole, interrupted) == []
    steps = [(record["kind"], record["step"]) for record in records(interrupted)]
    assert len(steps) == len(set(steps)) == 9 + 3 + 1


def test_a_stage_that_was_cut_is_the_stage_that_was_not(segkit, cut, config, tmp_path):
    assert segkit("train", config, "model.decoder={name: fcn16s, head_width: 16}", "--run", tmp_path / "coarse")[0] == 0
    settings = [f"model.initialize_from={tmp_path / 'coarse'}"]
    whole, interrupted, _ = trained_twice(segkit, cut, config, tmp_path, settings, [("train", 1), ("train", 4)])
    assert differences(whole, interrupted) == []


@pytest.mark.parametrize(
    ("number", "name", "code"),
    [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGUSR1, "SIGUSR1", 143), (signal.SIGHUP, "SIGHUP", 143)],
)
def test_a_signal_ends_in_a_saved_state_and_the_command_that_goes_on(segkit, cut, config, tmp_path, number, name, code):
    handlers = [signal.getsignal(each) for each in SIGNALS]
    cut(("train", 5), number=number)
    found, _, errors = segkit("train", config, "--overwrite", "--run", tmp_path / "run")
    again = f"segkit train {config} --run {tmp_path / 'run'}"
    assert found == code
    assert errors.splitlines()[-1] == f"segkit: {name}: stopped; this resumes after step 5: {again}"
    assert json.loads(last_checkpoint(tmp_path / "run").with_suffix(".json").read_text())["step"] == 5
    assert [signal.getsignal(each) for each in SIGNALS] == handlers
    found, out, errors = segkit(*again.split()[1:])
    assert (found, errors) == (0, "")
    assert "resuming after step 5\n" in out


# --- real processes ---


def start(config, run, *settings, **streams):
    """`segkit train` in a process group of its own, or on a terminal's `streams`."""
    command = [sys.executable, "-m", "segkit", "train", str(config), *settings, "--run", str(run)]
    streams = streams or {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    environment = os.environ | {"SEGKIT_CACHE": str(run.parent / "cache")}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **streams)


def wait_for_step(run, step):
    """Waits until metrics.jsonl holds a step."""
    deadline = time.monotonic() + 120
    while not any(record["step"] >= step for record in RunDir(run).records()) and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_reaches_the_whole_process_group_and_the_run_is_saved(config, tmp_path, workers):
    process = start(config, tmp_path / "run", "training.epochs=5000", f"training.workers={workers}")
    wait_for_step(tmp_path / "run", 4)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = errors.strip().splitlines()
    assert lines[0] == "segkit: Ctrl-C: stopping after this step, then saving; a second signal leaves at once."
    assert f"resumes after step {RunDir(tmp_path / 'run').saved_step}: segkit train {config}" in lines[1]
    assert len(lines) == 2
    assert RunDir(tmp_path / "run").saved_step == records(tmp_path / "run")[-1]["step"]


@pytest.mark.slow
def test_a_second_signal_leaves_at_once_and_what_was_saved_stays(config, tmp_path):
    run = tmp_path / "run"
    large = ["data.size=[360,480]", "transforms.crop=[360,480]"]
    slow = [*large, "data.train_images=64", "training.batch_size=64"]  # seconds a step
    process = start(config, run, *slow, "evaluation.every_epochs=50", "training.epochs=50")
    wait_for_step(run, 1)
    time.sleep(1)  # the next step is under way
    process.send_signal(signal.SIGTERM)
    time.sleep(TOGETHER_SECONDS + 0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert run_state(run).state == "unfinished"


def test_a_killed_run_resumes_and_its_lock_is_gone(segkit, config, tmp_path):
    assert segkit("train", config, "--run", tmp_path / "whole")[0] == 0
    run = tmp_path / "cut"
    process = start(config, run, "checkpoints.every_minutes=1e-6")
    wait_for_step(run, 2)
    process.kill()
    process.communicate()
    code, _, errors = segkit("train", config, "--run", run)
    assert code == 0
    assert errors == ""  # the lock went with its process
    assert [each for each in differences(tmp_path / "whole", run) if each != "config.yaml"] == []
    assert not list(run.rglob(".*.partial"))


def test_a_terminal_that_closes_takes_nothing_with_it(config, tmp_path):
    import pty

    run, (ours, theirs) = tmp_path / "run", pty.openpty()
    settings = ("training.epochs=5000", "evaluation.every_epochs=5000")
    terminal = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "preexec_fn": lambda: os.login_tty(theirs)}
    process = start(config, run, *settings, **terminal)
    os.close(theirs)
    wait_for_step(run, 4)
    os.close(ours)  # the system sends SIGHUP
    assert process.wait(60) == 143
    assert RunDir(run).saved_step == records(run)[-1]["step"]
