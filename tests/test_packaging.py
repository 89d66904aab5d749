"""What an installed package holds, and that it works without a checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, str]:
    """Package -> version in one of the lock files."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if "==" in line]
    return dict(line.split("==") for line in lines)


def test_every_package_that_pyproject_allows_in_a_range_is_pinned_within_it():
    extras = PROJECT["optional-dependencies"]
    locks = {
        "requirements.txt": PROJECT["dependencies"] + extras["slurm"],
        "requirements-dev.txt": extras["docs"] + extras["dev"],
    }
    for file, lines in locks.items():
        wanted = [each for each in map(Requirement, lines) if each.name != "segkit"]
        assert [str(each) for each in wanted if not each.specifier.contains(pins(file).get(each.name, ""))] == []


def test_the_configs_are_copied_into_a_new_folder(segkit, tmp_path):
    code, _, errors = segkit("configs", tmp_path / "mine")
    assert (code, errors) == (0, "")
    files = {path.relative_to(tmp_path / "mine") for path in (tmp_path / "mine").rglob("*.yaml")}
    assert files == {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}
    assert segkit("show", tmp_path / "mine/streets/fcn8s.yaml")[0] == 0
    code, _, errors = segkit("configs", tmp_path / "mine")
    assert (code, errors.count("exists; nothing was written.")) == (2, 1)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the working tree, built from a copy of it."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "segkit", folder / "source/segkit", ignore=ignored, symlinks=True)
    shutil.copytree(ROOT / "configs", folder / "source/configs")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, folder / "source"], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs the `segkit` of that wheel in a folder of its own: an environment with this one's other packages."""
    folder = tmp_path_factory.mktemp("installed")
    python = folder / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel]
    subprocess.run(command, check=True)
    packages = next((folder / "venv/lib").glob("python*/site-packages"))
    (packages / "others.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    settings = {key: text for key, text in os.environ.items() if not key.startswith(("PYTHON", "WANDB_"))}
    settings["SEGKIT_CACHE"] = str(folder / "cache")
    work = folder / "work"
    work.mkdir()

    def run(*arguments: object) -> str:
        command = [python.with_name("segkit"), *map(str, arguments)]
        ran = subprocess.run(command, cwd=work, env=settings, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{arguments}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    run.work, run.packages = work, packages
    return run


@pytest.mark.slow
def test_a_wheel_holds_the_data_files_of_the_package_and_the_configs(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (ROOT / "segkit").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    expected = {f"segkit/configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.yaml")}
    expected |= {str(path.relative_to(ROOT)) for path in files if "configs" not in path.parts}
    assert expected - names == set()
    assert {"segkit/py.typed", "segkit/compare/browser/page.js", "segkit/viz/samples.html"} <= names
    assert {"segkit/data/lists/camvid_train.txt", "segkit/configs/streets/fcn8s.yaml"} <= names


@pytest.mark.slow
def test_an_installed_wheel_trains_compares_and_shows_samples_from_an_empty_folder(installed, tiny):
    out = installed("doctor", "--no-step")
    assert f"in {installed.packages / 'segkit'}" in out
    assert "Training would work here." in out
    assert "try 'segkit train configs/streets/fcn8s.yaml'" in installed("configs")
    for decoder in ("fcn8s", "segnet"):
        out = installed("train", f"configs/streets/{decoder}.yaml", *tiny)
        assert "mean IoU" in out
    installed("compare", "runs", "--out", "report")
    installed("data", "browse", "configs/streets/fcn8s.yaml", *tiny, "--out", "samples.html")
    assert {"configs", "report", "runs", "samples.html"} == {path.name for path in installed.work.iterdir()}
    assert (installed.work / "report/index.html").stat().st_size > 10_000
