"""Whether the members of an experiment are treated alike: what they have in common, and what not."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from segkit import build
from segkit.config.resolve import flat
from segkit.config.schema import config_values, identity
from segkit.config.signatures import show
from segkit.config.titles import method_title
from segkit.experiments.experiment import Member

ABSENT = object()


@dataclass(frozen=True)
class Treatment:
    """What members of one seed have in common and what not.

    Attributes:
        methods: titles of the members that were looked at.
        equal: what was computed for each and found equal.
        different: what was computed and found different: name -> members that agree with the first one.
        settings: dotted key -> value of each member, where configs differ.
    """

    methods: tuple[str, ...]
    equal: tuple[str, ...]
    different: dict[str, tuple[str, ...]]
    settings: dict[str, tuple[Any, ...]]

    def lines(self) -> list[str]:
        """What is equal and what is not, in sentences."""
        if len(self.methods) < 2:
            return []
        first, *_ = self.methods
        found = [f"equal in {', '.join(self.methods)}, for one seed: {'; '.join(self.equal)}"]
        return found + [
            f"NOT EQUAL: {name}; as in {first}: {', '.join(alike[1:]) or 'no other'}"
            for name, alike in self.different.items()
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """Key and value of each member for every setting that differs; `-` where a component has no such option."""
        return [
            (key, *("-" if value is ABSENT else show(value) for value in values))
            for key, values in self.settings.items()
        ]


def check_treatment(members: Sequence[Member]) -> Treatment:
    """Compares the members of the first seed, those that start from another member's weights left out.

    The order of all samples, the first step's augmented images, and the starting weights (of equal name and shape) are
    computed for each member as training would compute them.

    Raises:
        InputError: if data or weights cannot be read.
    """
    starting = [member for member in members if member.before is None]
    group = [member for member in starting if member.config.seed == starting[0].config.seed] if starting else []
    titles = [method_title(config_values(member.config)) for member in group]
    if len(group) < 2:
        return Treatment(tuple(titles), (), {}, {})
    values = [flat(identity(config_values(member.config))) for member in group]
    keys = dict.fromkeys(key for each in values for key in each if key not in ("name", "seed"))
    settings = {
        key: each for key in keys if len(set(map(repr, each := tuple(one.get(key, ABSENT) for one in values)))) > 1
    }
    sections = dict.fromkeys(key.split(".")[0] for key in keys)
    untouched = [section for section in sections if not any(key.split(".")[0] == section for key in settings)]
    found = [_fingerprints(member) for member in group]
    same = {
        name: tuple(t for t, each in zip(titles, found, strict=True) if each[0][name] == found[0][0][name])
        for name in found[0][0]
    }
    weights, shared = _compare_weights([tensors for _, tensors in found], titles)
    if shared:
        same[f"weights at the start ({shared} tensors that two or more share by name and shape)"] = weights
    return Treatment(
        tuple(titles),
        (f"settings of {', '.join(untouched)}", *(name for name, alike in same.items() if len(alike) == len(group))),
        {name: alike for name, alike in same.items() if len(alike) < len(group)},
        settings,
    )


def _fingerprints(member: Member) -> tuple[dict[str, Any], dict[tuple[str, tuple[int, ...]], str]]:
    """What training would do, as digests: of samples and images, and of each starting tensor by name and shape."""
    config = member.config
    training = build.build_dataset(config, "train")
    model = build.build_model(config, len(training.class_names))
    steps = build.build_steps(config, model, training, first_step=0, device=torch.device("cpu"))
    batches = next(iter(steps))
    about = {
        "samples of every step": _digest(repr(list(steps.batch_sampler or [])).encode()),
        "augmented images and labels of the first step": _digest(
            b"".join(_bytes(part.image) + _bytes(part.labels) for part in batches)
        ),
    }
    return about, {(name, tuple(t.shape)): _digest(_bytes(t)) for name, t in model.state_dict().items()}


def _compare_weights(
    found: Sequence[dict[tuple[str, tuple[int, ...]], str]], names: Sequence[str]
) -> tuple[tuple[str, ...], int]:
    """Members whose tensors agree with those of every earlier member that has them, and how many tensors two or more
    share."""
    first: dict[tuple[str, tuple[int, ...]], str] = {}
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
