"""The folder of a run, RUN = runs/NAME, and its files in the order in which they are written.

| when | file |
|---|---|
| before | `~/.cache/segkit/class_counts/HASH.json` (pixels of each class) |
| start to end | `runs/.NAME.lock` (the process that holds the folder) |
| start | `RUN/classes.yaml`, `environment.json` and, last, `config.yaml`: with it, the folder is a run |
| start, W&B on | `RUN/wandb.json` (id of the W&B run), `RUN/wandb/` (its session, replaced by the next one) |
| every `log_every` steps, first and last | a line of `RUN/metrics.jsonl`, kind `train`; at once: `void`, `nonfinite` |
| every `evaluation.every_epochs`, end | a line of kind `validation`; `RUN/checkpoints/best.safetensors` if better |
| epoch, `every_minutes`, signal, error | `RUN/checkpoints/step_N_epoch_M.pt` and `.json`; the last `keep` stay |
| one NaN or Inf too many | `RUN/checkpoints/nonfinite_step_N.safetensors` (images and labels of the step) |
| end | `RUN/predictions/test/ID.png`, `confusion_test.npz`, a line of kind `test` and, last, `result.json` |

`metrics.jsonl` is the authoritative record of the run: each line is on disk before the next checkpoint.
"""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from segkit import __version__
from segkit.errors import InputError
from segkit.system.files import sync_folder, write_atomically, write_failure, write_text

CONFIG, CLASSES, ENVIRONMENT = "config.yaml", "classes.yaml", "environment.json"
METRICS, RESULT, PREDICTIONS = "metrics.jsonl", "result.json", "predictions"
WANDB, WANDB_ID = "wandb", "wandb.json"
# CONFIG makes a folder a run, so it is removed first
FILES = (CONFIG, RESULT, METRICS, "confusion_*.npz", ".*.partial", WANDB_ID, ENVIRONMENT, CLASSES)
FOLDERS = ("plugins", "checkpoints", PREDICTIONS, WANDB)
RESULT_KEYS = {"test", "best_step", "class_names"}


class RunDir:
    """Names and contents of the files of one run; the folder need not exist."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.best_weights = self.checkpoints / "best.safetensors"
        self.was_started = False  # by this process

    @property
    def exists(self) -> bool:
        """True if a run was started here."""
        return (self.path / CONFIG).is_file() and (self.path / ENVIRONMENT).is_file()

    @property
    def trained(self) -> bool:
        """True if there is a checkpoint to resume from."""
        return self.exists and self.saved_step is not None

    @property
    def saved_step(self) -> int | None:
        """Step of the last checkpoint, None if there is none."""
        names = sorted(path.stem for path in self.checkpoints.glob("step_*.json"))
        return int(names[-1].split("_")[1]) if names else None

    @property
    def finished(self) -> bool:
        """True if the run is complete."""
        return self.exists and (self.path / RESULT).is_file()

    @property
    def holds_progress(self) -> bool:
        """True if there is anything to lose: a result, a checkpoint, or best weights after more than one validation.

        The best weights are written before the checkpoint of their epoch.
        """
        weights = self.exists and self.best_weights.is_file()
        return self.finished or self.trained or (weights and len(self.records("validation")) > 1)

    def require(self) -> "RunDir":
        """Return this folder.

        Raises:
            InputError: if it holds no run.
        """
        if not self.path.exists():
            raise InputError(
                f"{self.path} does not exist; expected a folder that 'segkit train' wrote. Check the path."
            )
        if not self.exists:
            raise InputError(
                f"{self.path} is not a run folder: it lacks {CONFIG} or {ENVIRONMENT}. "
                "Expected a folder that 'segkit train' wrote."
            )
        return self

    def start(
        self,
        texts: dict[str, str],
        *,
        start_weights: str | None = None,
        processes: int = 1,
        packages: Mapping[str, str] | None = None,
    ) -> None:
        """Create the folder, replacing the run that it holds, and write `texts` and the environment.

        Args:
            texts: file name -> content; one of them is the config.
            start_weights: SHA-256 of the file that the initial weights come from.
            processes: number of processes that train together.
            packages: version of each installed package that components come from.
        Raises:
            InputError: if the folder cannot be created, or holds something other than a run.
        """
        more = {"start_weights": start_weights, "processes": processes, "packages": dict(packages or {})}
        about = json.dumps(environment() | more, indent=2) + "\n"
        try:
            if not (self.exists or self._is_remnant()):
                raise InputError(
                    f"{self.path} exists and is not a run folder; nothing was written. "
                    "Choose another folder with --run."
                )
            self.was_started = True
            self.remove()
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            for name, text in sorted({ENVIRONMENT: about, **texts}.items(), key=lambda item: item[0] == CONFIG):
                write_text(self.path / name, text)  # the config last: with it, this is a run
            sync_folder(self.path.absolute().parent)
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written ({error.strerror}). Choose another folder with --run."
            ) from None

    def remove(self) -> None:
        """Delete only files that a run writes; without the first one, the folder is no longer a run."""
        for pattern in FILES:
            for file in self.path.glob(pattern):
                file.unlink()
        for folder in FOLDERS:
            shutil.rmtree(self.path / folder, ignore_errors=True)

    def _is_remnant(self) -> bool:
        """Return True if there is nothing, or only files of an interrupted start or removal, without a config."""
        if not self.path.exists():
            return True
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else [CONFIG]
        return (
            CONFIG not in names
            and names != ["plugins"]
            and all(name in FOLDERS or any(fnmatch(name, pattern) for pattern in FILES) for name in names)
        )

    @property
    def start_weights(self) -> str | None:
        """SHA-256 of the file of the initial weights, as given to `start`; None if there was none."""
        try:
            return json.loads((self.path / ENVIRONMENT).read_text(encoding="utf-8")).get("start_weights")
        except (OSError, ValueError, AttributeError):
            return None

    def config_text(self) -> str:
        """Return the saved config."""
        return (self.path / CONFIG).read_text(encoding="utf-8")

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """Append one record to metrics.jsonl and wait until it is on disk, so no checkpoint can be ahead of it.

        Raises:
            RunError: if it cannot be written.
        """
        line = json.dumps(_without_nan({"kind": kind, **record}), allow_nan=False) + "\n"
        try:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_failure(self.path / METRICS, len(line), error) from None

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the records of metrics.jsonl, all or of one kind, without lines that a crash left incomplete."""
        try:
            lines = (self.path / METRICS).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and {"kind", "step"} <= record.keys() and kind in (None, record["kind"]):
                found.append(record)
        return found

    def forget_after(self, step: int, epoch: int) -> None:
        """Remove the records of later steps, epochs and tests: a resumed run writes them again."""
        kept = [r for r in self.records() if r["step"] <= step and r.get("epoch", 0) <= epoch and r["kind"] != "test"]
        write_text(self.path / METRICS, "".join(json.dumps(record) + "\n" for record in kept))

    def write_matrices(self, split: str, ids: tuple[str, ...], matrices: np.ndarray, fingerprint: str) -> Path:
        """Store one confusion matrix per image, [N, K, K] with rows = label, and the fingerprint of the labels."""
        path = self.path / f"confusion_{split}.npz"

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                np.savez_compressed(file, ids=ids, matrices=matrices.astype(np.int32), fingerprint=fingerprint)

        write_atomically(path, write)
        return path

    def matrices(self, split: str) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the ids of the images and int64 [N, K, K] matrices of a split.

        Raises:
            InputError: if the split was not evaluated, or the file is damaged.
        """
        stored = self._stored(split)
        return tuple(stored["ids"].tolist()), stored["matrices"].astype(np.int64)

    def fingerprint(self, split: str) -> str | None:
        """Return the fingerprint of the labels that a split's matrices were made with; None if it was not stored."""
        stored = self._stored(split)
        return str(stored["fingerprint"]) if "fingerprint" in stored else None

    def _stored(self, split: str) -> dict[str, np.ndarray]:
        path = self.path / f"confusion_{split}.npz"
        again = f"Run 'segkit evaluate {self.path} --split {split}'."
        if not path.is_file():
            raise InputError(f"{path} does not exist: the split was not scored. {again}")
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = dict(stored)
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise InputError(
                f"{path} is damaged ({type(error).__name__}); expected confusion matrices. {again}"
            ) from None
        if not {"ids", "matrices"} <= found.keys():
            raise InputError(f"{path} holds {', '.join(found) or 'nothing'}; expected ids and matrices. {again}")
        return found

    def prediction(self, split: str, name: str) -> Path:
        """Return the path of the predicted labels (palette PNG) of the image `name` of a split."""
        return self.path / PREDICTIONS / split / f"{name}.png"

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json, which marks the run as finished."""
        write_text(self.path / RESULT, json.dumps(_without_nan(result), indent=2, allow_nan=False) + "\n")

    def result(self) -> dict[str, Any]:
        """Return the result that `finish` wrote.

        Raises:
            InputError: if the run has not finished, or the file is damaged.
        """
        if not self.finished:
            raise InputError(
                f"{self.path} has not finished: it has no {RESULT}. Repeat the 'segkit train' command to resume."
            )
        path = self.path / RESULT
        try:
            result = dict(json.loads(path.read_text(encoding="utf-8")))
            if lacking := RESULT_KEYS - result.keys():
                raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
            return result
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({error}). Delete it and repeat the 'segkit train' command, which scores again."
            ) from None


def _without_nan(value: Any) -> Any:
    """Return the value with None in place of NaN and infinite numbers, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def environment() -> dict[str, Any]:
    """Return the versions of packages and the machine, for the record."""
    import torch

    return {
        "segkit": __version__,
        "commit": _commit(),
        "command": sys.argv,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.platform(),
        "processor": _processor(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _commit() -> str | None:
    """Return the commit of this package's checkout, with `+changes` if it is not clean; None if there is none."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> dict[str, Any]:
    lines = []
    with suppress(OSError):  # Linux alone has this file
        lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    fields = {key.strip(): value.strip() for key, value in lines}
    features = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(fields.get("flags", "").split())
    name = fields.get("model name") or platform.processor()
    return {"name": name, "cores": os.cpu_count(), "features": sorted(features)}
