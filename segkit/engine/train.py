"""The training loop."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_

from segkit.data.loader import Batch
from segkit.engine.checkpoint import Checkpoints
from segkit.engine.device import autocast
from segkit.engine.distributed import ALONE, Numbers, Processes, without_exchange
from segkit.engine.finite import NonFinite, term
from segkit.engine.optim import gradient_norm, learning_rate
from segkit.engine.trainee import Trainee
from segkit.losses.cross_entropy import CrossEntropy
from segkit.metrics.confusion import Scores
from segkit.tensors import IGNORE


class Log(Protocol):
    """Where records of training go: `kind` is `train`, `validation`, or, of a step, `nonfinite` or `void` (no pixel was
    labelled)."""

    def write(self, kind: str, record: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Plan:
    """How long a run is, and what happens when.

    Attributes:
        total_steps: of the whole run.
        save_every_seconds: time after which the state is saved in the middle of an epoch.
        gradient_clip: largest L2 norm of the gradient; None: no limit.
        skip_nonfinite: steps that may be left out because loss or gradient was not finite.
        precision: of the forward pass.
        processes: that train together.
    """

    total_steps: int
    steps_per_epoch: int
    device: torch.device
    precision: torch.dtype
    validate_every_epochs: int = 1
    log_every: int = 10  # steps
    save_every_seconds: float = math.inf
    gradient_clip: float | None = None
    skip_nonfinite: int = 0
    processes: Processes = ALONE

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch, if only the last and incomplete one, ends with this step."""
        return step % self.steps_per_epoch == 0 or step == self.total_steps


def train(
    trainee: Trainee,
    loss: CrossEntropy,
    steps: Iterable[Sequence[Batch]],
    *,
    plan: Plan,
    validate: Callable[[nn.Module], Scores],
    log: Log,
    checkpoints: Checkpoints,
) -> None:
    """Trains from `trainee.progress.step` to the end; `steps` starts there too.

    The state is saved at the end of each epoch, so often in between, and when a step cannot be had or validation breaks
    off: by an error, or because `steps` or `validate` raise what a signal asked for.

    Args:
        steps: the parts of each step's batch, of a process its share; cutting saves memory, the loss is the same, batch
            norm sees smaller batches.
    Raises:
        NonFinite: if loss or gradient is not finite too often; no weight was updated and nothing saved by that step.
    """
    progress = trainee.progress
    before, started = progress.seconds, time.perf_counter()
    trainee.model.train()
    network = plan.processes.replicated(trainee.model, plan.device)
    if progress.step and plan.ends_epoch(progress.step) and progress.epochs * plan.steps_per_epoch < progress.step:
        end_epoch(trainee, plan, validate, log, checkpoints)  # it was interrupted
    prepared = agreed(steps, loss, plan, lambda: checkpoints.seconds_since_save > plan.save_every_seconds)
    for parts, normalizer, is_labelled, is_overdue in checkpoints.saving(trainee, prepared):
        if is_overdue and progress.step:
            checkpoints.save(trainee)
        rate = learning_rate(trainee.optimizer)
        found = attempt_step(trainee, network, loss, parts, normalizer, plan, log, checkpoints)
        progress.step += 1
        trainee.schedule.after_step()
        progress.seconds = before + time.perf_counter() - started
        if not is_labelled:
            log.write("void", {"step": progress.step, "ids": [name for part in parts for name in part.ids]})
        if found and (progress.step % plan.log_every == 0 or progress.step in (1, plan.total_steps)):
            value, norm = found
            log.write(
                "train",
                {"step": progress.step, "loss": value, "lr": rate, "gradient_norm": norm, "seconds": progress.seconds},
            )
        if plan.ends_epoch(progress.step):
            end_epoch(trainee, plan, validate, log, checkpoints)


def agreed(
    steps: Iterable[Sequence[Batch]], loss: CrossEntropy, plan: Plan, overdue: Callable[[], bool]
) -> Iterator[tuple[list[Batch], float | Tensor, bool, bool]]:
    """The parts of each step, labels on the device; what its loss is divided by; whether any pixel is labelled; whether
    a save is overdue.

    All processes have their next step, or all stop. The divisor belongs to the whole batch, so that cutting it changes
    nothing; it is given as a mean over processes, since gradients become means too.
    """
    iterator = iter(steps)
    parts: list[Batch] = []

    def prepare() -> Numbers:
        found = next(iterator, ())
        is_labelled = any(has_labels(part) for part in found)
        parts[:] = with_labels_on(plan.device, found)
        return [whole_normalizer(loss, parts), is_labelled, overdue()] if parts else [0, False, False]

    while True:
        normalizer, is_labelled, is_overdue = plan.processes.means(prepare, 3)
        if not parts:
            return
        yield list(parts), normalizer, bool(is_labelled), bool(is_overdue)


def with_labels_on(device: torch.device, parts: Sequence[Batch]) -> list[Batch]:
    """The parts; images stay where they are until they are needed."""
    return [replace(part, labels=part.labels.to(device, non_blocking=True)) for part in parts]


def has_labels(part: Batch) -> bool:
    """Whether any pixel of a batch is labelled; a glance at some of them mostly tells."""
    return any(bool((labels != IGNORE).any()) for labels in (part.labels[:, ::16, ::16], part.labels))


def whole_normalizer(loss: CrossEntropy, parts: Sequence[Batch]) -> Tensor:
    """What the sum of the parts' totals is divided by, a scalar."""
    return torch.stack([loss.normalizer(part.labels) for part in parts]).sum()


def end_epoch(
    trainee: Trainee, plan: Plan, validate: Callable[[nn.Module], Scores], log: Log, checkpoints: Checkpoints
) -> None:
    """Validation every so many epochs, the best weights kept by mean IoU, the whole state saved."""
    progress, started = trainee.progress, time.perf_counter()
    epoch = progress.epochs + 1
    if epoch % plan.validate_every_epochs == 0 or progress.step == plan.total_steps:
        try:
            scores = validate(trainee.model)
        except BaseException:
            checkpoints.save(trainee)
            raise
        trainee.schedule.after_validation(scores.mean_iou)
        if scores.mean_iou > progress.best_mean_iou:
            checkpoints.keep_best(trainee, scores.mean_iou)
        seconds = progress.seconds + time.perf_counter() - started
        log.write("validation", {"step": progress.step, "epoch": epoch, **asdict(scores), "seconds": seconds})
    progress.epochs = epoch
    progress.seconds += time.perf_counter() - started
    checkpoints.save(trainee)


def attempt_step(
    trainee: Trainee,
    network: nn.Module,
    loss: CrossEntropy,
    parts: Sequence[Batch],
    normalizer: float | Tensor,
    plan: Plan,
    log: Log,
    checkpoints: Checkpoints,
) -> tuple[float, float] | None:
    """One optimizer step; (loss, gradient norm before clipping), or None if it was left out because one of them is not
    finite."""
    progress, model = trainee.progress, trainee.model
    buffers = [buffer.clone() for buffer in model.buffers()] if plan.skip_nonfinite else []
    try:
        return training_step(
            trainee,
            loss,
            parts,
            plan.device,
            plan.precision,
            plan.gradient_clip,
            network=network,
            normalizer=normalizer,
            processes=plan.processes,
        )
    except NonFinite as error:
        log.write("nonfinite", {"step": progress.step + 1, **error.about})
        if progress.skipped >= plan.skip_nonfinite:
            error.kept = checkpoints.keep_batch(progress.step + 1, parts)
            raise
    progress.skipped += 1
    for buffer, value in zip(model.buffers(), buffers, strict=True):
        buffer.copy_(value)  # batch norm has seen the batch
    return None


def training_step(
    trainee: Trainee,
    loss: CrossEntropy,
    parts: Sequence[Batch],
    device: torch.device,
    precision: torch.dtype,
    gradient_clip: float | None,
    *,
    network: nn.Module | None = None,
    normalizer: float | Tensor | None = None,
    processes: Processes = ALONE,
) -> tuple[float, float]:
    """One optimizer step; (loss, gradient norm before clipping).

    Args:
        network: the model as it is called; None: itself.
        normalizer: what the loss is divided by; None: that of the parts.
        processes: whose gradients and losses become means.
    Raises:
        NonFinite: if one of them is not finite, before any weight is updated.
    """
    network, parts = network or trainee.model, with_labels_on(device, parts)
    normalizer = whole_normalizer(loss, parts) if normalizer is None else normalizer
    value = torch.zeros((), device=device)
    trainee.optimizer.zero_grad(set_to_none=True)
    for number, part in enumerate(parts, 1):
        with nullcontext() if number == len(parts) else without_exchange(network):
            with autocast(device, precision):
                logits = network(part.image.to(device, non_blocking=True))
            share = loss.total(logits, part.labels) / normalizer
            share.backward()
        value += share.detach()
    total = gradient_norm(trainee.model)
    numbers = torch.stack([value, total]).tolist()  # one wait for the device
    loss_value, norm = map(float, processes.means(lambda: numbers, 2))
    if not (math.isfinite(loss_value) and math.isfinite(norm)):
        ids = processes.together(lambda: [name for part in parts for name in part.ids])
        raise NonFinite(
            trainee.progress.step + 1, loss_value, norm, term(trainee.model, loss_value), tuple(sum(ids, []))
        )
    if gradient_clip is not None:
        clip_grads_with_norm_(trainee.model.parameters(), gradient_clip, total)
    trainee.optimizer.step()
    return loss_value, norm
