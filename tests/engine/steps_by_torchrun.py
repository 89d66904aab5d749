"""Steps of small nets in as many processes as there are: python -m torch.distributed.run ... steps_by_torchrun.py
FOLDER."""

import json
import sys
import warnings
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from segkit.build import DECODERS, ENCODERS
from segkit.data.loader import Batch
from segkit.engine.checkpoint import Checkpoints, Identity
from segkit.engine.distributed import ALONE, Processes, joined
from segkit.engine.finite import NonFinite
from segkit.engine.optim import poly, sgd
from segkit.engine.train import Plan, train
from segkit.engine.train_state import TrainState
from segkit.losses.cross_entropy import CrossEntropy
from segkit.metrics.confusion import Scores, scores
from segkit.models.segmenter import Segmenter
from segkit.tracking.tracker import Tracker

CLASSES, STEPS, BATCH, SIZE = 3, 2, 4, (32, 32)
# and the parts that a share is computed in
NORMALIZERS = list(product(("valid_pixels", "weight_sum", "batch", "image_means"), (1, 2)))
# share of each image that is labelled: the second half of a batch holds a tenth of the first half's pixels
VALID = (1.0, 0.5, 0.1, 0.0)
MODELS = [*DECODERS, "auxiliary", "with a layer that nothing uses"]


def batches(processes: Processes, parts: int, broken: bool) -> list[list[Batch]]:
    """This process's parts of each step: random images, labels ever sparser; where `broken`, of no use."""
    random = torch.Generator().manual_seed(0)
    steps = []
    for _ in range(STEPS):
        image = torch.randn(BATCH, 3, *SIZE, generator=random)
        labels = torch.randint(CLASSES, (BATCH, *SIZE), generator=random)
        for one, share in zip(labels, VALID, strict=True):
            one[int(share * SIZE[0]) :] = 255
        image = image * float("inf") if broken else image
        size = BATCH // processes.count // parts
        steps.append([])
        for n in range(processes.rank * parts, (processes.rank + 1) * parts):
            names = tuple(f"{n}-{i}" for i in range(size))
            steps[-1].append(Batch(image[n * size :][:size], labels[n * size :][:size], names))
    return steps


def trained(
    model: nn.Module, folder: Path, processes: Processes, *, normalizer="valid_pixels", parts=1, clip=None, broken=False
) -> dict[str, Tensor]:
    """Weights after some steps."""
    optimizer = sgd(model, frozenset(), lr=0.05)
    trainee = TrainState(model, optimizer, poly(optimizer, STEPS, STEPS))
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(STEPS, STEPS, torch.device("cpu"), torch.float32, gradient_clip=clip, processes=processes)
    checkpoints = Checkpoints(folder, Identity("", "", ()), processes=processes)
    loss = CrossEntropy(torch.tensor([0.5, 1.0, 4.0]), normalizer=normalizer)
    options = {"plan": plan, "validate": score, "log": Tracker(), "checkpoints": checkpoints}
    train(trainee, loss, batches(processes, parts, broken), **options)
    return model.state_dict()


def score(_: nn.Module) -> Scores:
    return scores(torch.eye(CLASSES).numpy())


def plain_model() -> Segmenter:
    """Without dropout or batch norm."""
    torch.manual_seed(0)
    encoder = ENCODERS["vgg16"](width=1 / 32)
    return Segmenter(encoder, DECODERS["fcn8s"](encoder.stages, CLASSES, head_width=8, dropout=0.0))


def any_model(name: str) -> nn.Module:
    """A small net with that decoder."""
    torch.manual_seed(0)
    if name == "with a layer that nothing uses":
        model = plain_model()
        model.encoder.spare = nn.Linear(2, 2)
        return model
    if name == "auxiliary":
        encoder, decoder, options = ENCODERS["googlenet"](width=1 / 16), DECODERS["fcn32s"], {"auxiliary_weight": 0.3}
    elif name in ("fcn32s", "fcn16s", "fcn8s", "segnet"):
        encoder, decoder = ENCODERS["vgg16"](width=1 / 32), DECODERS[name]
        options = {} if name == "segnet" else {"head_width": 8}
    else:
        encoder, decoder, options = ENCODERS["segnet_basic"](width=1 / 8), DECODERS[name], {}
    return Segmenter(encoder, decoder(encoder.stages, CLASSES, **options))


def main(folder: Path) -> None:
    """Saves the weights that each process ends with."""
    warnings.simplefilter("error")
    with joined() as processes:
        found = {}
        for normalizer, parts in NORMALIZERS:
            options = {"normalizer": normalizer, "parts": parts, "clip": 0.5}
            place = folder / normalizer / str(parts)
            found[f"{normalizer} {parts}"] = trained(plain_model(), place, processes, **options)
        for name in MODELS:
            found[name] = trained(any_model(name), folder / name, processes)
        torch.save(found, folder / f"weights_{processes.rank}.pt")
        model = plain_model()
        try:
            trained(model, folder / "broken", processes, broken=processes.rank == 1)
        except NonFinite as error:
            start = plain_model().state_dict()
            same = all(torch.equal(tensor, start[name]) for name, tensor in model.state_dict().items())
            (folder / f"nonfinite_{processes.rank}.json").write_text(json.dumps([error.step, error.about["ids"], same]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))


def alone(folder: Path, normalizer: str, parts: int) -> dict[str, Tensor]:
    """The weights with which one process ends that computes whole batches."""
    return trained(plain_model(), folder, ALONE, normalizer=normalizer, parts=parts, clip=0.5)
