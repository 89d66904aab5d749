"""Checkpoints: written whole or not at all, verified before use, read without running code.

A checkpoint is two files: the state of training (`.pt`) and its manifest (`.json`), which is written last and holds the
state's SHA-256. Without its manifest a state does not count. Schema 2 is the first of a released version.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit import __version__
from segkit.data.loader import Batch
from segkit.engine.device import random_state, set_random_state
from segkit.engine.distributed import ALONE, Processes
from segkit.engine.train_state import Identity, Progress, TrainState
from segkit.errors import InputError
from segkit.models.weights import load_exactly, read_metadata, read_weights, write_weights
from segkit.system.files import require_space, sha256, sync_folder, write_atomically, write_failure, write_text

SCHEMA = 2
BEST = "best.safetensors"


class _Damaged(Exception):
    """A checkpoint that differs from its manifest."""


class Checkpoints:
    """The checkpoints of one run, of which the last `keep` stay; the folder must exist before the first save.

    Args:
        device: its random generator is part of the state.
        processes: those that share the run; all call the same methods, and process 0 writes.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        *,
        keep: int = 2,
        device: torch.device = torch.device("cpu"),  # noqa: B008
        processes: Processes = ALONE,
    ):
        self.folder, self.identity, self.keep, self.device, self.processes = folder, identity, keep, device, processes
        self._saved: tuple[int, int] | None = None
        self._saved_at = time.monotonic()

    @property
    def seconds_since_save(self) -> float:
        """Seconds since the latest `save` or `restore`, or since this object was made."""
        return time.monotonic() - self._saved_at

    def save(self, state: TrainState) -> None:
        """Save the complete state of training, unless it is saved already, and remove all but the last `keep` states.

        Raises:
            FloatingPointError: if a weight is not finite; nothing is written.
            RunError: if it cannot be written; the earlier checkpoints are unchanged.
        """
        progress = state.progress
        if self._saved == (progress.step, progress.epochs):
            return
        random = self.processes.together(lambda: random_state(self.device))
        self.processes.lead(lambda: self._write(state, random))
        self._saved, self._saved_at = (progress.step, progress.epochs), time.monotonic()

    def _write(self, state: TrainState, random: list[dict[str, torch.Tensor]]) -> None:
        """Write a state, with the random states of all processes."""
        _require_finite(state)
        progress = state.progress
        path = self.folder / f"step_{progress.step:08d}_epoch_{progress.epochs:04d}.pt"
        content = {
            "schema": SCHEMA,
            "progress": asdict(progress),
            "model": state.model.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "schedule": state.schedule.scheduler.state_dict(),
            "random": random[0],
            "random_of_others": random[1:],
        }
        size = _bytes(content) + 2**20
        require_space(self.folder, size)
        try:
            path.with_suffix(".json").unlink(missing_ok=True)  # left by a damaged checkpoint
            write_atomically(path, lambda partial: torch.save(content, partial))
            about = {"schema": SCHEMA, "segkit": __version__, **asdict(self.identity), **asdict(progress)}
            about |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
            about["manifest_sha256"] = _digest(about)
            write_text(path.with_suffix(".json"), json.dumps(about, indent=2) + "\n")
        except (OSError, RuntimeError) as error:
            raise write_failure(path, size, error) from None
        with suppress(OSError):  # extra checkpoints do no harm
            found = [manifest.with_suffix(".pt") for manifest in manifests(self.folder)]
            # later ones belong to a branch that was abandoned
            kept = set([each for each in found if each <= path][: self.keep])
            for each in sorted({*found, *self.folder.glob("step_*.pt")} - kept):
                each.with_suffix(".json").unlink(missing_ok=True)
                each.unlink(missing_ok=True)
            sync_folder(self.folder)

    def restore(self, state: TrainState, say: Callable[[str], None]) -> None:
        """Restore the latest undamaged checkpoint into `state` and torch's random generators.

        Args:
            say: takes a line about each damaged checkpoint.
        Raises:
            InputError: if all are damaged, or one is of another schema, config, model or classes.
        """
        damaged = []
        for manifest in manifests(self.folder):
            try:
                content = self._read(manifest)
            except _Damaged as error:
                damaged.append(str(error))
                continue
            self._load(content, manifest.with_suffix(".pt"), state)
            for line in damaged:
                say(f"{line}; resuming from the one before, step {state.progress.step}.")
            self._require_best(state.progress)
            return
        raise InputError(
            f"{self.folder} holds no undamaged checkpoint: {'; '.join(damaged) or 'none'}. "
            "Start again with --overwrite."
        )

    def _require_best(self, progress: Progress) -> None:
        """Raise InputError if the best weights are gone: no later epoch may beat them.

        They may be newer than the state, if the run stopped between validation and save; then their file's score holds.
        """
        if not progress.best_step:
            return
        try:
            read_weights(self.folder / BEST)
            about = read_metadata(self.folder / BEST)
            progress.best_step, progress.best_mean_iou = int(about["step"]), float(about["mean_iou"])
        except (InputError, KeyError, ValueError) as error:
            reason = str(error).partition("; expected")[0]
            raise InputError(
                f"the run cannot resume without its best weights, of step {progress.best_step}: {reason}. "
                "Bring the file back, or start again with --overwrite."
            ) from None

    def _read(self, manifest: Path) -> dict[str, Any]:
        """Read and verify the state that belongs to a manifest."""
        path = manifest.with_suffix(".pt")
        try:
            about = json.loads(manifest.read_text(encoding="utf-8"))
            schema, size, digest = about["schema"], about["bytes"], about["sha256"]
            if schema == SCHEMA and about.pop("manifest_sha256") != _digest(about):
                raise ValueError
            theirs = Identity(
                about["config_hash"], about["model"], tuple(about["class_names"]), about.get("processes", 1)
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _Damaged(f"{manifest} is damaged") from None
        if schema != SCHEMA:
            raise InputError(
                f"{manifest} has schema {schema}; this version reads {SCHEMA}. "
                f"Resume with segkit {about.get('segkit')}."
            )
        self._require_same(theirs, path)
        if not path.is_file():
            raise _Damaged(f"{path} is missing")
        try:
            if path.stat().st_size != size:
                raise _Damaged(f"{path} is damaged: {path.stat().st_size} bytes, expected {size}")
            if sha256(path) != digest:
                raise _Damaged(f"{path} is damaged: its SHA-256 is not the manifest's")
        except OSError as error:
            raise _Damaged(f"{path} cannot be read ({error.strerror})") from None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds
            raise InputError(
                f"{path} is not a checkpoint ({type(error).__name__}) and was not loaded. Start again with --overwrite."
            ) from None

    def _require_same(self, theirs: Identity, path: Path) -> None:
        """Raise InputError unless a checkpoint belongs to this run."""
        ours = self.identity
        about, wanted = (f"{each.model} with {len(each.class_names)} classes" for each in (theirs, ours))
        if about != wanted:
            raise InputError(f"{path} is of {about}, the config says {wanted}. Choose another --run folder.")
        if theirs.class_names != ours.class_names:
            raise InputError(
                f"{path} was trained on the classes {', '.join(theirs.class_names)}; "
                f"the dataset has {', '.join(ours.class_names)}. "
                "Restore the dataset's classes, or choose another --run folder."
            )
        if theirs.config_hash != ours.config_hash:
            raise InputError(
                f"{path} belongs to config {theirs.config_hash}, this run has {ours.config_hash}. "
                "Choose another --run folder."
            )
        if theirs.processes != ours.processes:
            raise InputError(
                f"{path} is of a run with processes = {theirs.processes}, this command has {ours.processes}: "
                "the result would differ. "
                f"Resume with 'torchrun --nproc-per-node {theirs.processes} -m -- segkit train ...', "
                "or choose another --run folder."
            )

    def _load(self, content: dict[str, Any], path: Path, state: TrainState) -> None:
        try:
            load_exactly(state.model, content["model"], source=str(path))
            state.optimizer.load_state_dict(content["optimizer"])
            state.schedule.scheduler.load_state_dict(content["schedule"])
            for name, value in asdict(Progress(**content["progress"])).items():
                setattr(state.progress, name, value)
            states = [content["random"], *content.get("random_of_others", [])]
            set_random_state(states[self.processes.rank], self.device)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} does not fit this run ({str(error).partition(chr(10))[0]}). Choose another --run folder."
            ) from None
        self._saved, self._saved_at = (state.progress.step, state.progress.epochs), time.monotonic()

    def keep_best(self, state: TrainState, mean_iou: float) -> None:
        """Record the score as the best so far and write the weights.

        Raises:
            RunError: if they cannot be written; the earlier best ones are unchanged.
        """
        model, progress = state.model, state.progress
        about = {"schema": SCHEMA, "step": progress.step, "mean_iou": mean_iou, "normalization": model.normalization}
        about |= asdict(self.identity)
        size = _bytes(model.state_dict()) + 2**20

        def write() -> None:
            _require_finite(state)
            require_space(self.folder, size)
            try:
                save_weights(self.folder / BEST, model, metadata={key: str(value) for key, value in about.items()})
            except OSError as error:
                raise write_failure(self.folder / BEST, size, error) from None

        self.processes.lead(write)
        progress.best_mean_iou, progress.best_step = mean_iou, progress.step

    def keep_batch(self, step: int, parts: Sequence[Batch]) -> Path | None:
        """Write the images and labels of a step of all processes, for inspection; None if they could not be written."""
        path = self.folder / f"nonfinite_step_{step:08d}.safetensors"
        parts = [part for each in self.processes.together(lambda: parts) for part in each]
        tensors, metadata = {}, {}
        for n, part in enumerate(parts):
            tensors |= {f"image_{n}": part.image, f"labels_{n}": part.labels}
            metadata[f"ids_{n}"] = json.dumps(part.ids)
        with suppress(OSError):  # the error itself comes first
            self.processes.lead(lambda: write_weights(path, tensors, metadata=metadata))
            return path
        return None


class NoCheckpoints:
    """Replacement of `Checkpoints` that saves nothing, for steps that are only measured."""

    seconds_since_save = 0.0

    def save(self, state: TrainState) -> None:
        """Save nothing."""

    def keep_best(self, state: TrainState, mean_iou: float) -> None:
        """Save nothing."""

    def keep_batch(self, step: int, microbatches: Sequence[Batch]) -> None:
        """Save nothing."""


NO_CHECKPOINTS = NoCheckpoints()


def _digest(about: dict[str, Any]) -> str:
    """SHA-256 of a manifest's content."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def manifests(folder: Path) -> list[Path]:
    """Manifests of the checkpoints in a folder, the latest first."""
    return sorted(folder.glob("step_*.json"), reverse=True)


def save_weights(path: Path, model: nn.Module, *, metadata: dict[str, str]) -> None:
    """Write the model's tensors as safetensors, atomically; equal weights and metadata make equal files."""
    write_weights(path, model.state_dict(), metadata=metadata)


def _require_finite(state: TrainState) -> None:
    """Raise FloatingPointError if a weight or buffer is NaN or Inf: nothing could resume from it."""
    broken = [name for name, tensor in state.model.state_dict().items() if not tensor.isfinite().all()]
    if broken:
        found = f"{len(broken)} tensors are not finite, the first is {broken[0]}"
        raise FloatingPointError(f"step {state.progress.step}: {found}; nothing was saved")


def _bytes(content: Any) -> int:
    """Bytes of all tensors in nested dicts and lists."""
    if isinstance(content, torch.Tensor):
        return content.nbytes
    items = content.values() if isinstance(content, dict) else content if isinstance(content, list | tuple) else ()
    return sum(map(_bytes, items))
