"""What tests of outside components share."""

import shutil
from pathlib import Path

import pytest

import segkit
from segkit.config import plugins

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


@pytest.fixture(autouse=True)
def nobody_is_trusted(monkeypatch):
    """No plugin file is trusted because another test of this process named it."""
    monkeypatch.setattr(plugins, "_trusted", set())
    monkeypatch.setenv(plugins.TRUST, "0")


@pytest.fixture(scope="session")
def origin(tmp_path_factory, tiny_config):
    """A folder `project` with the U-Net of the docs beside a config that names it, `run`, which was trained with it,
    and the `cache` of that machine."""
    folder = tmp_path_factory.mktemp("origin")
    (folder / "project").mkdir()
    shutil.copy(EXAMPLES / "unet.py", folder / "project")
    text = tiny_config.replace("{name: fcn8s, head_width: 16}", "{name: unet, width: 4}")
    (folder / "project/my.yaml").write_text(f"name: mine\nplugins: [unet.py]\n{text}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_CACHE", str(folder / "cache"))
        segkit.train(segkit.load_config(folder / "project/my.yaml"), folder / "run")
    return folder


@pytest.fixture
def project(origin, tmp_path):
    """The folder of the config and its plugin."""
    return shutil.copytree(origin / "project", tmp_path / "project")


@pytest.fixture
def trained(origin, tmp_path):
    """The run, on the machine that trained it."""
    shutil.copytree(origin / "cache", tmp_path / "cache")
    return shutil.copytree(origin / "run", tmp_path / "run")
