"""Costs of the models of configs and runs."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from segkit import build
from segkit.compare.ledger import Costs, count, interleaved
from segkit.compare.memory import Work, added_memory, in_child
from segkit.config.identity import distinct_names, method_name
from segkit.config.schema import RunConfig, config_values
from segkit.data.datasets.class_file import read_classes
from segkit.data.loader import Batch
from segkit.engine.batch_norm import absorb_batch_norm
from segkit.engine.checkpoint import BEST
from segkit.engine.device import choose_device, choose_precision
from segkit.engine.inference import labels_at, predict_logits
from segkit.engine.optim import constant
from segkit.engine.train import Plan, train
from segkit.engine.train_state import TrainState
from segkit.errors import InputError
from segkit.models.segmenter import Segmenter
from segkit.tensors import Size
from segkit.tracking.console import progress_bar
from segkit.tracking.run_dir import CLASSES, CONFIG, RunDir
from segkit.tracking.tracker import Tracker

WARM_UP = 2  # rounds
SIZE_HINT = " Or give the size of images: --size HEIGHTxWIDTH."


@dataclass(frozen=True)
class _Subject:
    """A model whose costs are asked for, and the weight file of a run that has one."""

    config: RunConfig
    class_names: tuple[str, ...]
    weights: Path | None
    size: Size = (0, 0)

    @property
    def device(self) -> torch.device:
        return choose_device(self.config.training.device)

    @property
    def precision(self) -> torch.dtype:
        return choose_precision(self.config.training.precision, self.device)

    def model(self) -> Segmenter:
        return build.build_model(self.config, len(self.class_names), restore=True)


def costs_of(
    paths: Sequence[Path],
    *,
    measure: bool = False,
    size: Size | None = None,
    rounds: int = 10,
    batch_size: int | None = None,
    overrides: Sequence[str] = (),
) -> list[Costs]:
    """Costs of the models of some configs or run folders, in their order.

    Args:
        measure: also measure time and memory on this machine, on each config's device and in its precision.
        size: (height, width) of images and training crops in network pixels; None: that of the first test image.
        rounds: measurements of each time.
        batch_size: images of a training step; None: as the config says.
        overrides: changes to every config, `a.b=c`.
    Raises:
        InputError: if a path is neither, a config is not valid, an image is too small, or there is none and no `size`.
    """
    changes = [*overrides, *([] if batch_size is None else [f"training.batch_size={batch_size}"])]
    subjects = [_open(path, changes) for path in paths]
    names = distinct_names([method_name(config_values(each.config)) for each in subjects], paths)
    found = []
    for index, (subject, name) in enumerate(zip(subjects, names, strict=True)):
        with torch.device("meta"):
            model = subject.model().eval()
        subjects[index] = replace(subject, size=size or _test_image_size(subject.config, model))
        costs = count(name, model, subjects[index].size)
        found.append(replace(costs, file_bytes=subject.weights.stat().st_size) if subject.weights else costs)
    return _measured(subjects, found, rounds) if measure else found


def read_size(text: str) -> Size:
    """Parse `360x480` into (height, width).

    Raises:
        InputError: if it is something else.
    """
    sides = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if sides is None:
        raise InputError(f"--size {text}: expected HEIGHTxWIDTH in pixels, such as --size 360x480.")
    return int(sides[1]), int(sides[2])


def _open(path: Path, overrides: Sequence[str]) -> _Subject:
    if not path.exists():
        expected = "expected a config file, or a folder that 'segkit train' wrote. Check the path."
        raise InputError(f"{path} does not exist; {expected}")
    if path.is_file():
        config, _ = build.load_config(path, overrides)
        return _Subject(config, build.build_classes(config).names, None)
    best = RunDir(path).require().checkpoints / BEST
    config, _ = build.load_config(path / CONFIG, overrides)
    return _Subject(config, read_classes(path / CLASSES).names, best if best.is_file() else None)


def _test_image_size(config: RunConfig, model: Segmenter) -> Size:
    """(height, width) of the first test image, as the network gets it."""
    try:
        image = build.build_dataset(config, "test")[0].image
    except InputError as error:
        raise InputError(f"{error}{SIZE_HINT}") from None
    height, width = build.build_evaluation_transform(config, model)(image).shape[-2:]
    return height, width


def _measured(subjects: Sequence[_Subject], costs: Sequence[Costs], rounds: int) -> list[Costs]:
    """Add memory, measured model by model, and times, measured with all models in memory, to the costs."""
    threads, kinds = torch.get_num_threads(), (_inference, _training)
    peaks: list[list[int | None]] = [[], []]
    with progress_bar("measuring", (len(subjects) + rounds + WARM_UP) * len(kinds)) as progress:
        for of_kind, prepare in zip(peaks, kinds, strict=True):
            for subject in subjects:
                arguments = _peak, subject, prepare, threads
                of_kind.append(in_child(*arguments) if subject.device.type == "cpu" else _peak(*arguments[1:]))
                progress(1)
        inference, training = (
            interleaved([prepare(each).run for each in subjects], rounds, warm_up=WARM_UP, progress=progress)
            for prepare in kinds
        )
    measured = zip(costs, subjects, *peaks, inference, training, strict=True)
    return [
        replace(
            cost,
            measured_on=_conditions(subject),
            peak_inference_bytes=inference_bytes,
            peak_training_bytes=training_bytes,
            forward_seconds=forward,
            step_seconds=step,
        )
        for cost, subject, inference_bytes, training_bytes, forward, step in measured
    ]


def _peak(subject: _Subject, prepare: Callable[[_Subject], Work], threads: int) -> int | None:
    torch.set_num_threads(threads)
    return added_memory(prepare(subject), subject.device.type)


def _conditions(subject: _Subject) -> str:
    device = subject.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = f" (threads: {torch.get_num_threads()})" if device.type == "cpu" else ""
    precision = str(subject.precision).removeprefix("torch.")
    return f"{name}{threads}, {precision}, images in a training step: {subject.config.training.batch_size}"


def _inference(subject: _Subject) -> Work:
    """One image to class ids at its own size, as a run is scored."""
    device, precision = subject.device, subject.precision
    model = absorb_batch_norm(subject.model().to(device))
    image = torch.randn(1, 3, *subject.size)

    def run() -> None:
        labels_at(predict_logits(model, image, device=device, precision=precision), subject.size).cpu()

    return Work(run, forget=lambda: None)


def _training(subject: _Subject) -> Work:
    """One training step of the config on random images, at learning rate 0, so that no loss diverges."""
    settings, device, precision = subject.config.training, subject.device, subject.precision
    model = subject.model().to(device).train()
    optimizer = build.make(subject.config, "optimizer", model, model.pretrained_names)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    loss = build.build_loss(subject.config, subject.class_names, None).to(device)
    images = settings.batch_size // settings.accumulation
    labels = torch.randint(len(subject.class_names), (images, *subject.size), device=device)
    part = Batch(torch.randn(images, 3, *subject.size), labels, tuple(map(str, range(images))))

    plan = Plan(1, 1, device, precision, gradient_clip=settings.gradient_clip)

    def run() -> None:
        state = TrainState(model, optimizer, constant(optimizer, 1, 1))
        train(state, loss, [[part] * settings.accumulation], plan=plan, log=Tracker())
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    def forget() -> None:
        optimizer.zero_grad(set_to_none=True)
        optimizer.state.clear()

    return Work(run, forget)
