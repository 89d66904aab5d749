"""Disks that are full, read-only or gone: what was saved stays, the message says what is needed, the same command goes
on."""

import shutil
import subprocess
from pathlib import Path

import pytest
from same_runs import differences
from test_interruptions import CONFIG

from segkit.engine import checkpoint
from segkit.engine.checkpoint import Checkpoints
from segkit.tracking.run_dir import RunDir

SIZE = 16  # MB


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", place]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path / "config.yaml"


@pytest.fixture
def after(monkeypatch):
    """Calls a function once, when a record of a kind and step has been written."""

    def arrange(kind: str, step: int, act) -> None:
        write, done = RunDir.write, []

        def watched(self, found, record):
            write(self, found, record)
            if (found, record["step"]) == (kind, step) and not done:
                done.append(True)
                act()

        monkeypatch.setattr(RunDir, "write", watched)

    return arrange


def fill(disk: Path, leave: int) -> None:
    """Takes all but some bytes of a file system."""
    (disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(disk).free - leave))


def whole(checkpoints: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoints.iterdir()}


def trained(segkit, config, run):
    code, out, errors = segkit("train", config, "--run", run)
    return code, errors, out


@pytest.mark.parametrize("known", [True, False])
def test_a_full_disk_leaves_the_checkpoint_before(segkit, config, disk, tmp_path, after, monkeypatch, known):
    """Whether it is noticed before anything is written, or fills up (through another process) while it is."""
    assert trained(segkit, config, tmp_path / "whole")[0] == 0
    run, before = disk / "run", {}
    if not known:
        monkeypatch.setattr(checkpoint, "require_space", lambda folder, size: None)
    kind, step, leave = ("train", 4, 200_000) if known else ("validation", 6, 300_000)
    after(kind, step, lambda: (before.update(whole(run / "checkpoints")), fill(disk, leave)))
    code, errors, _ = trained(segkit, config, run)
    assert (code, errors.startswith("segkit: disk full: ")) == (1, True)
    if known:
        assert f"1.4 MB needed, 0.2 MB free at {run / 'checkpoints'}. Free some space, then repeat the comm" in errors
        assert len(errors.splitlines()) == 1
    assert whole(run / "checkpoints") == before
    (disk / "filler").unlink()
    code, errors, out = trained(segkit, config, run)
    assert (code, errors) == (0, "")
    assert "resuming after step 3" in out
    assert differences(tmp_path / "whole", run) == []


def test_a_disk_that_becomes_read_only_leaves_what_was_saved(segkit, config, disk, tmp_path, after):
    assert trained(segkit, config, tmp_path / "whole")[0] == 0
    run = disk  # the lock, an open file, lies beside it

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)

    after("validation", 6, lambda: remount("ro"))
    code, errors, _ = trained(segkit, config, run)
    assert code == 1, errors
    assert "Read-only file system" in errors
    assert len(errors.splitlines()) == 1
    code, errors, _ = trained(segkit, config, run)
    assert code in (1, 2)
    assert "Read-only file system" in errors
    remount("rw")
    code, errors, out = trained(segkit, config, run)
    assert code == 0
    assert "resuming after step 3" in out
    assert differences(tmp_path / "whole", run) == []


def test_a_folder_that_is_gone_is_not_made_again_somewhere_else(segkit, config, tmp_path, after):
    run, away = tmp_path / "run", tmp_path / "away"
    after("validation", 6, lambda: run.rename(away))
    code, errors, _ = trained(segkit, config, run)
    assert code == 1
    assert f"segkit: {run / 'checkpoints'} is gone: " in errors
    assert not run.exists()
    away.rename(run)
    code, errors, out = trained(segkit, config, run)
    assert (code, errors) == (0, "")
    assert "resuming after step 3" in out


def test_a_partial_file_of_a_killed_process_is_removed_by_the_next(segkit, config, tmp_path, after, monkeypatch):
    run = tmp_path / "run"
    save = Checkpoints.save

    def killed(checkpoints, state):
        save(checkpoints, state)
        raise MemoryError

    monkeypatch.setattr(Checkpoints, "save", killed)
    assert trained(segkit, config, run)[0] == 1
    (run / "checkpoints/.step_00000006_epoch_0002.pt.99.partial").write_bytes(b"half")
    monkeypatch.setattr(Checkpoints, "save", save)
    assert trained(segkit, config, run)[0] == 0
    assert not list(run.rglob(".*.partial"))
