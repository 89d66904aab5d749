"""Checkpoints: a run that goes on from one does what it would have done, and what is damaged is never used."""

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from segkit.build import OPTIMIZERS, SCHEDULES
from segkit.engine.checkpoint import BEST, SCHEMA, Checkpoints, Identity, Progress, TrainState, _digest, manifests
from segkit.errors import InputError
from segkit.models.weights import read_metadata, read_weights
from segkit.system.files import sha256

IDENTITY = Identity("abc123", "fcn8s", ("road", "sky"))
STORED = Path(__file__).parent / "stored_checkpoints"
LAST, MANIFEST = "step_00000010_epoch_0000.pt", "step_00000010_epoch_0000.json"
OPTIONS = {"step": {"every_epochs": 1}, "caffe_sgd": {"momentum": 0.9, "weight_decay": 0.0005}}


def new_state(optimizer="sgd", schedule="poly", width=4):
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 1))
    model.normalization = "imagenet"
    built = OPTIMIZERS[optimizer](model, frozenset(), lr=0.05, **OPTIONS.get(optimizer, {}))
    return TrainState(model, built, SCHEDULES[schedule](built, 20, 5, **OPTIONS.get(schedule, {})))


def run(state, steps):
    """Losses of some steps on random data."""
    losses = []
    for _ in range(steps):
        loss = (state.model(torch.randn(8, 3)) - 1).square().mean()
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.schedule.after_step()
        state.progress.step += 1
        losses.append(loss.item())
    state.schedule.after_validation(0.5)
    return losses


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.fixture
def two(folder):
    """A folder with the checkpoints of step 5 and step 10, and the state at step 10."""
    torch.manual_seed(0)
    state = new_state()
    for _ in range(2):
        run(state, 5)
        Checkpoints(folder, IDENTITY).save(state)
    return state


def restored(folder, identity=IDENTITY, **options):
    """A state that goes on from a folder, and what was said."""
    other, said = new_state(**options), []
    Checkpoints(folder, identity).restore(other, said.append)
    return other, said


def refusal(*arguments, **options):
    with pytest.raises(InputError) as caught:
        restored(*arguments, **options)
    return str(caught.value)


def equal(first, second):
    """Whether two state dicts hold the same bits."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- there and back ---


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ten_steps_are_five_steps_a_checkpoint_and_five_more(folder, optimizer, schedule):
    torch.manual_seed(0)
    whole = new_state(optimizer, schedule)
    first, second = run(whole, 5), run(whole, 5)

    torch.manual_seed(0)
    halted = new_state(optimizer, schedule)
    assert run(halted, 5) == first
    Checkpoints(folder, IDENTITY).save(halted)

    torch.manual_seed(99)
    resumed, said = restored(folder, optimizer=optimizer, schedule=schedule)
    assert run(resumed, 5) == second  # dropout and data too: torch's generator is part of the state
    assert said == []
    assert resumed.progress == whole.progress
    assert equal(resumed.model.state_dict(), whole.model.state_dict())


def test_progress_comes_back_and_the_manifest_says_what_it_belongs_to(folder):
    done = Progress(step=7, epochs=1, seconds=1.5, best_mean_iou=0.25, best_step=0, skipped=2)
    Checkpoints(folder, IDENTITY).save(replace(new_state(), progress=done))
    assert restored(folder)[0].progress == done
    about = json.loads((folder / "step_00000007_epoch_0001.json").read_text())
    expected = {"schema": SCHEMA, "config_hash": "abc123", "model": "fcn8s", "class_names": ["road", "sky"], "step": 7}
    expected["bytes"] = (folder / "step_00000007_epoch_0001.pt").stat().st_size
    assert expected.items() <= about.items()


@pytest.mark.parametrize("stored", sorted(STORED.iterdir()), ids=lambda path: path.name)
def test_a_checkpoint_of_every_released_schema_loads_for_ever(stored):
    resumed, said = restored(stored)
    expected = json.loads((stored / "expected.json").read_text())
    assert (said, resumed.progress.step) == ([], expected["step"])
    assert run(resumed, 5) == pytest.approx(expected["losses"], rel=1e-5)


# --- which ones are kept ---


def test_the_last_ones_are_kept(folder):
    found, state = Checkpoints(folder, IDENTITY, keep=3), new_state()
    for state.progress.step in (1, 2, 3, 4, 5):
        found.save(state)
    assert [path.stem for path in manifests(folder)] == [f"step_0000000{n}_epoch_0000" for n in (5, 4, 3)]
    assert len(list(folder.iterdir())) == 6


def test_a_state_is_saved_once_but_before_and_after_a_validation_are_two(two, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    found, state = Checkpoints(folder, IDENTITY), new_state()
    found.restore(state, print)
    found.save(state)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    state.progress.epochs = 1
    found.save(state)
    assert [path.stem for path in manifests(folder)] == ["step_00000010_epoch_0001", "step_00000010_epoch_0000"]


def test_a_future_that_was_given_up_is_removed_by_the_next_save(two, folder):
    (folder / LAST).unlink()
    found, state = Checkpoints(folder, IDENTITY), new_state()
    found.restore(state, lambda line: None)
    run(state, 1)
    found.save(state)
    assert [path.stem for path in manifests(folder)] == ["step_00000006_epoch_0000", "step_00000005_epoch_0000"]


# --- damage ---


def damage(path, place=0.5):
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("place", [0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_after_a_flipped_bit_the_checkpoint_before_is_used_and_the_damaged_one_named(two, folder, place, message):
    damage(folder / LAST, place)
    resumed, said = restored(folder)
    assert resumed.progress.step == 5
    message(said, folder / LAST, "step 5")


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_after_a_truncation_the_checkpoint_before_is_used(two, folder, share, message):
    size = (folder / LAST).stat().st_size
    os.truncate(folder / LAST, int(size * share))
    resumed, said = restored(folder)
    assert resumed.progress.step == 5
    message(said[0], folder / LAST, int(size * share), size, "step 5")


DAMAGED = ["", "{", "[]", "null", '{"schema": 2}', '{"schema": 2, "bytes": 1, "sha256": "", "model": 3}', "\udcff"]


@pytest.mark.parametrize("text", [*DAMAGED, "one letter"])
def test_a_damaged_manifest_is_one_of_a_damaged_checkpoint(two, folder, text, message):
    if text == "one letter":
        text = (folder / MANIFEST).read_text().replace("abc123", "abd123")
    (folder / MANIFEST).write_text(text, errors="surrogateescape")
    resumed, said = restored(folder)
    assert resumed.progress.step == 5
    message(said, folder / MANIFEST)


def test_a_state_without_manifest_does_not_count_and_one_that_is_gone_is_named(two, folder, message):
    (folder / LAST).unlink()
    message(restored(folder)[1][0], LAST)
    (folder / MANIFEST).unlink()
    resumed, said = restored(folder)
    assert (resumed.progress.step, said) == (5, [])


def test_all_damaged_is_refused_with_every_name(two, folder, message):
    for path in folder.glob("*.pt"):
        damage(path)
    message(refusal(folder), folder, LAST, "step_00000005_epoch_0000.pt")


def test_code_in_a_checkpoint_is_refused_and_not_run(two, folder, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'sentinel'}",)

    last = folder / LAST
    last.write_bytes(pickle.dumps({"schema": 2, "model": Payload()}, protocol=2))
    about = json.loads((folder / MANIFEST).read_text()) | {"bytes": last.stat().st_size, "sha256": sha256(last)}
    del about["manifest_sha256"]
    (folder / MANIFEST).write_text(json.dumps(about | {"manifest_sha256": _digest(about)}))
    message = refusal(folder)
    assert (f"{last} is not a checkpoint" in message, "weights_only" in message) == (True, False)
    assert not (tmp_path / "sentinel").exists()


# --- what does not fit ---


def test_an_empty_folder_is_refused(folder, message):
    message(refusal(folder), folder)


def test_another_schema_is_refused(two, folder, message):
    about = json.loads((folder / MANIFEST).read_text()) | {"schema": 99, "segkit": "7.1"}
    (folder / MANIFEST).write_text(json.dumps(about))
    message(refusal(folder), folder / MANIFEST, 99, "7.1")


@pytest.mark.parametrize(
    ("identity", "values"),
    [
        (replace(IDENTITY, config_hash="def456"), ["abc123", "def456"]),
        (Identity("def456", "segnet", ("road", "sky", "tree")), ["fcn8s", 2, "segnet", 3]),
        (replace(IDENTITY, class_names=("sky", "road")), ["road, sky", "sky, road"]),
    ],
    ids=["config", "model", "classes"],
)
def test_a_checkpoint_of_another_run_is_refused_and_changes_nothing(two, folder, identity, values, message):
    other = new_state()
    before = {name: tensor.clone() for name, tensor in other.model.state_dict().items()}
    with pytest.raises(InputError) as caught:
        Checkpoints(folder, identity).restore(other, print)
    message(caught.value, *values)
    assert equal(other.model.state_dict(), before)


def test_a_checkpoint_of_another_width_is_refused(two, folder, message):
    message(refusal(folder, width=5), "0.weight", [4, 3], [5, 3])


# --- the best weights ---


def test_the_best_weights_say_what_they_are(two, folder):
    Checkpoints(folder, IDENTITY).keep_best(two, 0.5)
    about = read_metadata(folder / BEST)
    assert (about["step"], about["mean_iou"], about["model"], about["config_hash"]) == ("10", "0.5", "fcn8s", "abc123")
    assert (two.progress.best_step, two.progress.best_mean_iou) == (10, 0.5)
    assert equal(read_weights(folder / BEST), two.model.state_dict())


@pytest.mark.parametrize("fault", [damage, os.unlink])
def test_without_its_best_weights_a_run_does_not_go_on(two, folder, fault):
    found = Checkpoints(folder, IDENTITY)
    found.keep_best(two, 0.5)
    run(two, 1)
    found.save(two)
    fault(folder / BEST)
    expected = f"the run cannot resume without its best weights, of step 10: weights {folder / BEST}"
    assert expected in refusal(folder)


def test_best_weights_of_a_validation_that_no_state_knows_of_are_known_by_their_file(two, folder):
    found = Checkpoints(folder, IDENTITY)
    found.keep_best(two, 0.5)
    run(two, 1)
    found.save(two)
    found.keep_best(two, 0.7)  # and then it was killed
    progress = restored(folder)[0].progress
    assert (progress.best_step, progress.best_mean_iou) == (11, 0.7)


def test_a_state_that_is_not_finite_is_not_saved(two, folder):
    before, found = sorted(folder.iterdir()), Checkpoints(folder, IDENTITY)
    two.progress.step = 11
    two.model[0].weight.data[1, 1] = float("nan")
    for save in (lambda: found.save(two), lambda: found.keep_best(two, 0.5)):
        with pytest.raises(FloatingPointError, match=r"step 11: 1 tensors are not finite, the first is 0.weight; not"):
            save()
    assert sorted(folder.iterdir()) == before
