"""One run, from a config to scores: train it, score it, predict with it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from segkit import build, config
from segkit.compare.collect import run_titles
from segkit.data.class_weights import MedianFrequency, cached_count
from segkit.data.dataset import Dataset, read_image
from segkit.data.folder import classes_text, read_classes
from segkit.data.loader import steps_per_epoch
from segkit.engine import checkpoint
from segkit.engine.checkpoint import Progress, Trainee
from segkit.engine.device import choose_device, choose_precision
from segkit.engine.evaluate import Evaluation, evaluate
from segkit.engine.inference import labels_at, predict_logits
from segkit.engine.train import train
from segkit.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.metrics.confusion import Scores, scores
from segkit.models.segmenter import Segmenter
from segkit.models.weights import load_exactly, read_weights
from segkit.schema import Experiment, experiment_values
from segkit.signatures import show
from segkit.tracking.console import TrainingConsole
from segkit.tracking.run_dir import CLASSES, CONFIG, RunDir
from segkit.viz.figures import side_by_side
from segkit.viz.overlay import overlay
from segkit.viz.palette import palette_image

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
    trainee, loss = _assemble(experiment, training, device, restore=resumes)
    values = experiment_values(experiment)
    identity = {"config_hash": config.config_hash(values), "class_names": training.class_names}
    if resumes:
        checkpoint.restore(run.checkpoints / checkpoint.LAST, trainee, config_hash=identity["config_hash"])
        run.forget_after(trainee.progress.step)
    batches = build.build_batches(experiment, trainee.model, training, first_step=trainee.progress.step, device=device)
    checks = build.build_evaluation_batches(experiment, trainee.model, validation)
    if not resumes:
        run.start({CONFIG: config.dump(values), CLASSES: classes_text(training.class_names, training.palette)})

    def validate(model: nn.Module) -> Scores:
        found = evaluate(model, checks, num_classes=len(training.class_names), device=device, precision=precision)
        return scores(found.matrix)

    total = build.total_steps(experiment, len(training))
    with TrainingConsole(total, done=trainee.progress.step, best=trainee.progress.best_mean_iou) as console:
        train(
            trainee,
            loss,
            batches,
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


def evaluate_run(experiment: Experiment, run: RunDir, split: str, progress: Callable[[int], None] | None = None) -> Evaluation:
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
    found = evaluate(model, batches, num_classes=len(dataset.class_names), device=device, precision=precision, progress=progress)
    stored, values = _flat(config.load(run.config_text(), str(run.path / CONFIG))), _flat(experiment_values(experiment))
    if all(stored.get(key) == value for key, value in values.items() if key not in ELSEWHERE):
        run.write_matrices(split, found.ids, found.matrices)
    return found


class Predictor:
    """Labels of images from the best weights of a run.

    Args:
        path: run folder.
        overrides: changes of its config, such as training.device.
    """

    def __init__(self, path: Path, overrides: Sequence[str] = ()):
        self.experiment, self.run = load_run(path, overrides)
        self.class_names, self.palette = read_classes(path / CLASSES)
        self.device = choose_device(self.experiment.training.device)
        self.precision = choose_precision(self.experiment.training.precision, self.device)
        self.model = load_best(self.experiment, self.run, self.class_names, self.device)
        self.transform = build.build_evaluation_transform(self.experiment, self.model)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] RGB to class ids, uint8 [H, W]."""
        logits = predict_logits(self.model, self.transform(image)[None], device=self.device, precision=self.precision)
        return labels_at(logits, image.shape[:2])[0].cpu().numpy()

    def write(self, path: Path, files: tuple[Path, Path]) -> None:
        """Predicts one image file; writes its class ids with a palette, and the overlay."""
        image = read_image(path)
        labels = self(image)
        files[0].parent.mkdir(parents=True, exist_ok=True)
        palette_image(labels, self.palette).save(files[0])
        Image.fromarray(overlay(image, labels, self.palette)).save(files[1])


def prediction_files(images: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """OUT/NAME.png and OUT/NAME_overlay.png for each image.

    Raises:
        InputError: if an image is missing, or a file would be written twice or over an image.
    """
    files = [(out / f"{path.stem}.png", out / f"{path.stem}_overlay.png") for path in images]
    written: dict[Path, Path] = {}
    sources = {path.resolve() for path in images}
    for path, pair in zip(images, files, strict=True):
        if not path.is_file():
            raise InputError(f"{path} does not exist; expected a PNG or JPEG file. Check the path.")
        for file in pair:
            if file.resolve() in sources:
                raise InputError(f"{file} is one of the images; nothing was written. Choose another folder with --out.")
            if file in written:
                raise InputError(f"{path} and {written[file]} would both be written to {file}. Predict them into different folders.")
            written[file] = path
    return files


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
    counts = cached_count(dataset)
    chosen = build.CLASS_WEIGHTS[experiment.loss.class_weights.name](**experiment.loss.class_weights.options)
    weights = {
        "this config": chosen,
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


def write_side_by_side(paths: Sequence[Path], out: Path, count: int) -> Path:
    """Writes a picture of `count` test images, evenly spread: image, labels, and the prediction of every run."""
    predictors = [Predictor(path) for path in paths]
    dataset = build.build_dataset(predictors[0].experiment, "test")
    rows = []
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int):
        sample = dataset[int(index)]
        predictions = {title: p(sample.image) for title, p in zip(run_titles(paths), predictors, strict=True)}
        rows.append((sample.image, sample.labels, predictions))
    side_by_side(out, rows, class_names=dataset.class_names, palette=dataset.palette)
    return out
