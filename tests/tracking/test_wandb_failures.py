"""Whatever happens to W&B, the run is the one that it would have been."""

import os
import signal
import subprocess
import sys
import time
from threading import Thread

import pytest
import torch
import wandb
from safetensors.torch import load_file
from wandb_runs import REPOSITORY, TINY, read_session, services

from segkit.build import load_config
from segkit.runs.wandb_sync import start_tracker
from segkit.tracking.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("no_wandb_settings")
LONGER = [*TINY, "training.epochs=12"]


def start(run, *settings, program=("-m", "segkit"), **environment):
    """`segkit train` in a process of its own."""
    command = [sys.executable, *program, "train", "configs/streets/fcn8s.yaml", *settings, "--run", str(run)]
    about = os.environ | {"SEGKIT_CACHE": str(run.parent / "cache")} | environment
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=about, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def validated(run, times=1):
    return lambda: len(RunDir(run).records("validation")) >= times


def records(run):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in RunDir(run).records()]


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
    assert records(run) == records(other)
    best, expected = (load_file(each / "checkpoints/best.safetensors") for each in (run, other))
    assert all(torch.equal(best[key], expected[key]) for key in expected)
    assert RunDir(run).result()["test"] == RunDir(other).result()["test"]


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
    wait_for(validated(run))
    (service,) = services(process.pid)
    os.kill(service, sent)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0
    assert_one_warning(errors, run, reason)
    assert_same_run(run, undisturbed)
    with pytest.raises(ProcessLookupError):
        os.kill(service, 0)


def test_nothing_is_left_of_a_service_that_dies_just_before_the_end(finished):
    run = finished("fcn8s")
    tracker = start_tracker(load_config(run / "config.yaml")[0], RunDir(run), "offline")
    (service,) = services(os.getpid())
    os.kill(service, signal.SIGKILL)
    os.waitid(os.P_PID, service, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ConnectionResetError):
        tracker.close(0)
    assert wandb.run is None
    start_tracker(load_config(run / "config.yaml")[0], RunDir(run), "offline").close(0)  # the next one is whole


# --- the start ---


@pytest.mark.parametrize(
    ("settings", "environment", "reason"),
    [
        (["tracking.wandb=online"], {}, "there is no W&B login; run 'wandb login', or set WANDB_API_KEY."),
        (["tracking.wandb=online"], {"WANDB_API_KEY": "short"}, "AuthenticationError: WANDB_API_KEY invalid"),
        (
            ["tracking.wandb=online"],
            {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "1"},
            "CommError: ",
        ),
        (
            ["tracking.wandb=offline"],
            {"WANDB_MODE": "shared"},
            "WANDB_MODE = shared; expected online, offline or disabled.",
        ),
        (["tracking.wandb=offline"], {"WANDB_FINISH_TIMEOUT": "soon"}, "ValueError: could not convert string to float"),
    ],
    ids=["no login", "bad key", "no network", "bad mode", "bad time"],
)
def test_a_start_that_fails_is_one_warning(segkit, monkeypatch, tmp_path, settings, environment, reason):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    run = tmp_path / "run"
    code, out, errors = segkit(
        "train", "configs/streets/fcn8s.yaml", *TINY, "training.epochs=1", *settings, "--run", run
    )
    assert code == 0
    assert_one_warning(errors, run, reason)
    assert "mean IoU" in out
    assert RunDir(run).finished


def test_where_it_is_required_a_start_that_fails_ends_the_run_before_its_first_step(segkit, tmp_path):
    run = tmp_path / "run"
    code, _, errors = segkit("train", "configs/streets/fcn8s.yaml", *TINY, "tracking.wandb=required", "--run", run)
    assert code == 2
    assert "segkit: tracking.wandb = 'required', and W&B cannot be used: there is no W&B login;" in errors
    assert "Nothing was trained." in errors
    assert RunDir(run).records() == []


def test_a_folder_that_cannot_be_made_is_one_warning(segkit, finished):
    run = finished("fcn8s")
    (run / "result.json").unlink()  # as if stopped at its very end
    (run / "wandb").write_text("not a folder")
    code, _, errors = segkit("train", run / "config.yaml", "tracking.wandb=offline", "--run", run)
    assert code == 0
    assert_one_warning(errors, run, "FileExistsError: ")
    assert RunDir(run).finished
    assert (run / "wandb").read_text() == "not a folder"


@pytest.fixture
def no_package(monkeypatch):
    """Importing wandb fails."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "segkit.tracking.wandb", raising=False)


def test_without_the_package_there_is_one_warning(segkit, no_package, tmp_path):
    run = tmp_path / "run"
    code, _, errors = segkit(
        "train", "configs/streets/fcn8s.yaml", *TINY, "training.epochs=1", "tracking.wandb=offline", "--run", run
    )
    assert code == 0
    assert_one_warning(errors, run, "ModuleNotFoundError: ")


def test_a_disabled_run_never_imports_it(undisturbed):
    assert RunDir(undisturbed).finished  # its process ended with an error if it had


def test_the_environment_can_disable_it(segkit, no_package, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = tmp_path / "run"
    code, _, errors = segkit(
        "train", "configs/streets/fcn8s.yaml", *TINY, "training.epochs=1", "tracking.wandb=online", "--run", run
    )
    assert (code, errors) == (0, "")
    assert not list(run.glob("wandb*"))


# --- interruptions ---


def assert_same_session(run, before):
    """The W&B run is still the one of `before`, the text of wandb.json, and has every step once."""
    session = read_session(run)
    assert (run / "wandb.json").read_text() == before
    assert f'"{session.run["run_id"]}"' in before
    assert (
        [item["_step"] for item in session.history] == [item["step"] for item in session.history] == list(range(1, 25))
    )
    assert [item["step"] for item in session.history if "validation/mean_iou" in item] == list(range(2, 25, 2))


@pytest.fixture
def heard():
    """Ctrl-C is heard, also where a shell started the tests in the background: it makes such jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_a_run_that_ctrl_c_stopped_goes_on_as_the_same_w_and_b_run(undisturbed, segkit, tmp_path):
    run = tmp_path / "run"
    command = ("train", "configs/streets/fcn8s.yaml", *LONGER, "tracking.wandb=offline", "--run", run)

    def interrupt():
        wait_for(validated(run, 3))
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt).start()
    code, _, errors = segkit(*command)
    assert code == 130
    assert "segkit: Ctrl-C: stopped; this resumes after step " in errors.splitlines()[-1]
    assert services(os.getpid()) == []
    stopped, before = read_session(run), (run / "wandb.json").read_text()
    assert stopped.of("exit")[0]["exit_code"] == 130
    assert segkit(*command)[::2] == (0, "")
    assert_same_run(run, undisturbed)
    assert_same_session(run, before)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_killed_goes_on_as_the_same_w_and_b_run(undisturbed, segkit, tmp_path, sent):
    run = tmp_path / "run"
    process = start(run, *LONGER, "tracking.wandb=offline")
    wait_for(validated(run, 3))
    process.send_signal(sent)
    process.communicate()
    assert process.returncode == (143 if sent == signal.SIGTERM else -sent)
    before = (run / "wandb.json").read_text()
    code, _, errors = segkit("train", "configs/streets/fcn8s.yaml", *LONGER, "tracking.wandb=offline", "--run", run)
    assert (code, "W&B" in errors) == (0, False)
    assert_same_run(run, undisturbed)
    assert_same_session(run, before)
