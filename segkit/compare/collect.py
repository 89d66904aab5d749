"""From finished run folders to methods: what is compared, each with its repetitions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from segkit.config.titles import distinct_titles, method_title
from segkit.config.yaml import load
from segkit.errors import InputError
from segkit.metrics.confusion import Scores, scores
from segkit.tracking.run_dir import CONFIG, RESULT, RunDir

# keys of a config in which repetitions of one method may differ
ELSEWHERE = (
    "name", "seed", "tracking", "data.root", "data.sbd", "training.device", "training.workers", "training.cache", "model.initialize_from",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: its run folder.
        values: its saved config.
        result: its result.json.
    """

    folder: RunDir
    values: dict[str, Any]
    result: dict[str, Any]

    @property
    def seed(self) -> int:
        """The seed of its config."""
        return self.values["seed"]

    @cached_property
    def test(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Ids of the N test images, and their confusion matrices, int64 [N, K, K]: where every compared score comes
        from."""
        return self.folder.matrices("test")

    @cached_property
    def scores(self) -> Scores:
        """Scores of the test split. result.json has those of the end of training; the split may have been scored
        again."""
        return scores(self.test[1].sum(0))

    @property
    def fingerprint(self) -> str | None:
        """That of the test labels that were scored."""
        return self.folder.fingerprint("test") or self.result.get("test_fingerprint")


@dataclass(frozen=True)
class Method:
    """What is compared: runs that differ in their seed only, by seed."""

    title: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs."""
        return tuple(run.seed for run in self.runs)

    @cached_property
    def matrices(self) -> np.ndarray:
        """Confusion matrices of every test image, int64 [S, N, K, K] over the runs."""
        return np.stack([run.test[1] for run in self.runs])

    @cached_property
    def class_iou(self) -> np.ndarray:
        """IoU of every class, [S, K] over the runs; NaN where a class is in neither labels nor predictions."""
        return np.array([run.scores.iou for run in self.runs])

    @cached_property
    def image_mean_iou(self) -> np.ndarray:
        """Mean IoU of every test image over the classes in its labels or its prediction, [S, N] over the runs; NaN
        without labels."""
        return np.array([[scores(matrix).mean_iou for matrix in of_run] for of_run in self.matrices])


def read_methods(paths: Sequence[Path]) -> list[Method]:
    """The methods of some run folders, in the order of their first run.

    Runs belong to one method if their configs say the same but for the seed, and give it the same title:
    `tracking.method`, else the decoder. Two methods of one title are told apart by their folders.

    Raises:
        InputError: if a folder holds no finished run or is given twice, or the runs were not scored on one test split
            of one dataset.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("a run folder is given twice; expected different runs. Leave one out.")
    runs = [_read_run(path) for path in paths]
    for path, run in zip(paths, runs, strict=True):
        _require_same_test(path, run, paths[0], runs[0])
    groups: dict[tuple[str, str], list[list[Run]]] = {}
    for run in runs:
        alike = groups.setdefault((method_title(run.values), json.dumps(what_counts(run.values), sort_keys=True)), [])
        lacking = [each for each in alike if run.seed not in {other.seed for other in each}]
        if lacking:
            lacking[0].append(run)
        else:  # the same seed again is another measurement, not a repetition
            alike.append([run])
    found = [(title, sorted(each, key=lambda run: run.seed)) for (title, _), alike in groups.items() for each in alike]
    titles = distinct_titles([title for title, _ in found], [each[0].folder.path for _, each in found])
    return [Method(title, tuple(each)) for title, (_, each) in zip(titles, found, strict=True)]


def _read_run(path: Path) -> Run:
    folder = RunDir(path).require()
    values, result = load(folder.config_text(), str(path / CONFIG)), folder.result()
    lacking = [key for key in ("class_names", "parameters", "seconds") if key not in result] + [
        key for key in ("seed", "model") if key not in values
    ]
    if lacking:
        raise InputError(
            f"{path}: {CONFIG} and {RESULT} lack {', '.join(lacking)}; expected what 'segkit train' wrote. Train it again."
        )
    return Run(folder, values, result)


def _require_same_test(path: Path, run: Run, first_path: Path, first: Run) -> None:
    ours, theirs = run.result, first.result
    if ours["class_names"] != theirs["class_names"]:
        raise InputError(
            f"{path} has {len(ours['class_names'])} classes, {first_path} has {len(theirs['class_names'])}: "
            "expected runs on one dataset. Compare them apart."
        )
    if run.fingerprint != first.fingerprint:
        raise InputError(
            f"{path} and {first_path} were scored on different test labels: expected one test split. Compare them apart."
        )


def what_counts(values: dict[str, Any]) -> dict[str, Any]:
    """What a run's config says, but for what its repetitions may change; of model.initialize_from, whether it is set
    (`staged`)."""
    values = json.loads(json.dumps(values))
    values["staged"] = values["model"].get("initialize_from") is not None
    for key in ELSEWHERE:
        *parents, last = key.split(".")
        place = values
        for parent in parents:
            place = place.get(parent, {})
        place.pop(last, None)
    return values
