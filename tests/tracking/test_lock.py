"""A run folder is held by one process at a time, and by nobody once that process is gone."""

import os
import signal
import subprocess
import sys

import pytest

from segkit.errors import InputError
from segkit.tracking.lock import in_use, locked

HOLD = """import sys, time, pathlib
from segkit.tracking.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds a run folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_that_another_process_holds_is_refused_by_its_number(holder, tmp_path):
    assert in_use(tmp_path / "run")
    expected = rf"run is in use by process {holder.pid} on \S+ since [-\d]{{10}} \d\d:\d\d\. Wait for it, or end it"
    with pytest.raises(InputError, match=expected), locked(tmp_path / "run"):
        pass


def test_a_process_that_is_killed_holds_nothing(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert str(holder.pid) in (tmp_path / ".run.lock").read_text()
    assert not in_use(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert in_use(tmp_path / "run")
        assert f"process {os.getpid()} on " in (tmp_path / ".run.lock").read_text()


def test_a_folder_is_held_under_all_its_names(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert in_use(tmp_path / "latest")
        with pytest.raises(InputError, match="in use by process"), locked(tmp_path / "latest"):
            pass


def test_what_was_held_leaves_nothing_behind_whatever_happens_meanwhile(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "run"):
        raise ValueError("inside")
    assert list(tmp_path.iterdir()) == []
    assert not in_use(tmp_path / "run")


def test_a_run_that_is_being_trained_is_neither_trained_nor_deleted_by_another(segkit, tiny, tmp_path):
    with locked(tmp_path / "run"):
        for options in ([], ["--overwrite"]):
            code, _, errors = segkit("train", "configs/streets/fcn32s.yaml", *tiny, "--run", tmp_path / "run", *options)
            assert code == 2
            assert f"{tmp_path / 'run'} is in use by process {os.getpid()}" in errors
    assert not (tmp_path / "run").exists()
