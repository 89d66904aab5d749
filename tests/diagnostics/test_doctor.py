"""What `segkit doctor` finds on this machine, and on machines that lack something."""

import importlib.metadata
import json
import resource
import subprocess
import sys

import pytest
import torch
from packaging.requirements import Requirement

from segkit import __version__
from segkit.diagnostics import doctor
from segkit.diagnostics.doctor import Finding, examine, licence, looked_at, packages

TOPICS = ["segkit", "python", "packages", "processor", "device", "memory", "runs", "W&B", "data train", "model"]


pytestmark = pytest.mark.usefixtures("no_wandb_settings")


def found(result) -> dict[str, list[dict[str, str]]]:
    """Topic -> findings of `segkit doctor --json`."""
    code, out, errors = result
    assert errors == ""
    told = json.loads(out)
    assert told["works"] == (code == 0) == all(finding["level"] != "problem" for finding in told["findings"])
    assert code in (0, 2)
    topics: dict[str, list[dict[str, str]]] = {}
    for finding in told["findings"]:
        topics.setdefault(finding["topic"], []).append(finding)
    return topics


def test_it_tells_the_machine_and_trains_a_step(segkit, tmp_path):
    code, out, errors = segkit("doctor", "--runs", tmp_path / "runs")
    lines = out.splitlines()
    assert (code, errors) == (0, "")
    assert [topic for topic in TOPICS if not any(line[9:].startswith(topic) for line in lines)] == []
    assert all(line[:9].strip() in ("ok", "note") for line in lines[:-1])
    assert any(line.startswith(f"ok       segkit         {__version__} in ") for line in lines)
    assert any(line.startswith("ok       training step  on ") for line in lines)
    assert lines[-1] == "Training would work here. Next: 'segkit doctor CONFIG' looks at a config and its data too."
    assert not (tmp_path / "runs").exists()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # of workers, from Python 3.12 on
def test_the_step_is_the_first_one_of_the_run(segkit, tiny, tmp_path):
    settings = [*tiny, "loss.class_weights=none", "training.log_every=1", "training.workers=1"]
    topics = found(segkit("doctor", "configs/streets/fcn8s.yaml", *settings, "--runs", tmp_path, "--json"))
    assert segkit("train", "configs/streets/fcn8s.yaml", *settings, "--run", tmp_path / "run")[0] == 0
    first = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[0])
    expected = f": loss {first['loss']:.3f}, gradient norm {first['gradient_norm']:.3g}, "
    assert expected in topics["training step"][0]["text"]
    written = sum(path.stat().st_size for path in (tmp_path / "run/checkpoints").iterdir())
    room = topics["checkpoints"][0]["text"].split()
    assert room[:4] == ["a", "run", "needs", "about"]
    assert written < 1e6 * float(room[4]) < 4 * written


def test_with_a_config_it_says_how_to_train(segkit, tmp_path):
    code, out, _ = segkit("doctor", "configs/streets/fcn8s.yaml", "data.size=[32,48]", "--no-step", "--runs", tmp_path)
    assert code == 0
    command = "segkit train configs/streets/fcn8s.yaml 'data.size=[32,48]'"
    assert out.splitlines()[-1] == f"Training would work here. Next: {command}"
    assert "training step" not in out


def test_a_folder_that_cannot_be_written_is_a_problem(segkit, read_only):
    code, out, _ = segkit("doctor", "--runs", read_only / "runs", "--no-step")
    assert code == 2
    assert f"problem  runs           --runs {read_only}/runs: {read_only} cannot be written (" in out
    assert out.splitlines()[-1].startswith("Training would not work as asked: runs")


# --- packages ---


def test_another_licence_under_the_name_of_albumentations_is_noted(tmp_path, monkeypatch):
    assert list(licence()) == []
    (tmp_path / "albumentationsx-2.5.1.dist-info").mkdir()
    (tmp_path / "albumentationsx-2.5.1.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: albumentationsx\nVersion: 2.5.1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = licence()
    assert (found.level, found.topic) == ("note", "albumentations")
    assert found.text.startswith("AlbumentationsX 2.5.1 (AGPL-3.0 or commercial licence) is installed")
    assert found.text.endswith("Or train without: transforms.backend=torchvision.")


def test_a_version_out_of_range_is_a_problem_with_a_command_and_an_untested_one_a_note():
    numpy, pillow = (importlib.metadata.version(name) for name in ("numpy", "pillow"))
    wanted = ["numpy==1.0", "no-such-package==2.5", "pillow>=1", "scipy>=1", "torch==0.1; sys_platform == 'none'"]
    tested = {"numpy": "1.0", "pillow": pillow, "scipy": "1.0"}
    out_of_range, missing, fitting, untested = packages([Requirement(line) for line in wanted], tested)
    command = f"{sys.executable} -m pip install"
    text = f"version {numpy}; expected ==1.0. Install it: {command} 'numpy==1.0'"
    assert out_of_range == Finding("problem", "numpy", text)
    text = f"not installed; expected no-such-package==2.5. Install it: {command} 'no-such-package==2.5'"
    assert missing == Finding("problem", "no-such-package", text)
    assert fitting == Finding("ok", "packages", f"as required: pillow {pillow}")
    assert (untested.level, untested.topic) == ("note", "packages")
    assert f"scipy {importlib.metadata.version('scipy')} (1.0)" in untested.text
    assert untested.text.endswith(f"{command} -r requirements.txt")


def test_ranges_and_tested_versions_are_the_checkouts_or_ranges_alone_the_installed_packages(monkeypatch, tmp_path):
    ranges = {each.name: each for each in doctor.requirements()}
    of_torch = ranges["torch"].specifier  # earlier ones run code from weight files
    assert [of_torch.contains(version) for version in ("2.9.1", "2.10.0")] == [False, True]
    assert {"torch", "wandb", "psutil"} <= ranges.keys() <= doctor.locked().keys()
    monkeypatch.setattr(doctor, "CHECKOUT", tmp_path)
    installed = {each.name for each in doctor.requirements()}
    assert {"torch", "wandb"} <= installed
    assert "pytest" not in installed | ranges.keys()
    assert doctor.locked() == {}


def test_without_torch_there_are_problems_and_no_traceback(segkit, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "segkit.diagnostics.rehearsal", raising=False)
    code, out, errors = segkit("doctor", "--runs", tmp_path)
    assert (code, errors) == (2, "")
    assert "problem  processor      ModuleNotFoundError: import of torch halted" in out
    assert "problem  config         ModuleNotFoundError: import of torch halted" in out


# --- the machine ---


def test_little_shared_memory_is_said(little_shared_memory, tmp_path):
    command = [sys.executable, "-m", "segkit", "doctor", "--no-step", "--json", "--runs", str(tmp_path)]
    ran = subprocess.run([*little_shared_memory, *command], capture_output=True, text=True, check=False)
    (said,) = found((ran.returncode, ran.stdout, ran.stderr))["shared memory"]
    assert said["level"] == "note"
    assert said["text"] == (
        "0 MB of 0 MB free in /dev/shm, which is little for data workers. Set training.workers=0, or raise it: "
        "docker run --shm-size=8g."
    )


def test_a_low_limit_of_open_files_and_too_many_threads_are_said(segkit, tmp_path):
    limits, threads = resource.getrlimit(resource.RLIMIT_NOFILE), torch.get_num_threads()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
        torch.set_num_threads(1000)
        topics = found(segkit("doctor", "--no-step", "--json", "--runs", tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        torch.set_num_threads(threads)
    files, processor = topics["open files"][0], topics["processor"][0]
    assert (files["level"], processor["level"]) == ("note", "note")
    assert files["text"] == "at most 512, which is few for data workers. Raise it: ulimit -n 4096."
    assert "More threads than cores slow training: OMP_NUM_THREADS=" in processor["text"]


def test_what_cannot_be_looked_at_is_a_problem_and_the_rest_is_still_found():
    def look():
        yield Finding("ok", "a", "before")
        raise LookupError("two\nlines")

    before, problem = looked_at("a", look)
    assert (before.text, problem) == ("before", Finding("problem", "a", "LookupError: two lines"))
    assert [each.topic for each in examine(None, ["nonsense"], step=False)][-1] == "config"
