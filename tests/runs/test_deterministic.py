"""A run in deterministic mode, from the command line to its files: the same bits each time."""

import pytest
import torch
from same_runs import differences

from segkit.models.segmenter import Segmenter

SETTINGS = ["training.deterministic=true", "training.precision=bfloat16", "training.epochs=1"]
SETTINGS += ["model.decoder.dropout=0.5"]


@pytest.fixture
def passes(monkeypatch):
    """For each pass through a net: whether it trained, and whether torch was held to deterministic algorithms."""
    seen, forward = [], Segmenter.forward

    def noted(self, image):
        seen.append((self.training, torch.are_deterministic_algorithms_enabled()))
        return forward(self, image)

    monkeypatch.setattr(Segmenter, "forward", noted)
    return seen


def test_two_trainings_of_segnet_with_dropout_in_bfloat16_come_to_the_same_bits(segkit, tiny, tmp_path, passes):
    one, two = tmp_path / "one", tmp_path / "two"
    for run in (one, two):
        code, _, errors = segkit("train", "configs/streets/segnet.yaml", *tiny, *SETTINGS, "--run", run)
        assert (code, errors) == (0, "")
    assert differences(one, two) == []
    assert len(list(one.rglob("*.png"))) == 4
    assert set(passes) == {(True, True), (False, True)}  # training, and validation and test
    assert not torch.are_deterministic_algorithms_enabled()
