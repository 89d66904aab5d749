"""Checkpoints: a run that goes on from one does what it would have done."""

import os
import pickle

import pytest
import torch
from safetensors import safe_open
from torch import nn

from segkit.engine.checkpoint import Progress, Trainee, read, restore, save, save_weights
from segkit.engine.optim import adamw, one_cycle, plateau, poly, sgd
from segkit.errors import InputError

IDENTITY = {"config_hash": "abc123", "class_names": ("road", "sky")}


def trainee(optimizer=sgd, schedule=poly, width=4):
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 1))
    built = optimizer(model, frozenset(), lr=0.05)
    return Trainee(model, built, schedule(built, 20, 5))


def run(trainee, steps):
    """Losses of some steps on random data."""
    losses = []
    for _ in range(steps):
        loss = (trainee.model(torch.randn(8, 3)) - 1).square().mean()
        trainee.optimizer.zero_grad()
        loss.backward()
        trainee.optimizer.step()
        trainee.schedule.after_step()
        trainee.progress.step += 1
        losses.append(loss.item())
    trainee.schedule.after_validation(0.5)
    return losses


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints" / "last.pt"


@pytest.fixture
def saved(path):
    torch.manual_seed(0)
    save(path, trainee(), **IDENTITY)
    return path


def refusal(call, *arguments, **options):
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    return str(caught.value)


# --- there and back ---


@pytest.mark.parametrize("optimizer", [sgd, adamw])
@pytest.mark.parametrize("schedule", [poly, one_cycle, plateau])
def test_ten_steps_are_five_steps_a_checkpoint_and_five_more(path, optimizer, schedule):
    torch.manual_seed(0)
    whole = trainee(optimizer, schedule)
    first = run(whole, 5)
    second = run(whole, 5)

    torch.manual_seed(0)
    halted = trainee(optimizer, schedule)
    assert run(halted, 5) == first
    save(path, halted, **IDENTITY)

    torch.manual_seed(99)
    resumed = trainee(optimizer, schedule)
    restore(path, resumed, **IDENTITY)
    assert run(resumed, 5) == second  # dropout and data too: torch's generator is part of the state
    assert resumed.progress == whole.progress
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_progress_comes_back(path):
    done = trainee()
    done.progress.__init__(step=7, seconds=1.5, best_mean_iou=0.25, best_step=5)
    save(path, done, **IDENTITY)
    other = trainee()
    restore(path, other, **IDENTITY)
    assert other.progress == Progress(step=7, seconds=1.5, best_mean_iou=0.25, best_step=5)


def test_a_checkpoint_says_what_it_belongs_to(saved):
    content = read(saved)
    assert content["config_hash"] == "abc123"
    assert content["class_names"] == ["road", "sky"]
    assert content["schema"] == 1


# --- what does not fit ---


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_damaged_file_is_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    message = refusal(restore, saved, trainee(), **IDENTITY)
    assert "is damaged or no checkpoint" in message
    assert str(saved) in message


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], {}])
def test_a_file_of_another_kind_is_refused(path, content):
    path.parent.mkdir()
    torch.save(content, path)
    assert "is damaged or no checkpoint" in refusal(read, path)


def test_code_in_a_checkpoint_is_refused_and_not_run(path, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'sentinel'}",)

    path.parent.mkdir()
    path.write_bytes(pickle.dumps({"schema": 1, "model": Payload()}, protocol=2))
    assert "weights_only" not in refusal(read, path)
    assert not (tmp_path / "sentinel").exists()


def test_a_missing_file_is_refused(path):
    assert "does not exist" in refusal(read, path)


def test_another_schema_is_refused(saved):
    content = read(saved)
    torch.save({**content, "schema": 2}, saved)
    assert "has schema 2; this version reads 1" in refusal(read, saved)


def test_a_checkpoint_of_another_config_is_refused_and_changes_nothing(saved):
    other = trainee()
    before = {name: tensor.clone() for name, tensor in other.model.state_dict().items()}
    message = refusal(restore, saved, other, **{**IDENTITY, "config_hash": "def456"})
    assert "belongs to config abc123, this run has def456" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.model.state_dict().items())


def test_a_checkpoint_of_another_model_is_refused(saved):
    message = refusal(restore, saved, trainee(width=5), **IDENTITY)
    assert "0.weight is [4, 3], expected [5, 3]" in message
    assert "3.weight is [1, 4], expected [1, 5]" in message


def test_a_checkpoint_of_other_classes_is_refused(saved):
    message = refusal(restore, saved, trainee(), config_hash="abc123", class_names=("sky", "road"))
    assert "was trained on the classes road, sky; the dataset has sky, road" in message


# --- weights alone ---


def test_saved_weights_are_the_tensors_of_the_model_with_what_was_noted(tmp_path):
    model = trainee().model.to(memory_format=torch.contiguous_format)
    save_weights(tmp_path / "best.safetensors", model, metadata={"step": "7"})
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        assert file.metadata() == {"step": "7"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    assert tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in model.state_dict().items())


def test_weights_in_channels_last_are_saved_too(tmp_path):
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w.safetensors", model, metadata={})
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("weight"), model.weight)
