"""What a Predictor does to its surroundings. Its files are tested through the command line."""

import numpy as np
import pytest
import torch

from segkit.data.datasets.streets import Streets
from segkit.runs.predict import Predictor


def test_sampling_repeats_itself_and_touches_no_random_numbers_but_its_own(finished, monkeypatch):
    predictor = Predictor(finished("fcn32s"), ["training.device=cpu"], samples=3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("get_rng_state", "manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: pytest.fail(f"torch.cuda.{name} was called"))
    image, found, before = Streets("test", size=(45, 61))[0].image, [], torch.get_rng_state()
    for _ in range(2):
        predictor(image)
        found.append(predictor.uncertainty)
    assert found[0].any()
    np.testing.assert_array_equal(*found)
    assert torch.equal(torch.get_rng_state(), before)
