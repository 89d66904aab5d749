"""Checkpoints: written whole or not at all, read without running code."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.optim import Optimizer

from segkit.engine.optim import Schedule
from segkit.errors import InputError
from segkit.files import write_atomically
from segkit.models.segmenter import Segmenter
from segkit.models.weights import load_exactly

SCHEMA = 1
LAST, BEST = "last.pt", "best.safetensors"


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: optimizer steps done.
        seconds: training and validation time so far.
        best_mean_iou: best validation score, -1 before the first.
        best_step: step of that score.
    """

    step: int = 0
    seconds: float = 0.0
    best_mean_iou: float = -1.0
    best_step: int = 0


@dataclass(frozen=True)
class Trainee:
    """Everything whose state makes a run continue as if never stopped."""

    model: Segmenter
    optimizer: Optimizer
    schedule: Schedule
    progress: Progress = field(default_factory=Progress)


def save(path: Path, trainee: Trainee, *, config_hash: str, class_names: tuple[str, ...]) -> None:
    """Writes the complete state of training to `path`, atomically."""
    content = {
        "schema": SCHEMA,
        "config_hash": config_hash,
        "class_names": list(class_names),
        "progress": asdict(trainee.progress),
        "model": trainee.model.state_dict(),
        "optimizer": trainee.optimizer.state_dict(),
        "schedule": trainee.schedule.state_dict(),
        "random": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []},
    }
    write_atomically(path, lambda partial: torch.save(content, partial))


def restore(path: Path, trainee: Trainee, *, config_hash: str, class_names: tuple[str, ...]) -> None:
    """Puts the state of `path` into `trainee` and into torch's random generators.

    Raises:
        InputError: if the file is damaged, of another schema, of another config or of other classes.
    """
    content = read(path)
    if content["config_hash"] != config_hash:
        raise InputError(f"{path} belongs to config {content['config_hash']}, this run has {config_hash}. Choose another --run folder.")
    if tuple(content["class_names"]) != tuple(class_names):
        raise InputError(
            f"{path} was trained on the classes {', '.join(content['class_names'])}; the dataset has {', '.join(class_names)}. "
            "Restore the dataset's classes, or choose another --run folder."
        )
    load_exactly(trainee.model, content["model"], source=str(path))
    try:
        trainee.optimizer.load_state_dict(content["optimizer"])
        trainee.schedule.load_state_dict(content["schedule"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path} does not fit this run ({str(error).splitlines()[0]}). Choose another --run folder.") from None
    for name, value in content["progress"].items():
        setattr(trainee.progress, name, value)
    torch.set_rng_state(content["random"]["cpu"])
    if content["random"]["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(content["random"]["cuda"])


def read(path: Path) -> dict[str, Any]:
    """Content of a training checkpoint.

    Raises:
        InputError: if it is missing, damaged, or of a schema that this version does not know.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        schema = content["schema"]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected a checkpoint. Did the run save one?") from None
    except Exception as error:  # torch raises errors of many kinds for damaged or foreign files
        raise InputError(f"{path} is damaged or no checkpoint ({type(error).__name__}). Start again with --overwrite.") from None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema}; this version reads {SCHEMA}. Install the version of segkit that wrote it.")
    return content


def save_weights(path: Path, model: nn.Module, *, metadata: dict[str, str]) -> None:
    """Writes the model's tensors as safetensors, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = safetensors.torch.save(tensors, metadata=metadata)  # save_file would make a file that only its owner can read
    write_atomically(path, lambda partial: partial.write_bytes(content))
