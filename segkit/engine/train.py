"""The training loop."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_

from segkit.data.loader import Batch
from segkit.engine.checkpoint import NO_CHECKPOINTS, Checkpoints, NoCheckpoints
from segkit.engine.device import autocast
from segkit.engine.distributed import ALONE, Numbers, Processes, without_exchange
from segkit.engine.finite import NonFinite, term
from segkit.engine.optim import gradient_norm, learning_rate
from segkit.engine.train_state import TrainState
from segkit.losses.loss import Loss
from segkit.metrics.confusion import Scores
from segkit.tensors import IGNORE


class Log(Protocol):
    """Destination of the records of training.

    `kind` is `train`, `validation`, or for a single step `nonfinite` or `void` (no pixel was labelled).
    """

    def write(self, kind: str, record: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Plan:
    """The length of a run and the schedule of what happens in it."""

    total_steps: int  # of the whole run
    steps_per_epoch: int
    device: torch.device
    precision: torch.dtype  # of the forward pass
    validate_every_epochs: int = 1  # the last epoch is always validated
    log_every: int = 10  # steps
    save_every_seconds: float = math.inf  # inside an epoch
    gradient_clip: float | None = None  # largest L2 norm of the gradient
    skip_nonfinite: int = 0  # steps that may be skipped because loss or gradient is not finite
    processes: Processes = ALONE

    def ends_epoch(self, step: int) -> bool:
        """True if `step` is the last of its epoch; the last epoch of a run may be incomplete."""
        return step % self.steps_per_epoch == 0 or step == self.total_steps


def train(
    state: TrainState,
    loss: Loss,
    steps: Iterable[Sequence[Batch]],
    *,
    plan: Plan,
    log: Log,
    checkpoints: Checkpoints | NoCheckpoints = NO_CHECKPOINTS,
    validate: Callable[[nn.Module], Scores] | None = None,
    before_step: Callable[[], None] = lambda: None,
) -> None:
    """Train from `state.progress.step` to the end of the plan.

    The state is saved at the end of each epoch, every `save_every_seconds` within one, and when loading a batch or
    validating raises, which includes a signal that `before_step` or `validate` pass on.

    Args:
        steps: batches from `state.progress.step` on, each as micro-batches: this process's share, cut to save memory.
            The loss is that of the whole batch; batch norm sees one micro-batch at a time.
        validate: scores the model on the validation split; None: no validation.
        before_step: called before each batch is loaded.
    Raises:
        NonFinite: if loss or gradient is not finite more than `skip_nonfinite` times; that step changes nothing.
    """
    model, optimizer, progress, processes = state.model, state.optimizer, state.progress, plan.processes
    seconds_before, started = progress.seconds, time.perf_counter()
    model.train()
    network = processes.replicated(model, plan.device)
    if progress.step and plan.ends_epoch(progress.step) and progress.epochs * plan.steps_per_epoch < progress.step:
        end_epoch(state, plan, validate, log, checkpoints)  # the run was interrupted while it validated
    batches, microbatches = iter(steps), []
    no_pixel = torch.full((1, 1, 1), IGNORE, device=plan.device)
    normalizer_shape = loss.normalizer(no_pixel).shape  # a scalar, or [T] for a sum of T losses

    def next_batch() -> Numbers:
        """Load the next micro-batches; return their normalizer, if a pixel is labelled, and if a save is due."""
        nonlocal microbatches
        before_step()
        loaded = next(batches)
        is_labelled = any(has_labels(each.labels) for each in loaded)
        microbatches = [replace(each, labels=each.labels.to(plan.device, non_blocking=True)) for each in loaded]
        normalizer = torch.stack([loss.normalizer(each.labels) for each in microbatches]).sum(0)
        is_save_due = checkpoints.seconds_since_save > plan.save_every_seconds
        return [*normalizer.reshape(-1), is_labelled, is_save_due]

    while progress.step < plan.total_steps:
        # Batch. Its normalizer belongs to the whole batch, so that cutting and sharing it out changes no gradient.
        try:
            *normalizers, is_labelled, is_save_due = processes.means(next_batch, normalizer_shape.numel() + 2)
        except BaseException:
            checkpoints.save(state)
            raise
        normalizers = [torch.as_tensor(each, device=plan.device) for each in normalizers]
        normalizer = torch.stack(normalizers).reshape(normalizer_shape)
        if is_save_due and progress.step:
            checkpoints.save(state)
        lr = learning_rate(optimizer)
        buffers = [buffer.clone() for buffer in model.buffers()] if plan.skip_nonfinite else []

        # Forward, loss, backward. Processes exchange gradients in the last backward pass alone.
        optimizer.zero_grad(set_to_none=True)
        value = torch.zeros((), device=plan.device)
        for number, microbatch in enumerate(microbatches, 1):
            with nullcontext() if number == len(microbatches) else without_exchange(network):
                with autocast(plan.device, plan.precision):
                    logits = network(microbatch.image.to(plan.device, non_blocking=True))
                share = (loss.total(logits, microbatch.labels) / normalizer).sum()
                share.backward()
            value += share.detach()
        norm = gradient_norm(model)
        own = torch.stack([value, norm]).tolist()  # the only wait for the device
        loss_value, norm_value = map(float, processes.means(lambda own=own: own, 2))

        # Clip and step, unless a number is not finite: then nothing is updated.
        is_finite = math.isfinite(loss_value) and math.isfinite(norm_value)
        if is_finite:
            if plan.gradient_clip is not None:
                clip_grads_with_norm_(model.parameters(), plan.gradient_clip, norm)
            optimizer.step()
        else:
            ids = processes.together(lambda: [name for each in microbatches for name in each.ids])
            error = NonFinite(progress.step + 1, loss_value, norm_value, term(model, loss_value), tuple(sum(ids, [])))
            log.write("nonfinite", {"step": progress.step + 1, **error.about})
            if progress.skipped >= plan.skip_nonfinite:
                error.kept = checkpoints.keep_batch(progress.step + 1, microbatches)
                raise error
            progress.skipped += 1
            for buffer, value in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(value)  # batch norm has seen the batch
        progress.step += 1
        state.schedule.after_step()

        # Log.
        progress.seconds = seconds_before + time.perf_counter() - started
        if not is_labelled:
            log.write("void", {"step": progress.step, "ids": [name for each in microbatches for name in each.ids]})
        if is_finite and (progress.step % plan.log_every == 0 or progress.step in (1, plan.total_steps)):
            record = {"step": progress.step, "loss": loss_value, "lr": lr, "gradient_norm": norm_value}
            log.write("train", record | {"seconds": progress.seconds})

        # Validate, keep the best weights, save.
        if plan.ends_epoch(progress.step):
            end_epoch(state, plan, validate, log, checkpoints)


def has_labels(labels: torch.Tensor) -> bool:
    """True if any pixel of [B, H, W] is labelled; a few pixels are usually enough to know."""
    return any(bool((some != IGNORE).any()) for some in (labels[:, ::16, ::16], labels))


def end_epoch(
    state: TrainState,
    plan: Plan,
    validate: Callable[[nn.Module], Scores] | None,
    log: Log,
    checkpoints: Checkpoints | NoCheckpoints,
) -> None:
    """Validate every `validate_every_epochs`, keep the weights with the best mean IoU, save the state."""
    progress, started = state.progress, time.perf_counter()
    epoch = progress.epochs + 1
    if validate is not None and (epoch % plan.validate_every_epochs == 0 or progress.step == plan.total_steps):
        try:
            scores = validate(state.model)
        except BaseException:
            checkpoints.save(state)
            raise
        state.schedule.after_validation(scores.mean_iou)
        if scores.mean_iou > progress.best_mean_iou:
            checkpoints.keep_best(state, scores.mean_iou)
        seconds = progress.seconds + time.perf_counter() - started
        log.write("validation", {"step": progress.step, "epoch": epoch, **asdict(scores), "seconds": seconds})
    progress.epochs = epoch
    progress.seconds += time.perf_counter() - started
    checkpoints.save(state)
