"""A list of run folders with their progress and scores."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segkit.config.identity import method_name
from segkit.config.renamed import with_new_names
from segkit.config.yaml import load
from segkit.errors import InputError
from segkit.tracking.console import percent
from segkit.tracking.lock import in_use
from segkit.tracking.run_dir import CONFIG, ENVIRONMENT, METRICS, RESULT, RunDir

COLUMNS = ("run", "method", "seed", "state", "epoch", "best validation mean IoU", "test mean IoU", "last written")


@dataclass(frozen=True)
class RunState:
    """A run folder.

    Attributes:
        state: `new` (nothing trained), `running`, `unfinished`, `finished`, or `damaged` (its files cannot be read).
        step: the last one that was recorded.
        epoch: the last one that was validated.
        validation_mean_iou, test_mean_iou: best so far, and of the best weights; None where there is none.
        age_seconds: since something was last written.
    """

    path: str
    name: str
    method: str
    seed: int
    state: str
    step: int
    epoch: int
    epochs: int | None
    validation_mean_iou: float | None
    test_mean_iou: float | None
    age_seconds: float

    def row(self) -> tuple[str, ...]:
        """Cells of a table row, under COLUMNS."""
        epochs = f"{self.epoch}/{self.epochs}" if self.epochs else f"{self.epoch}"
        scores = (percent(self.validation_mean_iou), percent(self.test_mean_iou))
        age = f"{self.age_seconds:.0f} s ago"
        for unit, length in (("min", 60), ("h", 3600), ("days", 86400)):
            if self.age_seconds >= 2 * length:
                age = f"{self.age_seconds / length:.0f} {unit} ago"
        return (self.path, self.method, str(self.seed), self.state, epochs, *scores, age)


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Run folders in or below some folders, sorted within each.

    Raises:
        InputError: if one of the folders does not exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise InputError(
                f"{path} is not a folder; expected a run folder, or one with run folders below it. Check the path."
            )
        found |= dict.fromkeys(file.parent for file in sorted(path.rglob(ENVIRONMENT)) if RunDir(file.parent).exists)
    return list(found)


def run_state(path: Path) -> RunState:
    """The state of one run folder."""
    written = [
        file.stat().st_mtime for name in (METRICS, RESULT, CONFIG, ENVIRONMENT) if (file := path / name).exists()
    ]
    age = time.time() - max(written, default=time.time())
    run = RunDir(path)
    try:
        config = with_new_names(load(run.config_text(), str(path / CONFIG)))
        records = run.records()
        validations = [record for record in records if record["kind"] == "validation"]
        test = [record["mean_iou"] for record in records if record["kind"] == "test"]
        if run.finished:
            run.result()  # or it is damaged
            state = "finished"
        else:
            state = "running" if in_use(path) else "unfinished" if run.holds_progress else "new"
        return RunState(
            path=str(path),
            name=str(config.get("name")),
            method=method_name(config),
            seed=config.get("seed", 0),
            state=state,
            step=max((record["step"] for record in records), default=0),
            epoch=max((record["epoch"] for record in validations), default=0),
            epochs=config["training"].get("epochs"),
            validation_mean_iou=max((record["mean_iou"] for record in validations), default=None),
            test_mean_iou=test[-1] if test else None,
            age_seconds=age,
        )
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):  # the files are damaged
        return RunState(str(path), "", "", 0, "damaged", 0, 0, None, None, None, age)
