"""Runs in Weights & Biases: `tracked` logs a run while it is trained, `sync` logs it afterwards from its folder."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from segkit import build
from segkit.config.schema import RunConfig, config_values
from segkit.data.datasets.class_file import read_classes
from segkit.engine.device import choose_device, choose_precision
from segkit.engine.inference import labels_at, predict_logits
from segkit.errors import InputError
from segkit.runs.trained import Trained, open_trained
from segkit.tracking.run_dir import CLASSES, RunDir
from segkit.tracking.tracker import Guarded, Picture, Tracker, reason
from segkit.viz.overlay import overlay

Mode = Literal["online", "offline"]
# W&B has two names for each; `required` is ours
MODES: dict[str, Mode] = {"online": "online", "run": "online", "required": "online"}
MODES |= {"offline": "offline", "dryrun": "offline"}


@contextmanager
def tracked(run_config: RunConfig, run: RunDir) -> Iterator[Tracker]:
    """Yield the tracker of a run while it is trained (W&B or none); its failures never affect training.

    The environment's WANDB_MODE wins over tracking.wandb, unless that is disabled: then W&B is not even imported.

    Raises:
        InputError: if tracking.wandb is `required`, and W&B does not start.
    """
    tracker = Tracker()
    wanted = run_config.tracking.wandb
    if wanted != "disabled" and os.environ.get("WANDB_MODE") != "disabled":
        mode = os.environ.get("WANDB_MODE") or wanted
        started = None
        if wanted == "required":
            try:
                started = start_tracker(run_config, run, mode)
            except Exception as error:  # the SDK raises errors of many kinds
                remedy = "Nothing was trained. Log in, or set tracking.wandb=online."
                text = f"tracking.wandb = 'required', and W&B cannot be used: {reason(error)}. {remedy}"
                raise InputError(text) from None
        again = f"'segkit sync {run.path}' sends it later."
        tracker = Guarded(lambda: started or start_tracker(run_config, run, mode), again=again)
    if tracker.place is not None:
        print(f"W&B: {tracker.place}", flush=True)
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    except KeyboardInterrupt:
        exit_code = 130
        raise
    finally:
        tracker.close(exit_code)


def sync(path: Path, mode: str, overrides: Sequence[str] = ()) -> str:
    """Log a run folder to W&B as if it had been logged during training; return where it can be seen.

    Without the validation images there are no pictures, and one line on standard error says so.

    Args:
        overrides: changes to the config, such as data.root on this machine.
    Raises:
        InputError: if it is not a run folder, or W&B cannot be used.
    """
    trained = open_trained(path, overrides)
    run = RunDir(path)

    def pictures_or_none(trained: Trained) -> list[Picture]:
        try:
            return validation_pictures(trained)
        except InputError as error:
            print(f"segkit: no pictures are sent: {error}", file=sys.stderr)
            return []

    try:
        tracker = start_tracker(trained.config, run, mode)
        try:
            if run.finished:
                tracker.conclude(lambda: pictures_or_none(trained))
        except BaseException:
            tracker.close(1)
            raise
        tracker.close(int(not run.finished))
    except Exception as error:  # the SDK raises errors of many kinds
        remedy = "Repeat the command later, or add --mode offline."
        raise InputError(f"{path} was not sent to W&B: {reason(error)}. {remedy}") from None
    return tracker.place or str(path)


def start_tracker(run_config: RunConfig, run: RunDir, mode: str) -> Tracker:
    """Start a W&B session of a run, and log all records that its folder holds.

    Args:
        mode: online or offline, in one of W&B's words.
    Raises:
        Exception: of any kind.
    """
    if mode not in MODES:
        raise InputError(f"WANDB_MODE = {mode}; expected online, offline or disabled")
    from segkit.tracking.wandb import About, WandbTracker

    tracking, decoder = run_config.tracking, run_config.model.title
    about = About(
        name=run_config.name,
        group=tracking.group,
        tags=(tracking.method or decoder, f"seed {run_config.seed}", run_config.data.name),
        config=config_values(run_config) | {"decoder": decoder},
        class_names=read_classes(run.path / CLASSES).names,
        project=tracking.project,
        entity=tracking.entity,
        mode=MODES[mode],
    )
    return WandbTracker(run, about)


def validation_pictures(trained: Trained) -> list[Picture]:
    """Predict tracking.images images of the validation split, evenly spread: the same ones for every run."""
    run_config, count = trained.config, trained.config.tracking.images
    if not count:
        return []
    dataset = build.build_dataset(run_config, "val")
    device = choose_device(run_config.training.device)
    precision = choose_precision(run_config.training.precision, device)
    model = trained.model(device)
    transform = build.build_evaluation_transform(run_config, model)
    pictures = []
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int).tolist():
        sample = dataset[index]
        with torch.inference_mode():
            logits = predict_logits(model, transform(sample.image)[None], device=device, precision=precision)
        predicted = labels_at(logits, sample.labels.shape)[0].cpu().numpy()
        drawn = (overlay(sample.image, labels, trained.palette) for labels in (sample.labels, predicted))
        composed = np.hstack([sample.image, *drawn])
        pictures.append(Picture(sample.id, sample.image, sample.labels, predicted, composed))
    return pictures
