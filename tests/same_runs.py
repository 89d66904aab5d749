"""Whether two run folders hold the same run, bit by bit."""

import json
from pathlib import Path

import numpy as np
import torch


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two finished runs of one config, but for the time that they took; [] where nothing does."""
    found = []
    if records(first) != records(second):
        found.append("metrics.jsonl")
    for name in ("config.yaml", "classes.yaml", "checkpoints/best.safetensors", *_files(first, "predictions/*/*.png")):
        if (first / name).read_bytes() != (second / name).read_bytes():
            found.append(name)
    if _files(first, "predictions/*/*.png") != _files(second, "predictions/*/*.png"):
        found.append("predictions")
    if not np.array_equal(*(np.load(run / "confusion_test.npz")["matrices"] for run in (first, second))):
        found.append("confusion_test.npz")
    results = [_timeless(json.loads((run / "result.json").read_text())) for run in (first, second)]
    found += _unequal(*results, "result.json")
    states = [torch.load(last_checkpoint(run), weights_only=True) for run in (first, second)]
    for state in states:
        del state["progress"]["seconds"]
    return found + _unequal(*states, "checkpoint")


def last_checkpoint(run: Path) -> Path:
    """File of the latest state of training."""
    return max((run / "checkpoints").glob("step_*.pt"))


def records(run: Path) -> list[dict]:
    """Lines of metrics.jsonl, without times."""
    return [_timeless(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _timeless(record: dict) -> dict:
    return {key: value for key, value in record.items() if key != "seconds"}


def _files(run: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.glob(pattern))


def _unequal(first: object, second: object, where: str) -> list[str]:
    """Paths of what differs in two nested structures of tensors and plain values."""
    if type(first) is not type(second):
        return [where]
    if isinstance(first, dict):
        found = [] if first.keys() == second.keys() else [f"{where}: keys"]
        for key in first.keys() & second.keys():
            found += _unequal(first[key], second[key], f"{where}.{key}")
        return found
    if isinstance(first, list | tuple):
        return _unequal(dict(enumerate(first)), dict(enumerate(second)), where)
    same = torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
    return [] if same else [where]
