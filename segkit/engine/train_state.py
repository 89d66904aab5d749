"""The state of a run in training, and what it belongs to."""

from dataclasses import dataclass, field

from torch.optim import Optimizer

from segkit.engine.optim import Schedule
from segkit.models.segmenter import Segmenter


@dataclass
class Progress:
    """Progress of a run."""

    step: int = 0  # done
    epochs: int = 0  # done, including their validation
    seconds: float = 0.0  # of training and validation
    best_mean_iou: float = -1.0  # of a validation
    best_step: int = 0  # of that score
    skipped: int = 0  # steps without an update, because loss or gradient was not finite


@dataclass(frozen=True)
class TrainState:
    """Everything that must be saved for a run to resume as if it had never stopped."""

    model: Segmenter
    optimizer: Optimizer
    schedule: Schedule
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class Identity:
    """The run that a checkpoint belongs to."""

    config_hash: str  # of everything that decides the result
    model: str  # name of the decoder or whole model
    class_names: tuple[str, ...]
    processes: int = 1  # each has random numbers of its own
