"""What is trained, and how far it has come."""

from dataclasses import dataclass, field

from torch.optim import Optimizer

from segkit.engine.optim import Schedule
from segkit.models.segmenter import Segmenter


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: optimizer steps done.
        epochs: epochs done, their validation included.
        seconds: training and validation time so far.
        best_mean_iou: best validation score, -1 before the first.
        best_step: step of that score.
        skipped: steps left out because loss or gradient was not finite.
    """

    step: int = 0
    epochs: int = 0
    seconds: float = 0.0
    best_mean_iou: float = -1.0
    best_step: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Trainee:
    """Everything whose state makes a run continue as if never stopped."""

    model: Segmenter
    optimizer: Optimizer
    schedule: Schedule
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to.

    Attributes:
        config_hash: of everything that decides the result.
        model: title of the decoder or whole model.
        class_names: of class 0..K-1.
        processes: that train it; each has random numbers of its own.
    """

    config_hash: str
    model: str
    class_names: tuple[str, ...]
    processes: int = 1
