"""Settings of the notebooks: the configs that they start from, where their runs go, and how long they take.

With SEGKIT_FAST=1 in the environment, each notebook takes seconds, and its nets learn nothing.
"""

import os
import warnings
from pathlib import Path

import segkit

# tqdm misses ipywidgets as soon as albumentations is imported in a kernel; nothing here shows its bars
warnings.filterwarnings("ignore", message="IProgress not found")

FAST = os.environ.get("SEGKIT_FAST", "0") not in ("", "0")
CONFIGS = Path(segkit.__file__).parent / "configs"  # those that come with segkit
RUNS = Path(os.environ.get("SEGKIT_NOTEBOOK_RUNS") or ("runs/notebooks-fast" if FAST else "runs/notebooks"))
CHANGES = [
    "data.size=[32,48]", "data.train_images=8", "data.val_images=3", "data.test_images=6", "model.encoder.width=0.0625",
    "training.epochs=2", "training.batch_size=4", "training.log_every=1", "evaluation.every_epochs=1",
] if FAST else []  # fmt: skip
MEMBERS = ["decoder=fcn32s,fcn8s", "seed=0,1"] if FAST else []  # all, or four
