"""Where the runs of the notebooks go, and how long they take. With SEGKIT_FAST=1 in the environment, each notebook
takes seconds.

SEGKIT_FAST is read here and nowhere else.
"""

import os
import warnings
from pathlib import Path

# tqdm misses ipywidgets as soon as albumentations is imported in a kernel; nothing here shows its bars
warnings.filterwarnings("ignore", message="IProgress not found")

TINY = (
    "data.size=[32,48]", "data.train_images=8", "data.val_images=3", "data.test_images=6", "model.encoder.width=0.0625",
    "training.epochs=2", "training.batch_size=4", "training.log_every=1", "evaluation.every_epochs=1",
)  # fmt: skip
FEW = ("decoder=fcn32s,fcn8s", "seed=0,1")


def runs_folder() -> Path:
    """The folder for runs: $SEGKIT_NOTEBOOK_RUNS, else runs/notebooks; another one for fast runs, since their configs
    differ."""
    return Path(os.environ.get("SEGKIT_NOTEBOOK_RUNS") or ("runs/notebooks-fast" if _fast() else "runs/notebooks"))


def settings() -> list[str]:
    """Changes to a config of Streets: none, or (SEGKIT_FAST) tiny images, a thin net and two epochs, which teach a net
    nothing."""
    return list(TINY) if _fast() else []


def members() -> list[str]:
    """Which members of experiments/decoders_on_streets are trained, for `segkit.experiments.experiment.select`: all, or
    (SEGKIT_FAST) four."""
    return list(FEW) if _fast() else []


def _fast() -> bool:
    return os.environ.get("SEGKIT_FAST", "0") not in ("", "0")
