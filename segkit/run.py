"""One run, from a config to scores: train it, score it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segkit import build, config
from segkit.data.class_weights import ClassCounts, MedianFrequency, cached_count
from segkit.data.dataset import Dataset
from segkit.data.folder import classes_text, read_classes
from segkit.data.loader import steps_per_epoch
from segkit.engine import checkpoint
from segkit.engine.checkpoint import Progress, Trainee
from segkit.engine.device import choose_device, choose_precision
from segkit.engine.evaluate import Evaluation, evaluate
from segkit.engine.train import train
from segkit.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.metrics.confusion import Scores, scores
from segkit.models.segmenter import Segmenter
from segkit.models.weights import load_exactly, read_weights
from segkit.schema import Experiment, experiment_values
from segkit.signatures import show
from segkit.tracking.console import TrainingConsole, progress_bar
from segkit.tracking.run_dir import CLASSES, CONFIG, RunDir

ELSEWHERE = ("data.root", "training.device", "training.workers", "training.cache", "evaluation.batch_size")  # change no score


class _Logs:
    """Writes each record to the run folder and shows it."""

    def __init__(self, run: RunDir, console: TrainingConsole):
        self.run, self.console = run, console

    def write(self, kind: str, record: dict[str, Any]) -> None:
        self.run.write(kind, record)
        self.console.write(kind, record)


def check_folder(experiment: Experiment, run: RunDir) -> None:
    """Whether a run folder may be used: it is new, or holds this experiment, or nothing was trained in it yet.

    Raises:
        InputError: if it holds another experiment, naming the keys that differ.
    """
    if not run.precious:
        return
    stored, values = _flat(config.load(run.config_text(), str(run.path / CONFIG))), _flat(experiment_values(experiment))
    differing = sorted(key for key in {**stored, **values} if stored.get(key) != values.get(key))
    if differing:
        shown = ", ".join(f"{key} ({show(stored.get(key))} there, {show(values.get(key))} here)" for key in differing[:8])
        raise InputError(
            f"{run.path} holds a run of another config; different: {shown}. Choose another folder with --run, or --overwrite it."
        )
    if not (run.finished or run.trained):
        raise InputError(f"{run.path} lacks checkpoints/last.pt and cannot go on. Choose another folder with --run, or --overwrite it.")


def train_run(experiment: Experiment, run: RunDir, *, overwrite: bool = False) -> dict[str, Any]:
    """Trains to the end, from the last checkpoint if there is one, and scores the best weights on the test split.

    The folder is touched only after the data, the weights and the rest of the experiment proved usable.

    Args:
        overwrite: delete the run in the folder and start again.
    Returns:
        What result.json holds: test scores, class names, parameters, seconds.
    """
    settings, resumes = experiment.training, run.trained and not overwrite
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    training, validation, test = (build.build_dataset(experiment, split) for split in ("train", "val", "test"))
    values = experiment_values(experiment)
    require_labels(train=training, val=validation, test=test)
    identity = {"config_hash": config.config_hash(values), "class_names": training.class_names}
    trainee, loss = _assemble(experiment, training, device, restore=resumes)
    if resumes:
        checkpoint.restore(run.checkpoints / checkpoint.LAST, trainee, **identity)
        run.forget_after(trainee.progress.step)
    batches = build.build_batches(experiment, trainee.model, training, first_step=trainee.progress.step, device=device)
    checks = build.build_evaluation_batches(experiment, trainee.model, validation)
    if not resumes:
        run.start({CONFIG: config.dump(values), CLASSES: classes_text(training.class_names, training.palette)})

    def validate(model: nn.Module) -> Scores:
        with console.validation(len(validation)) as progress:
            found = evaluate(model, checks, num_classes=len(training.class_names), device=device, precision=precision, progress=progress)
        return scores(found.matrix)

    total = build.total_steps(experiment, len(training))
    with TrainingConsole(total, done=trainee.progress.step, best=trainee.progress.best_mean_iou) as console:
        train(
            trainee,
            loss,
            console.steps(batches),
            validate=validate,
            log=_Logs(run, console),
            checkpoints=run.checkpoints,
            identity=identity,
            steps_per_epoch=steps_per_epoch(len(training), settings.batch_size),
            total_steps=total,
            validate_every_epochs=experiment.evaluation.every_epochs,
            log_every=settings.log_every,
            device=device,
            precision=precision,
            accumulation=settings.accumulation,
            gradient_clip=settings.gradient_clip,
        )
    return conclude(experiment, run, trainee, test)


def count_labels(dataset: Dataset, split: str) -> ClassCounts:
    """Pixels of each class, with a progress bar while they are counted."""
    with progress_bar(f"reading {split} labels", len(dataset)) as advance:
        return cached_count(dataset, lambda _: advance(1))


def require_labels(**splits: Dataset) -> None:
    """Decodes every label of some splits, unless the same files were decoded before.

    Raises:
        InputError: if a label is missing, damaged or out of range, or a whole split is void.
    """
    for split, dataset in splits.items():
        if not any(count_labels(dataset, split).pixels[:-1]):
            raise InputError(f"the '{split}' split has no labelled pixel: all {len(dataset)} label maps are void. Check the labels.")


def _assemble(experiment: Experiment, training: Dataset, device: torch.device, *, restore: bool) -> tuple[Trainee, CrossEntropy]:
    """What is trained, at its start, and the loss."""
    model = build.build_model(experiment, len(training.class_names), restore=restore).to(device)
    optimizer = build.build_optimizer(experiment, model)
    schedule = build.build_schedule(experiment, optimizer, len(training))
    return Trainee(model, optimizer, schedule, Progress()), build.build_loss(experiment, training).to(device)


def conclude(experiment: Experiment, run: RunDir, trainee: Trainee, dataset: Dataset) -> dict[str, Any]:
    """Scores the best weights on the test split and marks the run as finished."""
    found = evaluate_run(experiment, run, "test")
    test = asdict(scores(found.matrix))
    run.write("test", {"step": trainee.progress.best_step, **test})
    result = {
        "name": experiment.name,
        "decoder": experiment.model.decoder.name,
        "config_hash": config.config_hash(experiment_values(experiment)),
        "parameters": sum(p.numel() for p in trainee.model.parameters()),
        "seconds": round(trainee.progress.seconds, 1),
        "best_step": trainee.progress.best_step,
        "best_validation_mean_iou": trainee.progress.best_mean_iou,
        "class_names": list(dataset.class_names),
        "test_fingerprint": dataset.fingerprint(),
        "test": test,
    }
    run.finish(result)
    return result


def load_run(path: Path, overrides: Sequence[str] = ()) -> tuple[Experiment, RunDir]:
    """The experiment of a run folder; `overrides` for what differs on this machine, such as data.root.

    Raises:
        InputError: if it is no run folder, or its config is not valid.
    """
    run = RunDir(path).require()
    experiment, _ = build.load_experiment(path / CONFIG, overrides)
    return experiment, run


def load_best(experiment: Experiment, run: RunDir, class_names: Sequence[str], device: torch.device) -> Segmenter:
    """The model of a run with its best weights, in evaluation mode."""
    model = build.build_model(experiment, len(class_names), restore=True)
    path = run.checkpoints / checkpoint.BEST
    if not path.is_file():
        raise InputError(f"{path} does not exist: the run has not finished an epoch. Repeat the 'segkit train' command to go on.")
    load_exactly(model, read_weights(path), source=str(path))
    return model.to(device).eval()


def evaluate_run(experiment: Experiment, run: RunDir, split: str) -> Evaluation:
    """Confusion matrices of the run's best weights on a split.

    They are also stored in the run folder if the experiment is the run's own, but for where the data lies and what computes.

    Raises:
        InputError: if the classes of the dataset are no longer those of the run.
    """
    dataset = build.build_dataset(experiment, split)
    trained, _ = read_classes(run.path / CLASSES)
    if dataset.class_names != trained:
        raise InputError(
            f"{run.path} was trained on the classes {', '.join(trained)}; the dataset has {', '.join(dataset.class_names)}. Restore them."
        )
    device = choose_device(experiment.training.device)
    precision = choose_precision(experiment.training.precision, device)
    model = load_best(experiment, run, dataset.class_names, device)
    batches = build.build_evaluation_batches(experiment, model, dataset)
    with progress_bar(f"scoring {split}", len(dataset)) as progress:
        found = evaluate(model, batches, num_classes=len(dataset.class_names), device=device, precision=precision, progress=progress)
    stored, values = _flat(config.load(run.config_text(), str(run.path / CONFIG))), _flat(experiment_values(experiment))
    if all(stored.get(key) == value for key, value in values.items() if key not in ELSEWHERE):
        run.write_matrices(split, found.ids, found.matrices)
    return found


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def shown_values(experiment: Experiment, sources: dict[str, str]) -> list[str]:
    """`key = value  # source` for every value of an experiment."""
    flat = _flat(experiment_values(experiment))
    lines = [f"{key} = {show(value)}" for key, value in flat.items()]
    width = min(72, max(map(len, lines)))
    found = [sources.get(key) or sources.get(key.removesuffix(".name")) or "default" for key in flat]
    return [f"{line:<{width}}  # {source}" for line, source in zip(lines, found, strict=True)]


def class_weight_rows(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of pixel counts and weights, a row per class and one for void."""
    dataset = build.build_dataset(experiment, "train")
    counts = count_labels(dataset, "train")
    weights = {
        "this config": build.build_class_weights(experiment),
        "median over classes": MedianFrequency(),
        "median incl. void": MedianFrequency(median_over="classes_and_void"),
        "labelled pixels": MedianFrequency(pixels="labelled"),
        "all images": MedianFrequency(images="all"),
    }
    values = [weighting(counts, dataset.class_names) for weighting in weights.values()]
    share = np.array(counts.pixels) / sum(counts.pixels)
    rows = []
    for index, name in enumerate([*dataset.class_names, "void"]):
        row = [name, f"{counts.pixels[index]:,}", f"{100 * share[index]:.2f}", f"{counts.images[index]}"]
        rows.append(row + [f"{column[index]:.4f}" if index < len(column) else "ignored" for column in values])
    return ["class", "pixels", "% of pixels", f"images of {counts.total_images}", *weights], rows
