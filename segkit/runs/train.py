"""One run, in order: preflight, open, train, conclude."""

import sys
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from segkit import build
from segkit.config.identity import CHANGES_NO_RESULT, identity
from segkit.config.plugins import plugin_copies
from segkit.config.resolve import config_hash, dump, load
from segkit.config.schema import Package, RunConfig, config_values
from segkit.data.datasets.class_file import classes_text
from segkit.data.loader import steps_per_epoch
from segkit.data.verify.verify import check_and_count
from segkit.engine.batch_norm import absorb_batch_norm
from segkit.engine.checkpoint import BEST, Checkpoints
from segkit.engine.device import choose_device, deterministic
from segkit.engine.distributed import ALONE, Processes
from segkit.engine.evaluate import evaluate
from segkit.engine.train import Plan, train
from segkit.engine.train_state import Identity
from segkit.errors import InputError
from segkit.metrics.confusion import Scores, scores
from segkit.runs.trained import Trained, differences, evaluate_trained
from segkit.runs.wandb_sync import tracked, validation_pictures
from segkit.system.files import remove_partials, sha256
from segkit.system.signals import Stop, stoppable
from segkit.tracking.console import TrainingConsole, progress_bar
from segkit.tracking.lock import locked
from segkit.tracking.run_dir import CLASSES, CONFIG, RunDir
from segkit.tracking.tracker import Tracker


class _Logs:
    """Write each record to the run folder, the terminal and the tracker."""

    def __init__(self, run: RunDir, console: TrainingConsole, tracker: Tracker):
        self.run, self.console, self.tracker = run, console, tracker

    def write(self, kind: str, record: dict[str, Any]) -> None:
        self.run.write(kind, record)
        self.console.write(kind, record)
        self.tracker.write(kind, record)


def train_run(
    config: RunConfig, run: RunDir, *, overwrite: bool = False, processes: Processes = ALONE
) -> dict[str, Any]:
    """Train to the end, from the last checkpoint if there is one, and score the best weights on the test split.

    Of a finished run, the result is read.

    Args:
        overwrite: delete the run in the folder and start again.
        processes: that train together; process 0 alone uses the folder.
    Returns:
        What result.json holds: test scores, class names, parameters, seconds.
    Raises:
        InputError: if something of the config, the data or the folder cannot be used; the folder is unchanged.
        Interrupted: after a signal; the training state is saved.
        NonFinite: if loss or gradient is not finite.
        RunError: if the folder can no longer be written.
    """
    if not overwrite:
        processes.lead(lambda: check_folder(config, run))
        if processes.lead(lambda: run.finished):
            return run.result()
    resumes = processes.lead(lambda: run.trained and not overwrite)
    with stoppable(quiet=processes.rank > 0) as stop, ExitStack() as stack:
        with processes.in_turn():
            parts = preflight(config, restore=resumes, processes=processes)
        stack.enter_context(deterministic(config.training.deterministic))
        processes.lead(lambda: stack.enter_context(locked(run.path)))
        if not overwrite:
            processes.lead(lambda: _require_unchanged(config, run, resumes=resumes))
        checkpoints = open_run(parts, run, resumes=resumes)
        if not parts.loss.exact and config.training.accumulation * processes.count > 1:
            size = config.training.batch_size // (config.training.accumulation * processes.count)
            print(f"note: loss.function = {config.loss.function.name} is the mean over micro-batches of {size} images")
        tracker = stack.enter_context(nullcontext(Tracker()) if processes.rank else tracked(config, run))
        train_parts(parts, run, checkpoints, tracker, stop)
        return processes.lead(lambda: conclude(parts, run, tracker))


def preflight(config: RunConfig, *, restore: bool, processes: Processes) -> build.Parts:
    """Check everything that a run needs, every label too, and make its parts, before its folder is touched.

    Args:
        restore: leave out starting weights, as a checkpoint follows.
    Raises:
        InputError: if something cannot be used.
    """
    settings = config.training
    per_step = processes.count * settings.accumulation
    if settings.batch_size % per_step:
        raise InputError(
            f"training.batch_size = {settings.batch_size}: {processes.count} processes with "
            f"training.accumulation = {settings.accumulation} expect a multiple of {per_step}. "
            f"Set training.batch_size={-(-settings.batch_size // per_step) * per_step}."
        )
    device = processes.device(choose_device(settings.device))
    layout = build.build_layout(config)
    splits = build.build_splits(config, layout)
    with progress_bar("reading labels", sum(map(len, splits.values()))) as advance:
        counts = check_and_count(layout, splits, advance)
    parts = build.build_parts(config, splits, counts["train"], device, restore=restore, processes=processes)
    processes.seed(config.seed)
    return parts


def _require_unchanged(config: RunConfig, run: RunDir, *, resumes: bool) -> None:
    """Raise InputError if another process has used the folder since it was checked."""
    check_folder(config, run)
    if run.finished or run.trained != resumes:
        remedy = "Repeat the command to resume from its checkpoint."
        raise InputError(f"Another process has trained in {run.path} in the meantime. {remedy}")


def open_run(parts: build.Parts, run: RunDir, *, resumes: bool) -> Checkpoints:
    """Make the run folder, or restore its last checkpoint into `parts.state`."""
    config, state, processes = parts.config, parts.state, parts.processes
    values = config_values(config)
    stored = load(run.config_text(), str(run.path / CONFIG)) if resumes else values  # lacks later options
    training = parts.splits["train"]
    belongs_to = Identity(config_hash(identity(stored)), config.model.title, training.class_names, processes.count)
    keep = config.checkpoints.keep
    checkpoints = Checkpoints(run.checkpoints, belongs_to, keep=keep, device=parts.device, processes=processes)
    if resumes:
        with processes.in_turn():
            checkpoints.restore(
                state, lambda line: None if processes.rank else print(f"segkit: {line}", file=sys.stderr, flush=True)
            )
        if len(set(processes.together(lambda: state.progress.step))) > 1:
            raise InputError(
                f"{run.checkpoints} differs between processes. Choose a --run folder that all machines share."
            )

        def tidy() -> None:
            """Remove what an interrupted run left that is not part of its state."""
            remove_partials(run.path)
            remove_partials(run.checkpoints)
            run.forget_after(state.progress.step, state.progress.epochs)

        processes.lead(tidy)
        print(f"resuming after step {state.progress.step}", flush=True)
    else:
        source = config.model.initialize_from
        classes = classes_text(training.class_names, training.palette)
        texts = {CONFIG: dump(values), CLASSES: classes, **plugin_copies(config.plugin_files)}
        packages = {each.package: each.version for each in config.plugins if isinstance(each, Package)}
        start_weights = sha256(build.start_file(source)) if source else None
        count = processes.count
        processes.lead(lambda: run.start(texts, start_weights=start_weights, processes=count, packages=packages))
    return checkpoints


def train_parts(parts: build.Parts, run: RunDir, checkpoints: Checkpoints, tracker: Tracker, stop: Stop) -> None:
    """Train what is left of a run, and validate it on the way; a signal stops it between steps or images."""
    config, processes, progress = parts.config, parts.processes, parts.state.progress
    settings, model = config.training, parts.state.model
    training, validation = parts.splits["train"], parts.splits["val"]
    plan = Plan(
        total_steps=parts.total_steps,
        steps_per_epoch=steps_per_epoch(len(training), settings.batch_size),
        device=parts.device,
        precision=parts.precision,
        validate_every_epochs=config.evaluation.every_epochs,
        log_every=settings.log_every,
        save_every_seconds=60 * config.checkpoints.every_minutes,
        gradient_clip=settings.gradient_clip,
        skip_nonfinite=settings.skip_nonfinite,
        processes=processes,
    )
    steps = build.build_steps(
        config, model, training, first_step=progress.step, device=parts.device, processes=processes
    )
    validation_batches = build.build_evaluation_batches(config, model, validation, processes=processes)
    console = TrainingConsole(plan.total_steps, done=progress.step, best=progress.best_mean_iou)

    def before_step() -> None:
        console.advance(progress.step)
        stop.check()

    def validate(model: nn.Module) -> Scores:
        processes.share_buffers(model)
        with console.validation(-(-len(validation) // processes.count)) as advance:
            score = partial(
                evaluate,
                absorb_batch_norm(model),  # as for scoring
                stop.between(validation_batches),
                num_classes=len(validation.class_names),
                device=plan.device,
                precision=plan.precision,
                progress=advance,
            )
            matrices = processes.together(lambda: score().matrix)
        return scores(np.sum(matrices, 0))

    log = Tracker() if processes.rank else _Logs(run, console, tracker)
    with console, stop.deferred():
        train(
            parts.state,
            parts.loss,
            steps,
            plan=plan,
            log=log,
            checkpoints=checkpoints,
            validate=validate,
            before_step=before_step,
        )


def conclude(parts: build.Parts, run: RunDir, tracker: Tracker) -> dict[str, Any]:
    """Score the best weights on the test split, mark the run as finished, and log the outcome to the tracker."""
    config, dataset, progress = parts.config, parts.splits["test"], parts.state.progress
    trained = Trained(run.path, config, run.checkpoints / BEST, dataset.class_names, dataset.palette, run)
    found = evaluate_trained(trained, "test")
    test = asdict(scores(found.matrix))
    run.write("test", {"step": progress.best_step, **test})
    result = {
        "name": config.name,
        "decoder": config.model.title,
        "config_hash": config_hash(identity(config_values(config))),
        "parameters": sum(p.numel() for p in parts.state.model.parameters()),
        "seconds": round(progress.seconds, 1),
        "best_step": progress.best_step,
        "best_validation_mean_iou": progress.best_mean_iou,
        "class_names": list(dataset.class_names),
        "test": test,
    }
    run.finish(result)
    tracker.conclude(lambda: validation_pictures(trained))
    return run.result()


def check_folder(config: RunConfig, run: RunDir) -> None:
    """Raise InputError unless a run folder is new, holds a run of this config, or nothing was trained in it yet.

    Keys that change no result, such as the place of the data, may differ.
    """
    if not run.holds_progress:
        return
    differing = {key: values for key, values in differences(run, config).items() if key not in CHANGES_NO_RESULT}
    if differing:
        shown = [f"{key} ({there} there, {here} here)" for key, (there, here) in differing.items()]
        raise InputError(
            f"{run.path} holds a run of another config; different: {', '.join(shown[:8])}. "
            "Choose another folder with --run (of an experiment: --runs), or --overwrite it. "
            f"A new run can start from its weights: model.initialize_from={run.path}."
        )
    if not (run.finished or run.trained):
        remedy = "Choose another folder with --run, or --overwrite it."
        raise InputError(f"{run.path} holds no checkpoint that this version can read. {remedy}")
