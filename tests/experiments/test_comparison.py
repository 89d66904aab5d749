"""Comparisons as the command line opens them: which runs, what is said about them, and what is written."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml

from segkit.compare.collect import read_methods
from segkit.compare.ledger import Costs
from segkit.errors import InputError
from segkit.experiments import comparison as comparison_module
from segkit.experiments.comparison import finished_runs, open_comparison
from segkit.tracking.run_dir import RunDir


def test_repetitions_of_one_decoder_are_one_method_and_every_pair_gets_a_verdict(trained, message):
    comparison = open_comparison(trained)
    assert [(method.name, method.seeds) for method in comparison.methods] == [("fcn32s", (0, 1)), ("fcn8s", (0,))]
    scores = [RunDir(path).result()["test"]["mean_iou"] for path in trained]
    (pair,) = comparison.statistics.pairs
    assert pair.difference == pytest.approx(np.mean(scores[:2]) - scores[2], abs=1e-12)
    (verdict,) = comparison.verdicts()
    assert verdict.startswith(pair.verdict)
    message(verdict, pair.verdict, 1)
    assert [cost.name for cost in comparison.costs] == ["fcn32s", "fcn8s"]
    low, high = comparison.statistics.intervals["fcn8s"]
    assert comparison.tables()["scores"].rows[1][6] == f"{100 * low:.1f} to {100 * high:.1f}"
    assert [cost.parameters for cost in comparison.costs] == [RunDir(trained[i]).result()["parameters"] for i in (0, 2)]


def set_key(run, key, value):
    """Changes one value of a run's config."""
    values = yaml.safe_load((run / "config.yaml").read_text())
    section, _, last = key.rpartition(".")
    (values[section] if section else values)[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(values))


def test_the_same_runs_under_two_names_are_not_distinguishable(trained, copies, message):
    for path in copies[:2]:
        set_key(path, "tracking.method", "other name")
    comparison = open_comparison([*trained[:2], *copies[:2]])
    assert [method.name for method in comparison.methods] == ["fcn32s", "other name"]
    message(comparison.verdicts(), "fcn32s, other name", "+0.0 [0.0, 0.0]", 2)


def test_folders_of_runs_and_experiments_stand_for_their_finished_runs(trained, copies, tmp_path):
    (copies[1] / "result.json").unlink()
    assert finished_runs([copies[0].parent]) == ([copies[0], copies[2]], [copies[1]])
    assert finished_runs([copies[2], copies[0].parent])[0] == [copies[2], copies[0]]

    folder = tmp_path / "runs" / "trial"
    for path, name in zip(trained, ("fcn32s-seed0", "fcn32s-seed1", "fcn8s-seed0"), strict=True):
        shutil.copytree(path, folder / name)
    shutil.rmtree(folder / "fcn32s-seed1")
    file = tmp_path / "experiment.yaml"
    file.write_text(
        f"name: trial\nbase: {trained[0] / 'config.yaml'}\naxes: {{decoder: [fcn32s, fcn8s], seed: [0, 1]}}\n"
    )
    found, others = finished_runs([file], runs=tmp_path / "runs")
    assert [path.name for path in found] == ["fcn32s-seed0", "fcn8s-seed0"]
    assert [path.name for path in others] == ["fcn32s-seed1", "fcn8s-seed1"]


def test_nothing_finished_is_an_error(copies, tmp_path, message):
    for path in copies:
        (path / "result.json").unlink()
    with pytest.raises(InputError) as caught:
        finished_runs([copies[0].parent])
    message(caught.value, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no run; expected finished ones"):
        finished_runs([tmp_path / "empty"])
    assert finished_runs([tmp_path / "nowhere"])[0] == [tmp_path / "nowhere"]  # named where it is opened


def test_costs_that_cannot_be_counted_are_left_out_and_said(copies):
    for path in copies:
        set_key(path, "data", {"name": "camvid", "root": "/nowhere"})
    comparison = open_comparison(copies)
    assert comparison.costs == []
    assert list(comparison.tables()) == ["scores", "classes", "differences", "settings"]
    assert comparison.notes[0].startswith("Left out: costs: ")
    assert "/nowhere" in comparison.notes[0]


def test_compare_prints_and_writes_scores_differences_and_costs(segkit, trained, tmp_path):
    code, out, errors = segkit("compare", trained[0].parent, "--out", tmp_path / "out", "--browser-images", 2)
    assert (code, errors) == (0, "")
    with (tmp_path / "out/differences.csv").open(newline="") as file:
        columns, row = csv.reader(file)
    table = dict(zip(columns, row, strict=True))
    pair = open_comparison(trained).statistics.pairs[0]
    assert abs(float(table["points"])) == round(abs(100 * pair.difference), 2)
    assert float(table["points"]) >= 0
    assert float(table["low"]) <= float(table["points"]) <= float(table["high"])
    assert table["verdict"] == ("differ" if pair.distinguishable else "not distinguishable")
    assert table["p, seeds"] == "-"
    with (tmp_path / "out/costs_counted.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["model", "fcn32s", "fcn8s"]
    page = (tmp_path / "out/index.html").read_text()
    assert pair.verdict.replace(">", "&gt;") in page
    assert "kept for decoder, MB" in page
    assert "index.html" in json.loads((tmp_path / "out/report.json").read_text())["files"]


def test_the_split_is_compared_as_it_was_last_scored(copies, message):
    """result.json keeps the scores of the end of training; labels may have been corrected since."""
    for path in copies:
        ids, matrices = RunDir(path).matrices("test")
        RunDir(path).write_matrices("test", ids, matrices[:, ::-1], "of corrected labels")
    comparison = open_comparison(copies)
    again = [run.scores.mean_iou for method in comparison.methods for run in method.runs]
    assert again != [RunDir(path).result()["test"]["mean_iou"] for path in copies]
    shown = {row[0]: row[5] for row in comparison.tables()["scores"].rows}
    assert shown["fcn8s"] == f"{100 * again[2]:.1f}"
    assert comparison.statistics.pairs[0].difference == pytest.approx(np.mean(again[:2]) - again[2], abs=1e-12)
    ids, matrices = RunDir(copies[0]).matrices("test")
    RunDir(copies[0]).write_matrices("test", ids, matrices, "of the first labels")
    with pytest.raises(InputError) as caught:
        open_comparison(copies)
    message(caught.value)


def test_methods_have_different_names_whatever_their_folders_are_called(trained, tmp_path):
    """A folder may be called by another method's decoder."""
    odd = [shutil.copytree(trained[0], tmp_path / "fcn8s"), shutil.copytree(trained[0], tmp_path / "other")]
    comparison = open_comparison([odd[0], odd[1], trained[2]])
    names = [method.name for method in comparison.methods]
    assert names == [str(odd[0]), "other", "fcn8s"]
    assert len(comparison.statistics.pairs) == 3


@pytest.mark.parametrize(
    ("key", "value", "is_one_method"),
    [
        ("checkpoints.keep", 7, True), ("tracking.wandb", "offline", True), ("name", "another", True),
        ("evaluation.batch_size", 3, True), ("training.device", "cpu", True), ("training.workers", 2, True),
        ("training.cache", True, True), ("data.root", "/elsewhere", True), ("data.sbd", "/elsewhere", True),
        ("model.initialize_from", "runs/seed1-fcn32s", True),
        ("training.batch_size", 17, False), ("evaluation.every_epochs", 17, False), ("data.train_images", 17, False),
    ],
)  # fmt: skip
def test_seeds_that_differ_in_what_changes_no_result_are_one_method(copies, key, value, is_one_method):
    for path in copies[:2]:
        set_key(path, "model.initialize_from", "runs/seed0-fcn32s")
    set_key(copies[1], key, value)
    assert [method.seeds for method in read_methods(copies[:2])] == ([(0, 1)] if is_one_method else [(0,), (1,)])


def test_repeated_seeds_make_the_same_methods_in_any_order(trained, copies):
    for paths in ([*trained[:2], *copies[:2]], [trained[0], copies[0], trained[1], copies[1]]):
        assert [method.seeds for method in read_methods(paths)] == [(0, 1), (0, 1)]


def test_many_methods_are_compared_with_as_many_resamples_as_their_pairs_need(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison_module, "compare_methods", lambda *_, resamples, **__: resamples)
    monkeypatch.setattr(
        comparison_module, "costs_of", lambda paths, **_: [Costs("", (1, 1), 1, 1, *[None] * 3, 1)] * 24
    )
    paths = [shutil.copytree(trained[0], tmp_path / f"run{number}") for number in range(24)]
    for path in paths:
        set_key(path, "tracking.method", path.name)
    assert open_comparison(paths).statistics == 11_040  # of 276 pairs


def test_damaged_files_of_a_run_are_named(copies):
    (copies[0] / "result.json").write_text("{")
    with pytest.raises(InputError, match="result.json is damaged"):
        open_comparison(copies)
    (copies[1] / "confusion_test.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="confusion_test.npz is damaged"):
        open_comparison(copies[1:])
    (copies[2] / "result.json").write_text('{"test": {}, "best_step": 1, "class_names": []}')
    with pytest.raises(InputError, match="parameters, seconds"):
        open_comparison(copies[2:])


def test_blocks_of_which_there_would_be_few_are_refused(segkit, trained, message):
    code, _, errors = segkit("compare", *trained, "--block", 2)
    assert code == 2
    message(errors, "block = 2", 3, 6)


def test_settings_in_which_the_methods_differ_are_shown(copies):
    set_key(copies[2], "training.epochs", 3)
    table = open_comparison(copies).tables()["settings"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["training.epochs"] == ("2", "3")
    assert rows["model.decoder.name"] == ("'fcn32s'", "'fcn8s'")
    assert rows["model.decoder.skip_scales"] == ("-", "[1.0, 1.0]")
    assert not {"seed", "name", "tracking.method"} & rows.keys()
