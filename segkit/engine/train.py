"""The training loop."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from segkit.data.loader import Batch
from segkit.engine import checkpoint
from segkit.engine.checkpoint import Trainee
from segkit.engine.device import autocast
from segkit.engine.optim import gradient_norm, learning_rate
from segkit.losses.cross_entropy import CrossEntropy
from segkit.metrics.confusion import Scores


class Log(Protocol):
    """Where records of training go: `kind` is `train` or `validation`."""

    def write(self, kind: str, record: dict[str, Any]) -> None: ...


def train(
    trainee: Trainee,
    loss: CrossEntropy,
    steps: Iterable[Sequence[Batch]],
    *,
    validate: Callable[[nn.Module], Scores],
    log: Log,
    checkpoints: Path,
    identity: dict[str, Any],
    steps_per_epoch: int,
    total_steps: int,
    validate_every_epochs: int = 1,
    log_every: int = 10,  # steps
    device: torch.device,
    precision: torch.dtype,
    gradient_clip: float | None = None,
) -> None:
    """Trains from `trainee.progress.step` to `total_steps`; `steps` starts there too.

    At the end of an epoch: validation (every `validate_every_epochs`), the best weights kept by mean IoU, the whole state saved.

    Args:
        identity: `config_hash` and `class_names`, written into checkpoints.
        steps: the parts of each step's batch; cutting saves memory, the loss is the same, batch norm sees smaller batches.
        gradient_clip: largest L2 norm of the gradient; None: no limit.
    Raises:
        FloatingPointError: if loss or gradient is not finite; no weight was updated and nothing saved by that step.
    """
    progress, model = trainee.progress, trainee.model
    before, started = progress.seconds, time.perf_counter()
    model.train()
    for parts in steps:
        value, norm = training_step(trainee, loss, parts, device, precision, gradient_clip)
        progress.step += 1
        rate = learning_rate(trainee.optimizer)
        trainee.schedule.after_step()
        progress.seconds = before + time.perf_counter() - started
        if progress.step % log_every == 0 or progress.step in (1, total_steps):
            log.write("train", {"step": progress.step, "loss": value, "lr": rate, "gradient_norm": norm, "seconds": progress.seconds})
        if progress.step % steps_per_epoch and progress.step != total_steps:
            continue
        epoch = math.ceil(progress.step / steps_per_epoch)
        if epoch % validate_every_epochs == 0 or progress.step == total_steps:
            scores = validate(model)
            trainee.schedule.after_validation(scores.mean_iou)
            if scores.mean_iou > progress.best_mean_iou:
                keep_best(trainee, scores.mean_iou, checkpoints, identity)
            progress.seconds = before + time.perf_counter() - started
            log.write("validation", {"step": progress.step, "epoch": epoch, **asdict(scores), "seconds": progress.seconds})
        checkpoint.save(checkpoints / checkpoint.LAST, trainee, **identity)


def keep_best(trainee: Trainee, mean_iou: float, checkpoints: Path, identity: dict[str, Any]) -> None:
    """Notes the score as the best so far and writes the weights."""
    progress, model = trainee.progress, trainee.model
    progress.best_mean_iou, progress.best_step = mean_iou, progress.step
    about = {"step": progress.step, "mean_iou": mean_iou, "normalization": model.normalization, **identity}
    checkpoint.save_weights(checkpoints / checkpoint.BEST, model, metadata={key: str(value) for key, value in about.items()})


def training_step(
    trainee: Trainee,
    loss: CrossEntropy,
    parts: Sequence[Batch],
    device: torch.device,
    precision: torch.dtype,
    gradient_clip: float | None,
) -> tuple[float, float]:
    """One optimizer step; (loss, gradient norm before clipping)."""
    labels = [part.labels.to(device, non_blocking=True) for part in parts]
    normalizer = torch.stack([loss.normalizer(each) for each in labels]).sum()  # of the whole batch: cutting it changes nothing
    value = torch.zeros((), device=device)
    trainee.optimizer.zero_grad(set_to_none=True)
    for part, part_labels in zip(parts, labels, strict=True):
        with autocast(device, precision):
            logits = trainee.model(part.image.to(device, non_blocking=True))
        share = loss.total(logits, part_labels) / normalizer
        share.backward()
        value += share.detach()
    loss_value, norm = torch.stack([value, gradient_norm(trainee.model, gradient_clip)]).tolist()  # one wait for the device
    if not (math.isfinite(loss_value) and math.isfinite(norm)):
        samples = ", ".join(name for part in parts for name in part.ids)
        raise FloatingPointError(f"step {trainee.progress.step + 1}: loss {loss_value}, gradient norm {norm}, samples {samples}")
    trainee.optimizer.step()
    return loss_value, norm
