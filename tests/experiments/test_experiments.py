"""What experiments/ claims follows from what it stores."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from segkit.metrics.confusion import scores

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "experiments").glob("*/results/*"))


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: f"{folder.parents[1].name}/{folder.name}")
def test_stored_scores_follow_from_the_stored_confusion_matrices(folder):
    result = json.loads((folder / "result.json").read_text())
    with np.load(folder / "confusion_test.npz") as stored:
        recomputed = scores(stored["matrices"].sum(0))
        assert len(stored["ids"]) == 233
    assert json.loads(json.dumps(asdict(recomputed))) == result["test"]
    readme = (folder.parents[1] / "README.md").read_text()
    assert f"{100 * recomputed.mean_iou:.1f}" in readme
    assert all(f"{100 * value:.1f}" in readme for value in recomputed.iou)
