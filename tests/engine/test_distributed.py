"""Several processes that train one model: what they compute is what one computes, and what stops one stops all."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import safetensors.torch
import torch
from same_runs import differences, last_checkpoint, records
from steps_by_torchrun import MODELS, NORMALIZERS, alone, any_model
from torchrun import CONFIG, ended, finish, launch, ranks, train, wait_for_step

from segkit.data.loader import Order
from segkit.engine.distributed import ALONE
from segkit.errors import InputError
from segkit.tracking.run_dir import RunDir

AGAIN = "torchrun --standalone --nproc-per-node 2 -m -- segkit train"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What steps_by_torchrun.py left, by two processes."""
    folder = tmp_path_factory.mktemp("steps")
    finish(launch("--", Path(__file__).with_name("steps_by_torchrun.py"), folder, cache=folder / "cache"))
    return folder


@pytest.fixture(scope="module")
def steps(folder):
    """Weights of each process."""
    return [torch.load(folder / f"weights_{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The finished run of two processes that nothing disturbed, and what it printed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    out = finish(train(config, run))
    return run, out


# --- what is computed ---


@pytest.mark.parametrize(("normalizer", "parts"), NORMALIZERS)
def test_two_processes_take_the_steps_of_one(steps, tmp_path, normalizer, parts):
    ours, found = alone(tmp_path, normalizer, parts), steps[0][f"{normalizer} {parts}"]
    start = any_model("fcn8s").state_dict()
    assert max((ours[name] - start[name]).abs().max() for name in ours if start[name].shape == ours[name].shape) > 1e-3
    for name, weight in ours.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_all_processes_end_with_equal_weights_and_what_gets_no_gradient_stays_as_it_was(steps, name):
    model, (first, second) = any_model(name), (each[name] for each in steps)
    moved = set()
    for parameter, start in model.named_parameters():
        assert torch.equal(first[parameter], second[parameter])
        if not torch.equal(first[parameter], start):
            moved.add(parameter)
    assert moved
    assert "encoder.spare.weight" not in moved


def test_what_is_not_finite_in_one_process_stops_both_before_the_step_and_the_whole_batch_is_kept(folder):
    found = [json.loads((folder / f"nonfinite_{rank}.json").read_text()) for rank in (0, 1)]
    assert found == [[1, ["0-0", "0-1", "1-0", "1-1"], True]] * 2
    kept = safetensors.torch.load_file(folder / "broken/nonfinite_step_00000001.safetensors")
    assert [bool(kept[name].isfinite().all()) for name in ("image_0", "image_1")] == [True, False]


@pytest.mark.parametrize("first", [0, 4])
def test_the_shares_of_a_step_are_the_step(first):
    def order(**share):
        return list(Order(13, 6, seed=1, first_step=first, last_step=9, **share))

    shares = [order(rank=rank, processes=3) for rank in range(3)]
    assert [sum(each, []) for each in zip(*shares, strict=True)] == order()
    assert {len(share) for each in shares for share in each} == {2}


def test_without_torchrun_nothing_is_shared():
    model = torch.nn.Linear(1, 1)
    assert ALONE.replicated(model, torch.device("cpu")) is model
    assert ALONE.together(lambda: 5) == [5]
    with pytest.raises(InputError, match="as it is"), ALONE.in_turn():
        raise InputError("as it is")


# --- one run ---


def test_one_process_writes_and_prints(whole):
    run, out = whole
    assert out.count("run folder") == out.count("test, best weights") == 1
    assert [(each["kind"], each["step"]) for each in records(run)] == [
        *(("train", n) for n in (1, 2, 3)), ("validation", 3), *(("train", n) for n in (4, 5, 6)), ("validation", 6),
        *(("train", n) for n in (7, 8, 9)), ("validation", 9), ("test", records(run)[-1]["step"]),
    ]  # fmt: skip
    assert json.loads((run / "environment.json").read_text())["processes"] == 2
    assert json.loads(last_checkpoint(run).with_suffix(".json").read_text())["processes"] == 2
    state = torch.load(last_checkpoint(run), weights_only=True)
    assert not torch.equal(state["random"]["cpu"], state["random_of_others"][0]["cpu"])  # they drop different things


def test_validation_counts_every_image_once(whole, segkit, tmp_path):
    run, _ = whole
    shutil.copytree(run, tmp_path / "run")
    assert segkit("evaluate", tmp_path / "run", "--split", "val")[0] == 0
    result = json.loads((run / "result.json").read_text())
    _, matrices = RunDir(tmp_path / "run").matrices("val")
    matrix = matrices.sum(0)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    iou = matrix.diagonal()[union > 0] / union[union > 0]
    assert len(matrices) == 5
    assert result["best_validation_mean_iou"] == pytest.approx(iou.mean(), rel=1e-12)


def test_a_run_goes_on_with_as_many_processes_only(whole, segkit, config, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    (run / "result.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    code, _, errors = segkit("train", config, "--run", run)
    assert code == 2
    assert errors == (
        f"segkit: {last_checkpoint(run)} is of a run with processes = 2, this command has 1: the result would differ. "
        "Resume with 'torchrun --nproc-per-node 2 -m -- segkit train ...', or choose another --run folder.\n"
    )
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "number", "name", "code"), [(0, signal.SIGINT, "Ctrl-C", 130), (1, signal.SIGTERM, "SIGTERM", 143)]
)
def test_a_signal_to_one_process_stops_both_and_they_go_on_to_the_same_end(
    whole, config, tmp_path, rank, number, name, code
):
    run = tmp_path / "run"
    process = train(config, run)
    wait_for_step(run, 4)
    os.kill(ranks(process)[rank], number)
    lines, codes = ended(process)
    step = RunDir(run).saved_step
    assert lines[-1] == f"segkit: {name}: stopped; this resumes after step {step}: {AGAIN} {config} --run {run}"
    assert codes == {0: code, 1: code}
    assert 4 <= step < 9
    assert not (tmp_path / ".run.lock").exists()
    assert f"resuming after step {step}\n" in finish(train(config, run))
    assert differences(whole[0], run) == []
