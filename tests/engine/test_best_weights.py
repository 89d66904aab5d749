"""The best weights of a run, and states that are of no use."""

import os

import pytest
import torch
from test_checkpoint import checkpoints, damage, folder, refusal, restored, run, two

from segkit.engine.checkpoint import BEST
from segkit.models.weights import read_metadata, read_weights

__all__ = ["folder", "two"]  # fixtures


def test_the_best_weights_say_what_they_are(two, folder):
    checkpoints(folder).keep_best(two, 0.5)
    about = read_metadata(folder / BEST)
    assert (about["step"], about["mean_iou"], about["model"], about["config_hash"]) == ("10", "0.5", "fcn8s", "abc123")
    assert (two.progress.best_step, two.progress.best_mean_iou) == (10, 0.5)
    assert all(
        torch.equal(read_weights(folder / BEST)[name], tensor) for name, tensor in two.model.state_dict().items()
    )


@pytest.mark.parametrize("fault", [damage, os.unlink])
def test_without_its_best_weights_a_run_does_not_go_on(two, folder, fault):
    found = checkpoints(folder)
    found.keep_best(two, 0.5)
    run(two, 1)
    found.save(two)
    fault(folder / BEST)
    message = refusal(folder)
    assert f"the run cannot resume without its best weights, of step 10: weights {folder / BEST}" in message


def test_a_state_that_is_not_finite_is_not_saved(two, folder):
    before = sorted(folder.iterdir())
    two.progress.step = 11
    two.model[0].weight.data[1, 1] = float("nan")
    for save in (lambda: checkpoints(folder).save(two), lambda: checkpoints(folder).keep_best(two, 0.5)):
        with pytest.raises(
            FloatingPointError, match=r"step 11: 1 tensors are not finite, the first is 0.weight; nothing was saved"
        ):
            save()
    assert sorted(folder.iterdir()) == before


def test_best_weights_of_a_validation_that_no_state_knows_of_are_known_by_their_file(two, folder):
    found = checkpoints(folder)
    found.keep_best(two, 0.5)
    run(two, 1)
    found.save(two)
    found.keep_best(two, 0.7)  # and then it was killed
    assert (restored(folder)[0].progress.best_step, restored(folder)[0].progress.best_mean_iou) == (11, 0.7)
