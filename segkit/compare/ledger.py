"""Costs of a model: each value counted from shapes, or measured on this machine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from segkit.compare.tables import Table
from segkit.models.features import Features, Needs, Stages, storage_multiplier
from segkit.models.segmenter import Segmenter
from segkit.tensors import Size

FLOAT_BYTES, INDEX_BYTES = 4, 8  # float32; torch's int64 pooling indices


@dataclass(frozen=True)
class Spread:
    """Median, and first and third quartile (`low`, `high`), of repeated measurements."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Costs:
    """Costs of one model; a value is None if it was not, or cannot be, measured. `legend` says what they mean.

    Attributes:
        size: (height, width) of the image, network pixels.
        kept_bytes: float32 maps and int64 indices of one image; None: the model is no `Segmenter`.
        storage_multiplier: None where the encoder's stages differ in width.
        file_bytes: of the weight file, or of the tensors in it where there is none yet.
        measured_on: device, precision and batch size of what follows.
        forward_seconds: of one image, to class ids on the CPU.
    """

    name: str
    size: Size
    parameters: int
    macs: int
    kept_bytes: int | None
    kept_bytes_two_bit_indices: int | None
    storage_multiplier: int | None
    file_bytes: int
    measured_on: str | None = None
    peak_inference_bytes: int | None = None
    peak_training_bytes: int | None = None
    forward_seconds: Spread | None = None
    step_seconds: Spread | None = None


def count(name: str, model: nn.Module, size: Size) -> Costs:
    """Count the costs that follow from shapes; nothing is computed, so the model may be on the meta device.

    A transposed convolution multiplies every pixel of its input by its whole kernel, also for pixels that are cropped
    later. A convolution multiplies its padding, too.

    Args:
        model: in evaluation mode, from [B, 3, H, W] to logits. Maps for the decoder are counted for a `Segmenter`.
        size: (height, width) of the image, pixels.
    Raises:
        InputError: if the image is too small for the net.
    """
    parts = [*model.named_parameters(), *model.named_buffers()]
    with FakeTensorMode(), torch.no_grad():  # as if on the CPU: there is no autocast for the meta device
        state = {key: torch.empty(part.shape, dtype=part.dtype, device="cpu") for key, part in parts}
        image = torch.empty(1, 3, *size, device="cpu")
        with FlopCounterMode(display=False) as counter:
            functional_call(model, state, (image,))
        kept = kept_two_bit = multiplier = None
        if isinstance(model, Segmenter):
            own = {key.removeprefix("encoder."): each for key, each in state.items() if key.startswith("encoder.")}
            maps, indices = _kept(functional_call(model.encoder, own, (image, model.needs)), model.needs, model.stages)
            kept, kept_two_bit = FLOAT_BYTES * maps + INDEX_BYTES * indices, FLOAT_BYTES * maps + -(-indices // 4)
            multiplier = storage_multiplier(model.needs, model.stages) if len(set(model.stages.channels)) == 1 else None
    return Costs(
        name=name,
        size=size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=counter.get_total_flops() // 2,
        kept_bytes=kept,
        kept_bytes_two_bit_indices=kept_two_bit,
        storage_multiplier=multiplier,
        file_bytes=sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()),
    )


def _kept(features: Features, needs: Needs, stages: Stages) -> tuple[int, int]:
    """Values of maps, and of pooling indices, that the encoder must keep; the decoder starts from the deepest map.

    A map that the decoder reduces to K channels counts as K: it could be reduced before it is kept. Here it is reduced
    when the decoder runs, so measured memory holds the whole map.
    """
    deepest = len(stages.channels) - 1
    pooled = [x for stage, x in features.pooled.items() if stage != deepest]
    values = 0
    for x in [*pooled, *features.unpooled.values()]:
        batch, channels, *pixels = x.shape
        values += batch * min(channels, needs.kept_channels or channels) * prod(pixels)
    return values, sum(x.numel() for x in features.indices.values())


def interleaved(
    tasks: Sequence[Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 2,  # rounds before the first that counts
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], None] | None = None,
) -> list[Spread]:
    """Measure the seconds of each task; each round runs all, starting one task later, so that drift cancels.

    Args:
        tasks: each returns when its work is done, on whatever device.
        progress: called with 1 after each round.
    """
    seconds: list[list[float]] = [[] for _ in tasks]
    for number in range(-warm_up, rounds):
        for place in range(len(tasks)):
            index = (number + place) % len(tasks)
            started = clock()
            tasks[index]()
            elapsed = clock() - started
            if number >= 0:
                seconds[index].append(elapsed)
        if progress is not None:
            progress(1)
    return [Spread(*np.quantile(each, (0.5, 0.25, 0.75)).tolist()) for each in seconds]


def cost_tables(costs: Sequence[Costs]) -> list[Table]:
    """Tables of what was counted, and of what was measured if anything was: a row per model."""
    sizes = {f"{cost.size[0]}x{cost.size[1]}" for cost in costs}
    names = [cost.name if len(sizes) == 1 else f"{cost.name} {cost.size[0]}x{cost.size[1]}" for cost in costs]
    conditions = dict.fromkeys(cost.measured_on for cost in costs if cost.measured_on is not None)
    image = f"image of {sizes.pop()} pixels" if len(sizes) == 1 else "image of the size beside each name"
    rows = []
    for name, cost in zip(names, costs, strict=True):
        kept = _scaled(cost.kept_bytes, 1e6), _scaled(cost.kept_bytes_two_bit_indices, 1e6)
        multiplier = "-" if cost.storage_multiplier is None else str(cost.storage_multiplier)
        counts = _scaled(cost.parameters, 1e6), _scaled(cost.macs, 1e9)
        rows.append((name, *counts, *kept, multiplier, _scaled(cost.file_bytes, 1e6)))
    kept = ("kept for decoder, MB", "kept, 2-bit indices, MB")
    columns = ("model", "parameters, M", "MACs, G", *kept, "storage multiplier", "weight file, MB")
    tables = [Table(f"counted: one {image} (height x width)", columns, tuple(rows))]
    if conditions:
        several, rows = len(conditions) > 1, []
        for name, cost in zip(names, costs, strict=True):
            inference = _milliseconds(cost.forward_seconds), _scaled(cost.peak_inference_bytes, 1e6)
            training = _milliseconds(cost.step_seconds), _scaled(cost.peak_training_bytes, 1e6)
            rows.append((f"{name}: {cost.measured_on}" if several else name, *inference, *training))
        columns = ("model", "inference, ms", "inference memory, MB", "training step, ms", "training memory, MB")
        tables.append(Table("measured" if several else f"measured: {'; '.join(conditions)}", columns, tuple(rows)))
    return tables


def legend(*, measured: bool) -> list[str]:
    """Explain the tables, a sentence or two a line."""
    counted = [
        "counted: from shapes alone. MACs: multiplications of convolutions and matrix products; no biases, no pooling.",
        "kept for decoder: what the encoder must keep of an image until the decoder uses it, without the deepest map:",
        "maps as float32, of K channels if the decoder reduces them first; "
        "pooling indices as torch's int64, or as 2 bits.",
        "storage multiplier: as in SegNet's Table 1, for encoders whose stages have equal widths. 1 MB is 10^6 bytes.",
    ]
    return counted + measured * [
        "measured: on this machine, with random weights; median (quartiles) of rounds in which every model ran once.",
        "Inference: one image to class ids, batch norm folded. Memory: the peak that a forward pass, or training steps",
        "(gradients, optimizer state, activations), add to model and input; on the CPU resident memory of a separate",
        "process. -: cannot be measured here.",
    ]


def _scaled(value: int | None, unit: float) -> str:
    if value is None:
        return "-"
    return f"{value / unit:,.2f}" if value >= unit / 10 or value == 0 else f"{value / unit:.2g}"


def _milliseconds(seconds: Spread | None) -> str:
    if seconds is None:
        return "-"
    median, low, high = (f"{1000 * value:,.1f}" for value in (seconds.median, seconds.low, seconds.high))
    return f"{median} ({low} to {high})"
