"""Methods to compare, each with its runs, read from finished run folders."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from segkit.config.identity import distinct_names, method_name, recipe
from segkit.config.renamed import with_new_names
from segkit.config.yaml import load
from segkit.errors import InputError
from segkit.metrics.confusion import Scores, mean_iou, scores
from segkit.tracking.run_dir import CONFIG, RESULT, RunDir


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the `values` of its saved config, and its result.json."""

    folder: RunDir
    values: dict[str, Any]
    result: dict[str, Any]

    @property
    def seed(self) -> int:
        """The seed of its config."""
        return self.values["seed"]

    @cached_property
    def test(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Ids of the N test images and their confusion matrices, int64 [N, K, K]: the source of every score."""
        return self.folder.matrices("test")

    @cached_property
    def scores(self) -> Scores:
        """Scores of the test split as it was scored last; result.json has those at the end of training."""
        return scores(self.test[1].sum(0))

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the test labels that were scored."""
        return self.folder.fingerprint("test") or self.result.get("test_fingerprint")


@dataclass(frozen=True)
class Method:
    """A compared method: runs that differ only in their seed, by seed."""

    name: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs."""
        return tuple(run.seed for run in self.runs)

    @property
    def class_names(self) -> list[str]:
        """Names of the K classes."""
        return self.runs[0].result["class_names"]

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
        """Mean IoU of each image over the classes in its labels or prediction, [S, N] over runs; NaN without labels."""
        return mean_iou(self.matrices)


def read_methods(paths: Sequence[Path]) -> list[Method]:
    """The methods of some run folders, in the order of their first run.

    Runs belong to one method if their configs have the same `recipe` and name: `tracking.method`, else the decoder.
    Methods of equal names are called by their folders instead.

    Raises:
        InputError: if a folder holds no finished run or is given twice, or the runs were not scored on one test split
            of one dataset.
    """
    if not paths:
        raise InputError("no run is given: expected at least one. Name finished runs.")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("a run folder is given twice; expected different runs. Leave one out.")
    runs = [_read_run(path) for path in paths]
    groups: dict[tuple[str, str], list[list[Run]]] = {}
    for run in runs:
        _require_same_test(run, runs[0])
        alike = groups.setdefault((method_name(run.values), json.dumps(recipe(run.values), sort_keys=True)), [])
        without_seed = [each for each in alike if run.seed not in {other.seed for other in each}]
        if without_seed:
            without_seed[0].append(run)
        else:  # the same seed again is another measurement, not a repetition
            alike.append([run])
    found = [(name, sorted(each, key=lambda run: run.seed)) for (name, _), alike in groups.items() for each in alike]
    names = distinct_names([name for name, _ in found], [each[0].folder.path for _, each in found])
    return [Method(name, tuple(each)) for name, (_, each) in zip(names, found, strict=True)]


def _read_run(path: Path) -> Run:
    folder = RunDir(path).require()
    values, result = with_new_names(load(folder.config_text(), str(path / CONFIG))), folder.result()
    missing = [key for key in ("class_names", "parameters", "seconds") if key not in result]
    missing += [key for key in ("seed", "model") if key not in values]
    if missing:
        raise InputError(
            f"{path}: {CONFIG} and {RESULT} lack {', '.join(missing)}; expected what 'segkit train' wrote. "
            "Train it again."
        )
    return Run(folder, values, result)


def _require_same_test(run: Run, first: Run) -> None:
    path, first_path = run.folder.path, first.folder.path
    ours, theirs = run.result["class_names"], first.result["class_names"]
    if ours != theirs:
        raise InputError(
            f"{path} has {len(ours)} classes, {first_path} has {len(theirs)}: expected runs on one dataset. "
            "Compare them separately."
        )
    if run.fingerprint != first.fingerprint:
        raise InputError(
            f"{path} and {first_path} were scored on different test labels: expected one test split. "
            "Compare them separately."
        )
