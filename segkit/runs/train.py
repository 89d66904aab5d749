"""One run, from a config to scores: train it, score it."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from segkit import build
from segkit.config.identity import CHANGES_NO_RESULT, identity
from segkit.config.resolve import config_hash, dump, load
from segkit.config.schema import RunConfig, Training, config_values
from segkit.config.signatures import show
from segkit.data.class_weights import ClassCounts, cached_count
from segkit.data.dataset import Dataset
from segkit.data.datasets.class_file import classes_text
from segkit.data.loader import steps_per_epoch
from segkit.data.verify.verify import require_sound
from segkit.engine.batch_norm import absorb_batch_norm
from segkit.engine.checkpoint import BEST, Checkpoints
from segkit.engine.device import choose_device, choose_precision, deterministic
from segkit.engine.distributed import ALONE, Processes
from segkit.engine.evaluate import evaluate
from segkit.engine.train import Plan, train
from segkit.engine.trainee import Identity, Progress, Trainee
from segkit.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.metrics.confusion import Scores, scores
from segkit.runs.trained import Trained, differences, evaluate_trained
from segkit.runs.wandb_sync import outcome, tracked, validation_pictures
from segkit.system.files import remove_partials, sha256
from segkit.system.signals import Stop, stoppable
from segkit.tracking.console import TrainingConsole, progress_bar
from segkit.tracking.lock import locked
from segkit.tracking.run_dir import CLASSES, CONFIG, RunDir
from segkit.tracking.tracker import NoTracker, Tracker


class _Logs:
    """Writes each record to the run folder, shows it, and passes it on."""

    def __init__(self, run: RunDir, console: TrainingConsole, tracker: Tracker):
        self.run, self.console, self.tracker = run, console, tracker

    def write(self, kind: str, record: dict[str, Any]) -> None:
        self.run.write(kind, record)
        self.console.write(kind, record)
        self.tracker.write(kind, record)


def check_folder(config: RunConfig, run: RunDir) -> None:
    """Whether a run folder may be used: it is new, or holds this config, or nothing was trained in it yet.

    Where data lie and how fast they come may change, which changes no result.

    Raises:
        InputError: if it holds a run of another config, naming the keys that differ.
    """
    if not run.precious:
        return
    differing = {key: values for key, values in differences(run, config).items() if key not in CHANGES_NO_RESULT}
    if differing:
        shown = ", ".join(
            f"{key} ({show(there)} there, {show(here)} here)" for key, (there, here) in list(differing.items())[:8]
        )
        raise InputError(
            f"{run.path} holds a run of another config; different: {shown}. "
            "Choose another folder with --run (of an experiment: --runs), or --overwrite it. "
            f"A new run can start from its weights: model.initialize_from={run.path}."
        )
    if not (run.finished or run.trained):
        raise InputError(
            f"{run.path} holds no checkpoint that this version knows and cannot go on. Choose another folder with --run, or --overwrite it."
        )


def train_run(
    config: RunConfig, run: RunDir, *, overwrite: bool = False, processes: Processes = ALONE
) -> dict[str, Any]:
    """Trains to the end, from the last checkpoint if there is one, and scores the best weights on the test split.

    The folder is touched only after the data, the weights and the rest of the config proved usable.

    Args:
        overwrite: delete the run in the folder and start again.
        processes: that train together; process 0 alone uses the folder.
    Returns:
        What result.json holds: test scores, class names, parameters, seconds.
    Raises:
        InputError: if something of the config, the data or the folder cannot be used.
        Interrupted: after a signal; what was trained is saved.
        NonFinite: if loss or gradient is not finite.
        RunError: if the folder can no longer be written.
    """
    resumes = processes.lead(lambda: run.trained and not overwrite)
    with stoppable(quiet=processes.rank > 0) as stop:
        with processes.in_turn():
            require_equal_shares(config.training, processes)
            device = processes.device(choose_device(config.training.device))
            choose_precision(
                config.training.precision, device
            )  # one that the device lacks is refused before the folder is touched
            layout = build.build_layout(config)
            training, validation, test = build.build_splits(config, layout).values()
            if layout is not None:
                require_sound(layout)
            require_labels(train=training, val=validation, test=test)
            trainee, loss = _assemble(config, training, device, restore=resumes)
            processes.seed(config.seed)
        with deterministic(config.training.deterministic), ExitStack() as lock:
            if stale := processes.lead(lambda: lock.enter_context(locked(run.path))):
                processes.lead(
                    lambda: _tell(
                        f"{run.path} was in use by {stale}, which has ended without a word; its lock is taken over."
                    )
                )
            if not overwrite:
                processes.lead(lambda: _require_as_it_was(config, run, resumes=resumes))
            checkpoints = _open(config, run, training, trainee, device, processes, resumes=resumes)
            with nullcontext(NoTracker()) if processes.rank else tracked(config, run) as tracker:
                _train(config, run, trainee, loss, training, validation, tracker, checkpoints, device, stop)
                return processes.lead(lambda: conclude(config, run, trainee, test, tracker))


def _require_as_it_was(config: RunConfig, run: RunDir, *, resumes: bool) -> None:
    """Raises InputError if another process has used the folder since it was looked at."""
    check_folder(config, run)
    if run.finished or run.trained != resumes:
        raise InputError(
            f"{run.path} was trained in by another process meanwhile. Repeat the command: it goes on from there."
        )


def require_equal_shares(settings: Training, processes: Processes) -> None:
    """Raises InputError unless a batch can be shared out equally."""
    batch, parts = settings.batch_size, processes.count * settings.accumulation
    if batch % parts:
        raise InputError(
            f"training.batch_size = {batch}: {processes.count} processes with training.accumulation = {settings.accumulation} "
            f"expect a multiple of {parts}. Set training.batch_size={-(-batch // parts) * parts}."
        )


def _open(
    config: RunConfig,
    run: RunDir,
    training: Dataset,
    trainee: Trainee,
    device: torch.device,
    processes: Processes,
    *,
    resumes: bool,
) -> Checkpoints:
    """Makes the run folder, or puts its last checkpoint into `trainee`."""
    values = config_values(config)
    stored = load(run.config_text(), str(run.path / CONFIG)) if resumes else values  # without options that came later
    belongs = Identity(config_hash(identity(stored)), config.model.title, training.class_names, processes.count)
    checkpoints = Checkpoints(
        run.checkpoints, belongs, keep=config.checkpoints.keep, device=device, processes=processes
    )
    if resumes:
        with processes.in_turn():
            checkpoints.restore(trainee, _ignore if processes.rank else _tell)
        if len(set(processes.together(lambda: trainee.progress.step))) > 1:
            raise InputError(
                f"{run.checkpoints} is not the same for all processes. Choose a --run folder that all machines share."
            )
        processes.lead(lambda: _tidy(run, trainee.progress))
        print(f"going on after step {trainee.progress.step}", flush=True)
    else:
        source = config.model.initialize_from
        texts = {CONFIG: dump(values), CLASSES: classes_text(training.class_names, training.palette)}
        start_weights = sha256(build.start_file(source)) if source else None
        processes.lead(lambda: run.start(texts, start_weights=start_weights, processes=processes.count))
    return checkpoints


def _tidy(run: RunDir, done: Progress) -> None:
    """Removes what an interrupted run left that is not part of its state."""
    for folder in (run.path, run.checkpoints):
        remove_partials(folder)
    run.forget_after(done.step, done.epochs)


def _ignore(line: str) -> None:
    pass


def _tell(line: str) -> None:
    print(f"segkit: {line}", file=sys.stderr, flush=True)


def _train(
    config: RunConfig,
    run: RunDir,
    trainee: Trainee,
    loss: CrossEntropy,
    training: Dataset,
    validation: Dataset,
    tracker: Tracker,
    checkpoints: Checkpoints,
    device: torch.device,
    stop: Stop,
) -> None:
    """Trains what is left."""
    settings, done, processes = config.training, trainee.progress, checkpoints.processes
    plan = Plan(
        total_steps=build.total_steps(config, len(training)),
        steps_per_epoch=steps_per_epoch(len(training), settings.batch_size),
        device=device,
        precision=choose_precision(settings.precision, device),
        validate_every_epochs=config.evaluation.every_epochs,
        log_every=settings.log_every,
        save_every_seconds=60 * config.checkpoints.every_minutes,
        gradient_clip=settings.gradient_clip,
        skip_nonfinite=settings.skip_nonfinite,
        processes=processes,
    )
    steps = build.build_steps(config, trainee.model, training, first_step=done.step, device=device, processes=processes)
    checks = build.build_evaluation_batches(config, trainee.model, validation, processes=processes)
    with TrainingConsole(plan.total_steps, done=done.step, best=done.best_mean_iou) as console, stop.deferred():
        train(
            trainee,
            loss,
            console.steps(stop.between(steps)),
            plan=plan,
            validate=_validation(checks, validation, console, stop, plan),
            log=NoTracker() if processes.rank else _Logs(run, console, tracker),
            checkpoints=checkpoints,
        )


def _validation(
    batches: DataLoader, dataset: Dataset, console: TrainingConsole, stop: Stop, plan: Plan
) -> Callable[[nn.Module], Scores]:
    """Scores a model on a split, each process its share of the images, with a bar on the console; a signal breaks it
    off."""
    settings = {"num_classes": len(dataset.class_names), "device": plan.device, "precision": plan.precision}

    def validate(model: nn.Module) -> Scores:
        plan.processes.share_buffers(model)
        with console.validation(-(-len(dataset) // plan.processes.count)) as progress:
            plain = absorb_batch_norm(model)  # as it will be scored
            matrices = plan.processes.together(
                lambda: evaluate(plain, stop.between(batches), progress=progress, **settings).matrix
            )
        return scores(np.sum(matrices, 0))

    return validate


def complete_run(config: RunConfig, run: RunDir) -> dict[str, Any]:
    """Trains what is left of a run, nothing if it is finished; what result.json holds.

    Raises:
        InputError: if the folder holds a run of another config.
    """
    check_folder(config, run)
    if not run.finished:
        train_run(config, run)
    return run.result()


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
            raise InputError(
                f"the '{split}' split has no labelled pixel: all {len(dataset)} label maps are void. Check the labels."
            )


def _assemble(
    config: RunConfig, training: Dataset, device: torch.device, *, restore: bool
) -> tuple[Trainee, CrossEntropy]:
    """What is trained, at its start, and the loss."""
    model = build.build_model(config, len(training.class_names), restore=restore).to(device)
    optimizer = build.build_optimizer(config, model)
    schedule = build.build_schedule(config, optimizer, len(training))
    return Trainee(model, optimizer, schedule, Progress()), build.build_loss(config, training).to(device)


def conclude(config: RunConfig, run: RunDir, trainee: Trainee, dataset: Dataset, tracker: Tracker) -> dict[str, Any]:
    """Scores the best weights on the test split, marks the run as finished, and tells the tracker."""
    trained = Trained(run.path, config, run.checkpoints / BEST, dataset.class_names, dataset.palette, run)
    found = evaluate_trained(trained, "test")
    test = asdict(scores(found.matrix))
    run.write("test", {"step": trainee.progress.best_step, **test})
    result = {
        "name": config.name,
        "decoder": config.model.title,
        "config_hash": config_hash(identity(config_values(config))),
        "parameters": sum(p.numel() for p in trainee.model.parameters()),
        "seconds": round(trainee.progress.seconds, 1),
        "best_step": trainee.progress.best_step,
        "best_validation_mean_iou": trainee.progress.best_mean_iou,
        "class_names": list(dataset.class_names),
        "test": test,
    }
    run.finish(result)
    tracker.conclude(lambda: outcome(trained, run, validation_pictures))
    return result
