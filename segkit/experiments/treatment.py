"""Equal treatment of the members of an experiment: what they have in common, and what differs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from segkit import build
from segkit.config.identity import identity, method_name
from segkit.config.resolve import differing
from segkit.config.schema import config_values
from segkit.experiments.experiment import Member

Weights = dict[tuple[str, tuple[int, ...]], str]  # (name, shape) of a tensor -> digest


@dataclass(frozen=True)
class Treatment:
    """Comparison of the members of one seed.

    Attributes:
        methods: names of the members that were compared.
        equal: what was computed for each and found equal.
        different: what was computed and found different: name -> members that agree with the first one.
        settings: dotted key -> value of each member as text, where configs differ; `-`: there is no such option.
    """

    methods: tuple[str, ...]
    equal: tuple[str, ...]
    different: dict[str, tuple[str, ...]]
    settings: dict[str, tuple[str, ...]]

    def lines(self) -> list[str]:
        """Sentences about what is equal and what is not."""
        if len(self.methods) < 2:
            return []
        lines = [f"equal in {', '.join(self.methods)}, for one seed: {'; '.join(self.equal)}"]
        for name, alike in self.different.items():
            lines.append(f"NOT EQUAL: {name}; as in {self.methods[0]}: {', '.join(alike[1:]) or 'no other'}")
        return lines

    def rows(self) -> list[tuple[str, ...]]:
        """Key and value of each member for every setting that differs."""
        return [(key, *values) for key, values in self.settings.items()]


def check_treatment(members: Sequence[Member]) -> Treatment:
    """Compare the members of the first seed, except those that start from another member's weights.

    The order of all samples, the first step's augmented images, and the starting weights (of equal name and shape) are
    computed for each member as training would compute them.

    Raises:
        InputError: if data or weights cannot be read.
    """
    starting = [member for member in members if member.before is None]
    group = [member for member in starting if member.config.seed == starting[0].config.seed]
    names = tuple(method_name(config_values(member.config)) for member in group)
    if len(group) < 2:
        return Treatment(names, (), {}, {})

    values = [identity(config_values(member.config) | {"name": "", "seed": 0}) for member in group]
    settings = differing(values)
    sections = dict.fromkeys(key for each in values for key in each if key not in ("name", "seed"))
    untouched = [section for section in sections if section not in {key.split(".")[0] for key in settings}]

    inputs, weights = zip(*map(_first_step, group), strict=True)
    agreeing = {
        what: tuple(name for name, each in zip(names, inputs, strict=True) if each[what] == inputs[0][what])
        for what in inputs[0]
    }
    alike, shared = _compare_weights(weights, names)
    if shared:
        agreeing[f"weights at the start ({shared} tensors that two or more share by name and shape)"] = alike
    equal = [what for what, alike in agreeing.items() if len(alike) == len(group)]
    different = {what: alike for what, alike in agreeing.items() if len(alike) < len(group)}
    return Treatment(names, (f"settings of {', '.join(untouched)}", *equal), different, settings)


def _first_step(member: Member) -> tuple[dict[str, str], Weights]:
    """Digests of the samples, images and initial weights that training would use."""
    config = member.config
    training = build.build_dataset(config, "train")
    model = build.build_model(config, len(training.class_names))
    steps = build.build_steps(config, model, training, first_step=0, device=torch.device("cpu"))
    batches = next(iter(steps))
    images = b"".join(_bytes(part.image) + _bytes(part.labels) for part in batches)
    inputs = {
        "samples of every step": _digest(repr(list(steps.batch_sampler or [])).encode()),
        "augmented images and labels of the first step": _digest(images),
    }
    return inputs, {(name, tuple(t.shape)): _digest(_bytes(t)) for name, t in model.state_dict().items()}


def _compare_weights(found: Sequence[Weights], names: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Members whose tensors agree with all earlier members', and the number of tensors that two or more share."""
    first: Weights = {}
    shared, alike = set(), []
    for name, tensors in zip(names, found, strict=True):
        common = tensors.keys() & first.keys()
        shared |= common
        if all(tensors[key] == first[key] for key in common):
            alike.append(name)
        first = tensors | first
    return tuple(alike), len(shared)


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
