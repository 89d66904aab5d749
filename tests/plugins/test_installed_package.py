"""An installed package with a decoder, a loss, a dataset and an encoder takes part in an experiment like our own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segkit.config import plugins

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "Outside.Parts"
version = "1.2"
[tool.setuptools]
packages = ["outside_parts"]
[project.entry-points."segkit.decoders"]
outside_unet = "outside_parts.unet:UNet"
broken = "outside_parts.missing:UNet"
odd = "outside_parts.unet:DECODERS"
[project.entry-points."segkit.losses"]
outside_power = "outside_parts.power_loss:PowerLoss"
[project.entry-points."segkit.datasets"]
outside_npy = "outside_parts.npy_folder:NpyFolder"
[project.entry-points."segkit.encoders"]
outside_small = "outside_parts.small_encoder:SmallEncoder"
"""
EXPERIMENT = """
name: outside
set:
  data: {name: outside_npy, root: DATA, classes: [road, sky]}
  model: {encoder: {name: outside_small, width: 4}}
  loss: {function: outside_power, class_weights: median_frequency}
  optimizer: {name: adamw, lr: 0.001}
  schedule: constant
  training: {epochs: 1, batch_size: 4}
axes:
  decoder: {ours: {model: {decoder: {name: fcn8s, head_width: 16}}}, theirs: {model: {decoder: {name: outside_unet, width: 4}}}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package, as pip installs it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    shutil.copytree(EXAMPLES, source / "outside_parts")
    (source / "outside_parts/__init__.py").touch()
    (source / "pyproject.toml").write_text(PROJECT)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True)
    return target


@pytest.fixture
def package(installed, tmp_path, monkeypatch):
    """The package, on the path of this process and of those that it starts."""
    copy = shutil.copytree(installed, tmp_path / "site")
    monkeypatch.syspath_prepend(str(copy))
    monkeypatch.setenv("PYTHONPATH", str(copy), prepend=":")
    plugins._entries.cache_clear()
    yield copy
    plugins._entries.cache_clear()


@pytest.fixture
def experiment(tmp_path):
    """An experiment file, and its dataset."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 4, "val": 2, "test": 2}.items():
        folder = tmp_path / "data" / split
        folder.mkdir(parents=True)
        for index in range(count):
            np.save(folder / f"{index}_image.npy", rng.integers(0, 256, (32, 48, 3), np.uint8))
            np.save(folder / f"{index}_labels.npy", rng.integers(0, 2, (32, 48), np.uint8))
    file = tmp_path / "experiment.yaml"
    file.write_text(EXPERIMENT.replace("DATA", str(tmp_path / "data")))
    return file


def test_it_is_trained_in_an_experiment_evaluated_and_compared(segkit, package, experiment, tmp_path):
    runs = tmp_path / "runs"
    code, out, errors = segkit("experiment", "run", experiment, "--runs", runs)
    assert (code, errors) == (0, "")
    assert "2 of 2 members are finished." in out
    theirs = runs / "outside/theirs"
    noted = "plugins: [{package: Outside.Parts, version: '1.2'}]\n"
    assert (theirs / "config.yaml").read_text().endswith(noted)
    assert json.loads((theirs / "environment.json").read_text())["packages"] == {"Outside.Parts": "1.2"}
    stored = (theirs / "confusion_test.npz").read_bytes()
    assert segkit("evaluate", theirs)[0] == 0
    assert (theirs / "confusion_test.npz").read_bytes() == stored
    code, out, errors = segkit("compare", experiment, "--runs", runs, "--out", tmp_path / "report")
    assert (code, errors) == (0, "")
    rows = (tmp_path / "report/scores.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["ours", "theirs"]

    (info,) = package.glob("*.dist-info")
    metadata = info / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.2", "Version: 1.3"))
    plugins._entries.cache_clear()
    code, out, errors = segkit("experiment", "run", experiment, "--runs", runs)
    assert code == 2
    assert "different: plugins.Outside.Parts ('1.2' there, '1.3' here)" in errors


def test_its_names_are_offered_and_one_that_cannot_be_loaded_is_named_when_it_is_wanted(segkit, package):
    config = "configs/streets/fcn8s.yaml"
    code, _, errors = segkit("show", config, "model.decoder=outside_unett")
    assert code == 2
    assert "Did you mean 'outside_unet'? Available: bilinear_interpolation, broken, " in errors
    assert segkit("show", config, "model.decoder=outside_unet")[0] == 0
    code, _, errors = segkit("show", config, "model.decoder=broken")
    assert (code, errors.count("\n")) == (2, 1)
    assert "model.decoder = 'broken', of the package Outside.Parts 1.2 (outside_parts.missing:UNet): Modu" in errors
    code, _, errors = segkit("show", config, "model.decoder=odd")
    assert (code, errors.count("\n")) == (2, 1)
    assert "(outside_parts.unet:DECODERS): " in errors
    assert " is not a class or function; a decoder is expected to take (stages, num_classes, *, option" in errors


def test_a_package_may_not_take_a_name_of_ours(segkit, package, tmp_path):
    info = tmp_path / "site/clash-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clash\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[segkit.decoders]\nfcn8s = outside_parts.unet:UNet\noutside_unet = outside_parts.unet:UNet\n"
    )
    plugins._entries.cache_clear()
    code, _, errors = segkit("show", "configs/streets/fcn8s.yaml")
    assert code == 2
    assert "model.decoder = 'fcn8s': both segkit and the package clash 1.0 have a decoder of that name" in errors
    assert segkit("show", "configs/streets/segnet.yaml")[0] == 0
    code, _, errors = segkit("show", "configs/streets/fcn8s.yaml", "model.decoder=outside_unet")
    assert code == 2
    assert "have a decoder of that name; expected one" in errors
