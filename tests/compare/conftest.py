"""Finished runs to compare: two methods, one of them with two seeds; and a report of them."""

import shutil
from pathlib import Path

import pytest

from segkit.build import load_config
from segkit.compare.collect import read_methods
from segkit.experiments.report import write_report
from segkit.runs.train import train_run
from segkit.tracking.run_dir import RunDir

ROOT = Path(__file__).parents[2]
SMALL = [
    "data.size=[32,48]", "data.train_images=8", "data.val_images=3", "data.test_images=6", "model.encoder.width=0.0625",
    "training.epochs=2", "training.batch_size=4", "evaluation.every_epochs=1",
]  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folders of three runs: fcn32s with seeds 0 and 1, fcn8s with seed 0. They have no weights: no comparison needs
    them."""
    folder, found = tmp_path_factory.mktemp("trained"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_CACHE", str(folder / "cache"))
        for decoder, seed in (("fcn32s", 0), ("fcn32s", 1), ("fcn8s", 0)):
            config, _ = load_config(ROOT / f"configs/streets/{decoder}.yaml", [*SMALL, f"seed={seed}"])
            found.append(folder / f"{decoder}_{seed}")
            train_run(config, RunDir(found[-1]))
            shutil.rmtree(found[-1] / "checkpoints")
    return found


@pytest.fixture
def copies(trained, tmp_path):
    """The same runs, to be damaged."""
    return [shutil.copytree(path, tmp_path / "copies" / path.name) for path in trained]


@pytest.fixture(scope="session")
def methods(trained):
    """The two methods of these runs."""
    return read_methods(trained)


@pytest.fixture(scope="session")
def report(methods, tmp_path_factory):
    """The folder of their report."""
    out = tmp_path_factory.mktemp("report") / "out"
    write_report(methods, out)
    return out
