"""Members in processes of their own: failures, signals, sweeps and clusters."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from segkit.experiments import launch
from segkit.experiments.experiment import read_experiment
from segkit.tracking.run_dir import RunDir

ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tiny_config, tmp_path):
    """Writes an experiment file over a tiny config; its path."""
    (tmp_path / "base.yaml").write_text(tiny_config)

    def written(text: str) -> Path:
        (tmp_path / "experiment.yaml").write_text(f"name: trial\nbase: base.yaml\n{text}")
        return tmp_path / "experiment.yaml"

    return written


@pytest.mark.slow
def test_a_failing_member_stops_no_other_and_the_same_command_trains_what_is_missing(segkit, write, tmp_path):
    values = "{good: {}, bad: {optimizer: {lr: 1e+30}}, fine: {model: {decoder: segnet}}}"
    command = ("experiment", "run", write(f"axes: {{decoder: {values}}}\n"), "--runs", tmp_path / "runs", "--jobs", 2)
    code, out, errors = segkit(*command)
    assert (code, errors) == (1, "")
    lines = out.splitlines()
    assert sum(line.startswith(("good finished: test mean IoU", "fine finished: test mean IoU")) for line in lines) == 2
    log = tmp_path / "runs/trial/logs/bad.log"
    failure = f"FAILED: bad ended with exit code 1 ({log}: segkit: training stopped: step"
    assert any(line.startswith(failure) for line in lines[-2:])
    assert lines[-1] == "2 of 3 members are finished."

    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/trial").rglob("result.json")}
    assert len(finished) == 2
    code, out, _ = segkit(*command, "--only", "decoder=good,bad")
    assert code == 1
    assert "good is finished" in out.splitlines()
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def processes_about(path: Path) -> list[str]:
    """Commands of running processes that name a path."""
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [command for command in commands if str(path) in command]


def stopped(command: list[str], members: list[RunDir], number: signal.Signals) -> tuple[int, str]:
    """Exit code and errors of a command that gets a signal as soon as every member has validated once more."""
    before = [len(run.records("validation")) for run in members]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, **pipes)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if all(len(run.records("validation")) > old for run, old in zip(members, before, strict=True)):
                break
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    return process.returncode, errors


@pytest.mark.slow
def test_a_signal_ends_the_members_too_and_the_same_command_goes_on(write, tmp_path):
    file, runs = write("set: {training: {epochs: 25}}\naxes: {seed: [0, 1]}\n"), tmp_path / "runs"
    command = [sys.executable, "-m", "segkit", "experiment", "run", str(file), "--runs", str(runs), "--jobs", "2"]
    members = [RunDir(runs / f"trial/seed{seed}") for seed in (0, 1)]
    for number, exit_code in ((signal.SIGINT, 130), (signal.SIGUSR1, 143)):
        message = "segkit: interrupted, with all members; repeat the command without --overwrite to resume.\n"
        assert stopped(command, members, number) == (exit_code, message)
        assert processes_about(runs) == []
        assert not any(run.finished for run in members)
        if number == signal.SIGINT:  # the members heard it themselves, and said so
            logs = [(runs / f"trial/logs/seed{seed}.log").read_text() for seed in (0, 1)]
            assert all("segkit: Ctrl-C: stopped; this resumes after step " in log for log in logs)
    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0
    for run in members:
        assert [record["step"] for record in run.records("validation")] == list(range(2, 51, 2))
        assert run.finished


def test_a_sweep_names_every_combination_and_its_command_trains_one(segkit, write, tmp_path):
    file = write("axes: {decoder: [fcn16s, fcn8s], seed: [0, 1]}\n")
    narrow = ("training.epochs=1", "model.encoder.width=0.03125")
    options = ("tracking.wandb=disabled", "--runs", tmp_path / "runs")
    code, out, errors = segkit("experiment", "sweep", file, *narrow, *options)
    assert (code, errors) == (0, "")
    sweep = yaml.safe_load(out)
    assert sweep["parameters"] == {"decoder": {"values": ["fcn16s", "fcn8s"]}, "seed": {"values": ["0", "1"]}}
    assert (sweep["method"], sweep["metric"]) == ("grid", {"name": "validation/mean_iou", "goal": "maximize"})
    # what an agent runs: one combination in place of the macro
    at = sweep["command"].index("${args_no_hyphens}")
    command = [*sweep["command"][1:at], "decoder=fcn8s", "seed=1", *sweep["command"][at + 1 :]]
    assert segkit(*command)[0] == 0
    assert [path.parent.name for path in (tmp_path / "runs").rglob("result.json")] == ["fcn8s-seed1"]


@pytest.mark.slow
def test_a_cluster_trains_each_chain_of_stages_in_one_job(write, tmp_path):
    coarse = "{model: {decoder: {name: fcn16s, head_width: 16}}}"
    file = write(f"axes: {{seed: [0, 1]}}\nstages: {{coarse: {coarse}, fine: {{}}}}\n")
    overrides = ["training.epochs=1"]
    members = read_experiment(file, overrides, runs=tmp_path / "runs")
    jobs = launch.submit_members(members, file, overrides, tmp_path / "runs", cluster="local")
    assert [job.result() for job in jobs] == [0, 0]
    assert all(member.run.finished for member in members)
    assert members[1].config.model.initialize_from == tmp_path / "runs/trial/seed0-coarse"


def test_a_job_that_was_cut_off_goes_back_into_the_queue_with_the_same_command():
    job = launch.Job(["segkit", "x"])
    assert job.checkpoint().function == job


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--launcher", "slurm", "--slurm", "timeout_min=10"), "Expected a machine with sbatch"),
        (("--slurm", "timeout_min=5"), "--slurm is for --launcher slurm"),
        (("--launcher", "slurm", "--slurm", "ten"), "--slurm ten: expected KEY=VALUE, such as timeout_min=600."),
    ],
    ids=["no Slurm", "no launcher", "no value"],
)
def test_without_slurm_the_launcher_is_refused(segkit, write, tmp_path, options, sentence):
    file = write("axes: {seed: [0]}\n")
    code, _, errors = segkit("experiment", "run", file, *options, "--runs", tmp_path / "runs")
    assert code == 2
    assert sentence in errors


def test_without_submitit_the_launcher_says_what_to_install(segkit, write, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    options = ("--launcher", "slurm", "--runs", tmp_path / "runs")
    code, _, errors = segkit("experiment", "run", write("axes: {seed: [0]}\n"), *options)
    assert (code, errors.count("is not installed. Install it: pip install 'segkit[slurm]'\n")) == (2, 1)


def test_what_the_cluster_refuses_is_said(segkit, write, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "srun", "squeue"):
        failing = "echo 'sbatch: error: invalid partition' >&2; exit 1" if name == "sbatch" else "exit 0"
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{failing}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    file = write("axes: {seed: [0]}\n")
    options = ("--launcher", "slurm", "--slurm", "timeout_min=5", "--runs", tmp_path / "runs")
    code, _, errors = segkit("experiment", "run", file, *options)
    assert code == 2
    assert "segkit: --launcher slurm: sbatch: error: invalid partition." in errors


def test_without_axes_there_is_nothing_to_sweep_over(segkit, write):
    code, _, errors = segkit("experiment", "sweep", write("stages: {coarse: {}, fine: {}}\n"))
    assert code == 2
    assert "has no axes: there is nothing to sweep over" in errors


def test_processes_share_cores_and_gpus(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch, "cores", lambda: 10)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    shares = [launch.share(slot, 3) for slot in range(3)]
    assert [each["OMP_NUM_THREADS"] for each in shares] == ["3"] * 3
    assert [each["CUDA_VISIBLE_DEVICES"] for each in shares] == ["4", "6", "4"]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert (launch.share(0, 3)["OMP_NUM_THREADS"], launch.share(0, 3)["CUDA_VISIBLE_DEVICES"]) == ("2", "")


def test_the_list_of_members_says_how_far_each_has_come(segkit, write, tmp_path):
    file = write("axes: {decoder: [fcn16s, fcn8s]}\n")
    assert segkit("experiment", "member", file, "decoder=fcn8s", "--runs", tmp_path)[0] == 0
    code, out, _ = segkit("experiment", "run", file, "--list", "--runs", tmp_path)
    assert code == 0
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    rows = {row[0]: row[1:] for row in cells}
    assert rows[str(tmp_path / "trial/fcn16s")][2] == "new"
    assert rows[str(tmp_path / "trial/fcn8s")][:4] == ["fcn8s", "0", "finished", "2/2"]
    assert rows["model.decoder.name"] == ["'fcn16s'", "'fcn8s'"]

    code, out, _ = segkit("runs", tmp_path, "--json")
    (state,) = json.loads(out)
    result = RunDir(tmp_path / "trial/fcn8s").result()
    assert (state["path"], state["state"]) == (str(tmp_path / "trial/fcn8s"), "finished")
    assert (state["seed"], state["epoch"]) == (0, 2)
    assert state["test_mean_iou"] == result["test"]["mean_iou"]
    assert state["validation_mean_iou"] == result["best_validation_mean_iou"]
    code, out, _ = segkit("experiment", "run", file, "--list", "--runs", tmp_path, "training.epochs=5")
    assert code == 0
    assert "fcn8s holds a run of another config; different: training.epochs (2 there, 5 here)" in out
    code, out, _ = segkit("experiment", "run", file, "--list", "--runs", tmp_path, "data={name: camvid, root: nowhere}")
    assert code == 0
    assert "Cannot check whether the members are treated alike: " in out
    (tmp_path / "trial/fcn8s/config.yaml").write_text("{")
    assert json.loads(segkit("runs", tmp_path, "--json")[1])[0]["state"] == "damaged"
    code, _, errors = segkit("runs", tmp_path / "nowhere")
    assert code == 2
    assert errors.startswith(f"segkit: {tmp_path / 'nowhere'} is not a folder; expected a run folder, or one with ")
