"""Checkpoints: a run that goes on from one does what it would have done, and what is damaged is never used."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from segkit.build import OPTIMIZERS, SCHEDULES
from segkit.engine.checkpoint import SCHEMA, Checkpoints, Identity, Progress, TrainState, _digest, manifests
from segkit.errors import InputError

IDENTITY = Identity("abc123", "fcn8s", ("road", "sky"))
STORED = Path(__file__).parent / "stored_checkpoints"
OPTIONS = {
    "schedule": {"step": {"every_epochs": 1}},
    "optimizer": {"caffe_sgd": {"momentum": 0.9, "weight_decay": 0.0005}},
}


def new_state(optimizer="sgd", schedule="poly", width=4):
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 1))
    model.normalization = "imagenet"
    built = OPTIMIZERS[optimizer](model, frozenset(), lr=0.05, **OPTIONS["optimizer"].get(optimizer, {}))
    return TrainState(model, built, SCHEDULES[schedule](built, 20, 5, **OPTIONS["schedule"].get(schedule, {})))


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


def checkpoints(folder, identity=IDENTITY, **options):
    return Checkpoints(folder, identity, **options)


@pytest.fixture
def two(folder):
    """A folder with the checkpoints of step 5 and step 10, and the state at step 10."""
    torch.manual_seed(0)
    state = new_state()
    for _ in range(2):
        run(state, 5)
        checkpoints(folder).save(state)
    return state


def restored(folder, identity=IDENTITY, **options):
    """A state that goes on from a folder, and what was said."""
    other, said = new_state(**options), []
    checkpoints(folder, identity).restore(other, said.append)
    return other, said


def refusal(*arguments, **options):
    with pytest.raises(InputError) as caught:
        restored(*arguments, **options)
    return str(caught.value)


# --- there and back ---


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ten_steps_are_five_steps_a_checkpoint_and_five_more(folder, optimizer, schedule):
    torch.manual_seed(0)
    whole = new_state(optimizer, schedule)
    first = run(whole, 5)
    second = run(whole, 5)

    torch.manual_seed(0)
    halted = new_state(optimizer, schedule)
    assert run(halted, 5) == first
    checkpoints(folder).save(halted)

    torch.manual_seed(99)
    resumed, said = restored(folder, optimizer=optimizer, schedule=schedule)
    assert run(resumed, 5) == second  # dropout and data too: torch's generator is part of the state
    assert said == []
    assert resumed.progress == whole.progress
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_progress_comes_back(folder):
    done = new_state()
    done.progress.__init__(step=7, epochs=1, seconds=1.5, best_mean_iou=0.25, best_step=0, skipped=2)
    checkpoints(folder).save(done)
    assert restored(folder)[0].progress == Progress(
        step=7, epochs=1, seconds=1.5, best_mean_iou=0.25, best_step=0, skipped=2
    )


def test_a_manifest_says_what_a_checkpoint_belongs_to(two, folder):
    about = json.loads((folder / "step_00000010_epoch_0000.json").read_text())
    assert (about["schema"], about["config_hash"], about["model"], about["class_names"]) == (
        SCHEMA,
        "abc123",
        "fcn8s",
        ["road", "sky"],
    )
    assert about["bytes"] == (folder / "step_00000010_epoch_0000.pt").stat().st_size
    assert about["step"] == 10


@pytest.mark.parametrize("stored", sorted(STORED.iterdir()), ids=lambda path: path.name)
def test_a_checkpoint_of_every_released_schema_loads_for_ever(stored):
    resumed, said = restored(stored)
    expected = json.loads((stored / "expected.json").read_text())
    assert said == []
    assert resumed.progress.step == expected["step"]
    assert run(resumed, 5) == pytest.approx(expected["losses"], rel=1e-5)


# --- which ones are kept ---


def test_the_last_ones_are_kept(folder):
    found, state = checkpoints(folder, keep=3), new_state()
    for state.progress.step in (1, 2, 3, 4, 5):
        found.save(state)
    assert [path.stem for path in manifests(folder)] == [f"step_0000000{n}_epoch_0000" for n in (5, 4, 3)]
    assert len(list(folder.iterdir())) == 6


def test_a_state_is_saved_once(two, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    found = checkpoints(folder)
    state = new_state()
    found.restore(state, print)
    found.save(state)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_before_and_after_a_validation_are_two_states(two, folder):
    two.progress.epochs = 1
    checkpoints(folder).save(two)
    assert [path.stem for path in manifests(folder)] == ["step_00000010_epoch_0001", "step_00000010_epoch_0000"]


def test_a_future_that_was_given_up_is_removed_by_the_next_save(two, folder):
    damage(folder / "step_00000010_epoch_0000.pt")
    found, state = checkpoints(folder), new_state()
    found.restore(state, lambda line: None)
    run(state, 1)
    found.save(state)
    assert [path.stem for path in manifests(folder)] == ["step_00000006_epoch_0000", "step_00000005_epoch_0000"]


def test_a_state_without_manifest_does_not_count(two, folder):
    (folder / "step_00000010_epoch_0000.json").unlink()
    assert restored(folder)[0].progress.step == 5


# --- damage ---


def damage(path, place=0.5):
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("place", [0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_after_a_flipped_bit_the_checkpoint_before_is_used_and_the_damaged_one_named(two, folder, place, message):
    last = folder / "step_00000010_epoch_0000.pt"
    damage(last, place)
    resumed, said = restored(folder)
    assert resumed.progress.step == 5
    message(said, last, "step 5")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_after_a_truncation_the_checkpoint_before_is_used(two, folder, share, message):
    last = folder / "step_00000010_epoch_0000.pt"
    size = last.stat().st_size
    os.truncate(last, int(size * share))
    resumed, said = restored(folder)
    assert resumed.progress.step == 5
    message(said[0], last, int(size * share), size, "step 5")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": 2}', '{"schema": 2, "bytes": 1, "sha256": "", "model": 3}', "\udcff"]
)
def test_a_damaged_manifest_is_one_of_a_damaged_checkpoint(two, folder, text, message):
    manifest = folder / "step_00000010_epoch_0000.json"
    manifest.write_text(text, errors="surrogateescape")
    resumed, said = restored(folder)
    assert resumed.progress.step == 5
    message(said, manifest)


def test_a_state_that_is_gone_is_named(two, folder, message):
    (folder / "step_00000010_epoch_0000.pt").unlink()
    message(restored(folder)[1][0], "step_00000010_epoch_0000.pt")


def test_all_damaged_is_refused_with_every_name(two, folder, message):
    for path in folder.glob("*.pt"):
        damage(path)
    message(refusal(folder), folder, "step_00000010_epoch_0000.pt", "step_00000005_epoch_0000.pt")


def test_one_letter_of_a_manifest_is_a_damaged_manifest(two, folder, message):
    manifest = folder / "step_00000010_epoch_0000.json"
    manifest.write_text(manifest.read_text().replace("abc123", "abd123"))
    message(restored(folder)[1], manifest)


def test_code_in_a_checkpoint_is_refused_and_not_run(two, folder, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'sentinel'}",)

    from segkit.system.files import sha256

    last = folder / "step_00000010_epoch_0000.pt"
    last.write_bytes(pickle.dumps({"schema": 2, "model": Payload()}, protocol=2))
    about = json.loads(last.with_suffix(".json").read_text()) | {"bytes": last.stat().st_size, "sha256": sha256(last)}
    del about["manifest_sha256"]
    last.with_suffix(".json").write_text(json.dumps(about | {"manifest_sha256": _digest(about)}))
    message = refusal(folder)
    assert (f"{last} is not a checkpoint" in message, "weights_only" in message) == (True, False)
    assert not (tmp_path / "sentinel").exists()


# --- what does not fit ---


def test_an_empty_folder_is_refused(folder, message):
    message(refusal(folder), folder)


def test_another_schema_is_refused(two, folder, message):
    manifest = folder / "step_00000010_epoch_0000.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 99, "segkit": "7.1"}))
    message(refusal(folder), manifest, 99, "7.1")


def test_a_checkpoint_of_another_config_is_refused_and_changes_nothing(two, folder, message):
    other = new_state()
    before = {name: tensor.clone() for name, tensor in other.model.state_dict().items()}
    with pytest.raises(InputError) as caught:
        checkpoints(folder, Identity("def456", "fcn8s", ("road", "sky"))).restore(other, print)
    message(caught.value, "abc123", "def456")
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.model.state_dict().items())


def test_a_checkpoint_of_another_model_is_refused_in_one_line(two, folder, message):
    other = Identity("def456", "segnet", ("road", "sky", "tree"))
    message(refusal(folder, other), "fcn8s", 2, "segnet", 3)


def test_a_checkpoint_of_another_width_is_refused(two, folder, message):
    message(refusal(folder, width=5), "0.weight", [4, 3], [5, 3])


def test_a_checkpoint_of_other_classes_is_refused(two, folder, message):
    other = Identity("abc123", "fcn8s", ("sky", "road"))
    message(refusal(folder, other), "road, sky", "sky, road")
