"""An environment without W&B's settings, no service left running, and one run that is read by many tests."""

import os

import pytest
from wandb_runs import REPOSITORY, TINY, read_session, services

from segkit.build import load_config
from segkit.runs.train import train_run
from segkit.tracking.run_dir import RunDir


@pytest.fixture(autouse=True)
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
    root = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_CACHE", str(root / "cache"))
        patch.chdir(REPOSITORY)
        for key in [key for key in os.environ if key.startswith("WANDB_")]:
            patch.delenv(key)
        for mode in ("disabled", "offline"):
            settings = [
                *TINY,
                "seed=3",
                "tracking.group=four decoders",
                "tracking.method=FCN-8s",
                f"tracking.wandb={mode}",
            ]
            config, _ = load_config(REPOSITORY / "configs/streets/fcn8s.yaml", settings)
            train_run(config, RunDir(root / mode))
    return root / "disabled", root / "offline"


@pytest.fixture(scope="session")
def session(pair):
    return read_session(pair[1])
