"""A run is trained once."""

from pathlib import Path

import pytest

from segkit.build import load_config
from segkit.errors import InputError
from segkit.runs.train import complete_run
from segkit.tracking.run_dir import RunDir

CONFIG = Path(__file__).parents[2] / "configs/streets/fcn32s.yaml"


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_finished_run_is_read_and_not_trained_again(tmp_path, tiny):
    config, _ = load_config(CONFIG, tiny)
    run = RunDir(tmp_path / "run")
    result, before = complete_run(config, run), written(run.path)
    assert (result["decoder"], len(result["test"]["iou"])) == ("fcn32s", 11)
    assert complete_run(config, run) == result
    assert written(run.path) == before


def test_a_folder_with_another_experiment_is_refused(tmp_path, tiny):
    complete_run(load_config(CONFIG, tiny)[0], RunDir(tmp_path / "run"))
    with pytest.raises(InputError, match=r"holds a run of another config; different: seed \(0 there, 1 here\)"):
        complete_run(load_config(CONFIG, [*tiny, "seed=1"])[0], RunDir(tmp_path / "run"))
