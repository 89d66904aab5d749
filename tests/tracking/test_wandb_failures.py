"""Whatever happens to W&B, the run is the one that it would have been."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import wandb
from same_runs import differences
from wandb_runs import REPOSITORY, TINY, read_session, services

from segkit.build import load_config
from segkit.runs.wandb_sync import start_tracker
from segkit.tracking.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("no_wandb_settings")
LONGER = [*TINY, "training.epochs=8"]


def start(run, *settings, program=("-m", "segkit"), **environment):
    """`segkit train` in a process of its own."""
    command = [sys.executable, *program, "train", "configs/streets/fcn8s.yaml", *settings, "--run", str(run)]
    about = os.environ | {"SEGKIT_CACHE": str(run.parent / "cache")} | environment
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=REPOSITORY, env=about, **pipes)


def wait_for_validations(run, times=1):
    deadline = time.monotonic() + 120
    while len(RunDir(run).records("validation")) < times:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def assert_one_warning(errors, run, reason):
    assert errors.startswith(f"segkit: W&B is off for the rest of this run: {reason}"), errors
    assert errors.endswith(f" 'segkit sync {run}' sends it later.\n"), errors
    assert errors.count("\n") == 1, errors


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The long run without W&B, in a process that ends with an error if anything imported it."""
    run = tmp_path_factory.mktemp("plain") / "run"
    code = (
        "import sys; from segkit.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert 'torch' in sys.modules\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'wandb']\n"
    )
    process = start(run, *LONGER, program=["-c", code], WANDB_MODE="online")
    assert (process.communicate()[1], process.returncode) == ("", 0)
    return run


def assert_same_run(run, other):
    assert set(differences(run, other)) <= {"config.yaml"}


# --- the service ---


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (signal.SIGKILL, "ConnectionResetError"),
        pytest.param(signal.SIGSTOP, "TimeoutError: W&B did not answer", marks=pytest.mark.slow),
    ],
    ids=["dies", "hangs"],
)
def test_a_service_that_dies_or_hangs_changes_nothing(undisturbed, tmp_path, sent, reason):
    run = tmp_path / "run"
    process = start(run, *LONGER, "tracking.wandb=offline", WANDB_FINISH_TIMEOUT="1")
    wait_for_validations(run)
    (service,) = services(process.pid)
    os.kill(service, sent)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0
    assert_one_warning(errors, run, reason)
    assert_same_run(run, undisturbed)
    with pytest.raises(ProcessLookupError):
        os.kill(service, 0)


def test_nothing_is_left_of_a_service_that_dies_just_before_the_end(trained_once):
    run, config = RunDir(trained_once), load_config(trained_once / "config.yaml")[0]
    tracker = start_tracker(config, run, "offline")
    (service,) = services(os.getpid())
    os.kill(service, signal.SIGKILL)
    os.waitid(os.P_PID, service, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ConnectionResetError):
        tracker.close(0)
    assert wandb.run is None
    start_tracker(config, run, "offline").close(0)  # the next one is whole


# --- the start ---


@pytest.fixture
def trained_once(pair, tmp_path):
    """A copy of a run without W&B that stopped at its very end, before its result."""
    run = shutil.copytree(pair[0], tmp_path / "run")
    (run / "result.json").unlink()
    return run


NOWHERE = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "1"}


@pytest.mark.parametrize(
    ("mode", "environment", "reason"),
    [
        ("online", {}, "there is no W&B login; run 'wandb login', or set WANDB_API_KEY."),
        ("online", {"WANDB_API_KEY": "short"}, "AuthenticationError: WANDB_API_KEY invalid"),
        ("online", NOWHERE, "CommError: "),
        ("offline", {"WANDB_MODE": "shared"}, "WANDB_MODE = shared; expected online, offline or disabled."),
        ("offline", {"WANDB_FINISH_TIMEOUT": "soon"}, "ValueError: could not convert string to float"),
    ],
    ids=["no login", "bad key", "no network", "bad mode", "bad time"],
)
def test_a_start_that_fails_is_one_warning(segkit, monkeypatch, trained_once, mode, environment, reason):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    config = trained_once / "config.yaml"
    code, out, errors = segkit("train", config, f"tracking.wandb={mode}", "--run", trained_once)
    assert code == 0
    assert_one_warning(errors, trained_once, reason)
    assert "mean IoU" in out
    assert RunDir(trained_once).finished


def test_where_it_is_required_a_start_that_fails_ends_the_run_before_its_first_step(segkit, tmp_path):
    run = tmp_path / "run"
    code, _, errors = segkit("train", "configs/streets/fcn8s.yaml", *TINY, "tracking.wandb=required", "--run", run)
    assert code == 2
    assert "segkit: tracking.wandb = 'required', and W&B cannot be used: there is no W&B login;" in errors
    assert "Nothing was trained." in errors
    assert RunDir(run).records() == []


def test_a_folder_that_cannot_be_made_is_one_warning(segkit, trained_once):
    (trained_once / "wandb").write_text("not a folder")
    config = trained_once / "config.yaml"
    code, _, errors = segkit("train", config, "tracking.wandb=offline", "--run", trained_once)
    assert code == 0
    assert_one_warning(errors, trained_once, "FileExistsError: ")
    assert RunDir(trained_once).finished
    assert (trained_once / "wandb").read_text() == "not a folder"


def test_without_the_package_there_is_one_warning_unless_the_environment_disables_it(
    segkit, monkeypatch, trained_once, tmp_path
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "segkit.tracking.wandb", raising=False)
    config, other = trained_once / "config.yaml", shutil.copytree(trained_once, tmp_path / "other")
    code, _, errors = segkit("train", config, "tracking.wandb=offline", "--run", trained_once)
    assert code == 0
    assert_one_warning(errors, trained_once, "ModuleNotFoundError: ")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert segkit("train", config, "tracking.wandb=online", "--run", other)[::2] == (0, "")
    assert not list(other.glob("wandb*"))


# --- interruptions ---


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_stopped_goes_on_as_the_same_w_and_b_run(undisturbed, segkit, tmp_path, sent, code):
    run = tmp_path / "run"
    process = start(run, *LONGER, "tracking.wandb=offline")
    wait_for_validations(run, 3)
    process.send_signal(sent)
    errors = process.communicate()[1]
    assert process.returncode == code
    before = (run / "wandb.json").read_text()
    if sent == signal.SIGINT:
        assert "segkit: Ctrl-C: stopped; this resumes after step " in errors.splitlines()[-1]
        assert read_session(run).of("exit")[0]["exit_code"] == 130
    arguments = ("configs/streets/fcn8s.yaml", *LONGER, "tracking.wandb=offline", "--run", run)
    assert segkit("train", *arguments)[::2] == (0, "")
    assert_same_run(run, undisturbed)
    session = read_session(run)
    assert (run / "wandb.json").read_text() == before
    assert f'"{session.run["run_id"]}"' in before
    steps = list(range(1, 17))
    assert [item["_step"] for item in session.history] == [item["step"] for item in session.history] == steps
    assert [item["step"] for item in session.history if "validation/mean_iou" in item] == steps[1::2]
