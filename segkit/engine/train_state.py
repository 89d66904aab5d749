"""The state of a run in training, and what it belongs to."""

from dataclasses import dataclass, field

from torch.optim import Optimizer

from segkit.engine.optim import Schedule
from segkit.models.segmenter import Segmenter


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        step: optimizer steps done.
        epochs: epochs done, including their validation.
        seconds: training and validation time so far.
        best_mean_iou: best validation score, -1 before the first.
        best_step: step of that score.
        skipped: steps without an update, because loss or gradient was not finite.
    """

    step: int = 0
    epochs: int = 0
    seconds: float = 0.0
    best_mean_iou: float = -1.0
    best_step: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class TrainState:
    """Everything that must be saved for a run to resume as if it had never stopped."""

    model: Segmenter
    optimizer: Optimizer
    schedule: Schedule
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class Identity:
    """The run that a checkpoint belongs to.

    Attributes:
        config_hash: of everything that decides the result.
        model: name of the decoder or whole model.
        class_names: of class 0..K-1.
        processes: number of processes that train it; each has random numbers of its own.
    """

    config_hash: str
    model: str
    class_names: tuple[str, ...]
    processes: int = 1
