"""A trial of one config without a run folder: its data, weights, space for checkpoints, and a training step."""

import importlib.util
import netrc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import torch

from segkit import build
from segkit.config.schema import RunConfig
from segkit.config.yaml import mapping_of, parse
from segkit.data.dataset import Dataset
from segkit.diagnostics.doctor import Finding, free_space, judged, looked_at
from segkit.engine.device import choose_device, choose_precision
from segkit.engine.train import Plan, train
from segkit.models.segmenter import Segmenter
from segkit.runs.wandb_sync import MODES
from segkit.system.machine import SHARED_MEMORY, cores, shared_memory, size

BUILT_IN = """
name: built-in
data: {name: streets, size: [64, 96], train_images: 4, val_images: 1, test_images: 1}
model: {encoder: {name: vgg16, width: 0.125}, decoder: {name: fcn8s, head_width: 32}}
loss: {function: cross_entropy, class_weights: none}
optimizer: {name: adamw, lr: 0.001}
schedule: constant
training: {epochs: 1, batch_size: 2}
"""
AHEAD = 2  # batches that each of torch's workers prefetches


@dataclass
class _Parts:
    """The parts of a run that were found so far."""

    config: RunConfig
    device: torch.device | None = None
    training: Dataset | None = None
    model: Segmenter | None = None


def rehearse(config: Path | None, overrides: Sequence[str] = (), *, runs: Path, step: bool) -> Iterator[Finding]:
    """Try out everything that a config needs, and yield the findings.

    Args:
        config: config file; None: a built-in config.
        overrides: changes to the config, `a.b=c`.
        runs: parent of the run folders, which hold checkpoints.
        step: also do one training step.
    Raises:
        InputError: if the config is not valid.
    """
    layers = [mapping_of(parse(BUILT_IN, "built-in"), "built-in")] if config is None else config
    run_config, _ = build.load_config(layers, overrides, title=None if config else "the built-in config")
    parts = _Parts(run_config)
    if config is not None:
        yield Finding("ok", "config", f"{config}: {run_config.model.title} on {run_config.data.name}")
    yield from looked_at("W&B", lambda: _wandb(run_config.tracking.wandb))
    yield from looked_at("device", lambda: _device(parts))
    for split in ("train", "val", "test"):
        yield from looked_at(f"data {split}", lambda split=split: _split(parts, split))
    yield from looked_at("model", lambda: _model(parts, runs))
    yield from looked_at("workers", lambda: _workers(parts))
    if step and parts.device is not None and parts.model is not None and parts.training is not None:
        yield from looked_at("training step", lambda: _step(parts))


def _wandb(asked: str) -> Iterator[Finding]:
    """Check the W&B login, without asking the network and without showing a key."""
    mode, where = os.environ.get("WANDB_MODE"), os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    text = f"WANDB_MODE = {mode}" if mode and asked != "disabled" else f"tracking.wandb = {asked}"
    login, used = _login(where), "disabled" not in (asked, mode)
    without = "the run would train without it"
    if used and importlib.util.find_spec("wandb") is None:
        yield Finding("note", "W&B", f"{text}, but wandb is not installed: {without}. pip install wandb")
    elif used and (mode or asked) not in MODES:
        yield Finding("note", "W&B", f"{text}; expected online, offline or disabled: {without}")
    elif used and MODES[mode or asked] == "online" and login is None:
        remedy = f"{without}. 'wandb login', or set WANDB_API_KEY"
        yield Finding("note", "W&B", f"{text}, but no login for {where}: {remedy}")
    else:
        yield Finding("ok", "W&B", f"{text}; {login or 'no login'} for {where}")


def _login(url: str) -> str | None:
    """Return a text that says where the key for a W&B server is stored; None if there is none."""
    if os.environ.get("WANDB_API_KEY"):
        return "a key in WANDB_API_KEY"
    for name in [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]:
        try:
            found = netrc.netrc(os.path.expanduser(name)).authenticators(urlsplit(url).netloc)
            return f"a key in {name}" if found else None
        except (netrc.NetrcParseError, OSError, ValueError):  # W&B ignores such a file too
            continue
    return None


def _device(parts: _Parts) -> Iterator[Finding]:
    """Check the device and precision of training."""
    settings = parts.config.training
    parts.device = choose_device(settings.device)
    precision = str(choose_precision(settings.precision, parts.device)).removeprefix("torch.")
    text = f"training.device = {settings.device} is {parts.device.type}"
    yield Finding("ok", "device", f"{text}, training.precision = {settings.precision} is {precision}")


def _split(parts: _Parts, split: str) -> Iterator[Finding]:
    """Check one split of the dataset, and its first sample."""
    dataset = build.build_dataset(parts.config, split)
    height, width = dataset[0].labels.shape
    if split == "train":
        parts.training = dataset
    root = parts.config.data.options.get("root")
    where = f" in {root}" if root else ""
    text = f"{len(dataset)} images{where}, the first is {height}x{width} (height x width)"
    yield Finding("ok", f"data {split}", text)


def _model(parts: _Parts, runs: Path) -> Iterator[Finding]:
    """Build the model with its initial weights, and check the space for its checkpoints."""
    run_config, settings = parts.config, parts.config.model
    names = parts.training.class_names if parts.training is not None else build.build_classes(run_config).names
    parts.model = build.build_model(run_config, len(names))
    count = sum(parameter.numel() for parameter in parts.model.parameters())
    sources = {"model.initialize_from": settings.initialize_from}
    for key in ("model.whole", "model.encoder", "model.decoder"):
        if component := run_config.component(key):
            sources[f"{key}.weights"] = component.options.get("weights")
    loaded = "; ".join(f"{key} = {source} fits" for key, source in sources.items() if source)
    yield Finding("ok", "model", f"{settings.title}, {count} parameters{'; ' if loaded else ''}{loaded}")
    states, best = 3 * 4 * count, 4 * count  # bytes of float32 weights with two moments, and of the weights
    needed = (run_config.checkpoints.keep + 1) * states + 2 * best  # a new file is written before an old one is removed
    text = f"a run needs about {size(needed)}, {size(free_space(runs))} are free at {runs}"
    remedy = ". Make room, or train into another folder (segkit train --run)."
    yield judged("checkpoints", text, needed > free_space(runs), remedy, level="problem")


def _workers(parts: _Parts) -> Iterator[Finding]:
    """Check the number of data workers and the shared memory that they would fill."""
    settings, found = parts.config.training, shared_memory(SHARED_MEMORY)
    if not settings.workers or found is None or parts.training is None:
        return
    height, width = parts.config.transforms.crop or parts.training[0].labels.shape
    pixel = 3 * 4 + 8  # bytes of a float32 image and int64 labels
    if settings.workers > cores():
        text = f"training.workers = {settings.workers} are more than the {cores()} cores that can be used"
        yield Finding("note", "workers", text)
    needed = settings.workers * AHEAD * settings.batch_size * height * width * pixel
    text = f"{settings.workers} of them need about {size(needed)} of shared memory"
    remedy = ". Set training.workers=0, or fewer, or enlarge it: docker run --shm-size=8g."
    free = f"{size(found[0])} are free in {SHARED_MEMORY}"
    yield judged("workers", f"{text}, {free}", needed > found[0], remedy, level="problem")


def _step(parts: _Parts) -> Iterator[Finding]:
    """Do one training step of the config, but without counted class weights."""
    config, training, model, device = parts.config, parts.training, parts.model, parts.device
    assert training is not None
    assert model is not None
    assert device is not None
    state = build.build_state(config, model.to(device), len(training))
    loss = build.build_loss(config, training.class_names, None).to(device)
    steps = build.build_steps(config, model, training, first_step=0, device=device)
    precision = choose_precision(config.training.precision, device)
    plan = Plan(1, 1, device, precision, gradient_clip=config.training.gradient_clip)
    records, started = _Records(), perf_counter()
    train(state, loss, steps, plan=plan, log=records)
    scored = f"loss {records.last['loss']:.3f}, gradient norm {records.last['gradient_norm']:.3g}"
    seconds = f"{perf_counter() - started:.1f} s (the first one is the slowest)"
    yield Finding("ok", "training step", f"on {device.type}: {scored}, {seconds}")


class _Records:
    """Log that keeps the last record of training."""

    def write(self, kind: str, record: dict[str, Any]) -> None:
        if kind == "train":
            self.last = record
