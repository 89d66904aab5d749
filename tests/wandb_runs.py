"""W&B runs in tests: a tiny one, its services, and its records read back with the SDK's own reader.

The fixtures are known to all tests: conftest.py imports them.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
TINY = [
    "data.size=[32,48]", "data.train_images=8", "data.val_images=3", "data.test_images=4", "model.encoder.width=0.0625",
    "training.epochs=3", "training.batch_size=4", "evaluation.every_epochs=1", "training.log_every=1", "tracking.images=2",
]  # fmt: skip


def services(parent: int) -> list[int]:
    """Ids of the W&B services that a process started."""
    command = ["pgrep", "-P", str(parent), "-x", "wandb-core"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


@dataclass(frozen=True)
class Session:
    """A local W&B session, as the SDK's own reader shows it."""

    folder: Path
    records: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record[kind] for record in self.records if record["type"] == kind]

    @property
    def run(self) -> dict[str, Any]:
        return self.of("run")[0]

    @property
    def config(self) -> dict[str, Any]:
        """The last state of the config: each update is the whole of it, or one dotted key."""
        later = {key: value for update in self.of("config") for key, value in update["update"].items()}
        return self.run["config"]["update"] | later

    @property
    def history(self) -> list[dict[str, Any]]:
        return [record["item"] for record in self.of("history")]

    @property
    def summary(self) -> dict[str, Any]:
        return {key: value for update in self.of("summary") for key, value in update["update"].items()}

    def table(self, key: str) -> dict[str, Any]:
        return json.loads((self.folder / "files" / self.history[-1][f"{key}.path"]).read_text())


def read_session(run: Path) -> Session:
    """The one local session that a run folder holds."""
    (folder,) = (run / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Session(folder, [json.loads(line) for line in shown.splitlines()])


@pytest.fixture
def no_wandb_settings(monkeypatch, tmp_path):
    """None of the caller's W&B settings or logins counts, and no service outlives a test."""
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    assert services(os.getpid()) == []
    assert "WANDB_DATA_DIR" not in os.environ


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """One experiment, trained without W&B and with it."""
    from segkit.build import load_config  # not before pytest has the shapes of segkit checked
    from segkit.runs.train import train_run
    from segkit.tracking.run_dir import RunDir

    root = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_CACHE", str(root / "cache"))
        patch.chdir(REPOSITORY)
        for key in [key for key in os.environ if key.startswith("WANDB_")]:
            patch.delenv(key)
        for mode in ("disabled", "offline"):
            about = ["seed=3", "tracking.group=four decoders", "tracking.method=FCN-8s", f"tracking.wandb={mode}"]
            config, _ = load_config(REPOSITORY / "configs/streets/fcn8s.yaml", [*TINY, *about])
            train_run(config, RunDir(root / mode))
    return root / "disabled", root / "offline"


@pytest.fixture(scope="session")
def session(pair):
    return read_session(pair[1])
