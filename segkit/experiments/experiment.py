"""An experiment: runs that belong together, described in one file."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from segkit import build
from segkit.config.resolve import read_file
from segkit.config.schema import FOLDER_NAME, RunConfig
from segkit.config.signatures import show
from segkit.config.yaml import Leaf, Tree, leaves, mapping_of, parse, values_of
from segkit.engine.checkpoint import BEST
from segkit.errors import InputError, nearest
from segkit.runs.train import check_folder
from segkit.system.files import sha256
from segkit.tracking.lock import locked
from segkit.tracking.run_dir import RunDir

KEYS = ("name", "base", "set", "axes", "stages")
# short names of axes
SHORT = {"decoder": "model.decoder", "encoder": "model.encoder", "loss": "loss.function"}
STAGE = "stage"
Layer = Path | Tree


@dataclass(frozen=True)
class Member:
    """One run of an experiment: its config and its folder.

    Attributes:
        choices: axis -> label of its value here; the stage is an axis too.
        before: the stage that this one starts from.
    """

    config: RunConfig
    run: RunDir
    choices: Mapping[str, str]
    before: "Member | None" = None

    @property
    def name(self) -> str:
        """Its run folder's name."""
        return self.run.path.name

    @property
    def chain(self) -> tuple[tuple[str, str], ...]:
        """All choices except the stage; members that agree in them are trained one after the other."""
        return tuple((axis, label) for axis, label in self.choices.items() if axis != STAGE)


@dataclass(frozen=True)
class Value:
    """A value of an axis: its label, its part of a run's name, and its config layer."""

    label: str
    word: str
    layer: Layer


def read_experiment(path: Path, overrides: Sequence[str] = (), *, runs: Path = Path("runs")) -> list[Member]:
    """The members of an experiment, each stage after the one that it starts from. Their runs go to RUNS/NAME/MEMBER.

    The file holds `name` and:
        base: a config file, or a list of them, relative to this file.
        set: keys and values for all members.
        axes: axis -> its values. A list holds values of the key that the axis is called by (`decoder`, `encoder` and
            `loss` for model.decoder, model.encoder and loss.function); a mapping holds label -> config file, or keys
            and values.
        stages: name -> config file, or keys and values. Each stage starts from the best weights of the one before.
    There is a member for each combination of values and stages. Its config is made of the files, then `set`, then keys
    and values, then `overrides`; the later wins.

    Raises:
        InputError: if the file or the config of a member is not valid.
    """
    tree = _read(path)
    given = values_of(tree.get("name", Leaf(None, "")))
    name = _folder_name(given, f"{path}: name = {show(given)}")
    base = tree.get("base", Leaf([], ""))
    files = [values_of(base)] if isinstance(values_of(base), str) else values_of(base)
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise _wrong(path, "base", base, "a config file, or a list of them, relative to this file")
    settings = tree.get("set", {})
    if not isinstance(settings, dict):
        raise _wrong(path, "set", settings, "keys and values, such as training: {epochs: 4}")
    settings = _nested(settings)
    axes, stages = _axes(tree, path), _stages(tree, path)
    _refuse_overrides_of(axes, overrides)
    members: dict[str, Member] = {}
    for values in product(*axes.values()):
        before = None
        for stage in stages or [None]:
            chosen = dict(zip(axes, values, strict=True)) | ({STAGE: stage} if stage else {})
            words = {axis: value.word for axis, value in chosen.items()}
            folder = "-".join(words.values()) or name
            _folder_name(folder, f"{path}: '{folder}' names a folder")
            layers = [*(path.parent / file for file in files), settings, *(value.layer for value in chosen.values())]
            about = {
                "name": f"{name}-{folder}" if words else name,
                "tracking.method": "-".join(word for axis, word in words.items() if axis != "seed") or None,
                "tracking.group": name,
            } | ({"model.initialize_from": str(before.run.path)} if before else {})
            config, _ = build.load_config(
                sorted(layers, key=lambda layer: not isinstance(layer, Path)),  # files first
                [*overrides, *(f"{key}={json.dumps(value)}" for key, value in about.items())],
                title=f"{path}: {folder}",
            )
            labels = {axis: value.label for axis, value in chosen.items()}
            if folder in members:
                both = f"{members[folder].choices} and {labels} would both be called '{folder}'"
                raise InputError(f"{path}: {both}. Give the values of an axis labels: LABEL: {{KEY: VALUE}}.")
            before = members[folder] = Member(config, RunDir(runs / name / folder), labels, before)
    return list(members.values())


def _read(path: Path) -> Tree:
    tree = mapping_of(parse(read_file(path, "The experiment file"), str(path), dots=True), str(path))
    for key in tree:
        if key not in KEYS:
            raise InputError(f"{path}: unknown key '{key}'.{nearest(key, KEYS)} Known keys: {', '.join(KEYS)}.")
    if not ({"axes", "stages"} & set(tree)):
        expected = "expected what its runs differ in, such as axes: {seed: [0, 1, 2]}."
        raise InputError(f"{path} has neither axes nor stages: {expected}")
    return tree


def _wrong(path: Path, key: str, item: Tree | Leaf, expected: str) -> InputError:
    source = item.source if isinstance(item, Leaf) else path
    return InputError(f"{source}: {key} = {show(values_of(item))}: expected {expected}.")


def _folder_name(text: object, what: str) -> str:
    if not isinstance(text, str) or not re.fullmatch(FOLDER_NAME, text):
        raise InputError(f"{what}: expected letters, digits, '.', '_' and '-', a letter or digit first.")
    return text


def _axes(tree: Tree, path: Path) -> dict[str, list[Value]]:
    """Axis -> its values."""
    axes = tree.get("axes", {})
    if not isinstance(axes, dict):
        raise _wrong(path, "axes", axes, "names and values, such as seed: [0, 1, 2]")
    found: dict[str, list[Value]] = {}
    for axis, item in axes.items():
        if axis == STAGE:
            raise InputError(f"{path}: axes.{STAGE}: this name is taken by `stages`. Choose another.")
        axis = _folder_name(axis, f"{path}: axes.{axis}")
        if isinstance(item, dict):
            found[axis] = _labelled(item, path, f"axes.{axis}")
            continue
        values = item.value
        if not isinstance(values, list) or not values or any(isinstance(value, dict | list) for value in values):
            expected = "a list of numbers or words, or labels, each with a config file or keys and values"
            raise _wrong(path, f"axes.{axis}", item, expected)
        if len(set(map(repr, values))) < len(values):
            raise _wrong(path, f"axes.{axis}", item, "each value once")
        key = SHORT.get(axis, axis)
        found[axis] = []
        for value in values:
            layer: Tree | Leaf = Leaf(value, item.source)
            for part in reversed(key.split(".")):
                layer = {part: layer}
            label = value if isinstance(value, str) else json.dumps(value)
            word = label if isinstance(value, str) else key.rpartition(".")[2] + label
            found[axis].append(Value(label, word, mapping_of(layer, item.source)))
    return found


def _nested(tree: Tree) -> Tree:
    """Return the tree with `a.b: c` written out as `a: {b: c}`."""
    result: Tree = {}
    for key, item in tree.items():
        first, dot, rest = key.partition(".")
        item, old = {rest: item} if dot else item, result.get(first)
        result[first] = _nested((old if isinstance(old, dict) else {}) | item) if isinstance(item, dict) else item
    return result


def _stages(tree: Tree, path: Path) -> list[Value]:
    stages = tree.get("stages", {})
    if not isinstance(stages, dict) or ("stages" in tree and not stages):
        expected = "a config file for each stage, such as fcn32s: ../../configs/NAME.yaml"
        raise _wrong(path, "stages", stages, expected)
    return _labelled(stages, path, "stages")


def _labelled(items: Tree, path: Path, where: str) -> list[Value]:
    """The values of a mapping from labels to config files, or to keys and values."""
    found = []
    for label, item in items.items():
        if isinstance(item, Leaf) and not isinstance(item.value, str):
            raise _wrong(path, f"{where}.{label}", item, "a config file, or keys and values")
        found.append(Value(label, label, path.parent / item.value if isinstance(item, Leaf) else _nested(item)))
    return found


def _refuse_overrides_of(axes: Mapping[str, list[Value]], overrides: Sequence[str]) -> None:
    """Refuse overrides of keys in which the members differ: names would no longer match configs."""
    trees = [value.layer for values in axes.values() for value in values if not isinstance(value.layer, Path)]
    taken = {"name", "tracking.method", "tracking.group", *(key for tree in trees for key, _ in leaves(tree))}
    for override in overrides:
        key = override.partition("=")[0].strip()
        for other in sorted(taken):
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                taken_by = f"the experiment sets {other} for each of its runs. Change the file, or use --only."
                raise InputError(f"command line: {override}: {taken_by}")


def select(members: Sequence[Member], only: Sequence[str]) -> list[Member]:
    """Members that agree with every `AXIS=LABEL` or `AXIS=LABEL,LABEL`.

    Raises:
        InputError: if there is no such axis or label, or no member is left.
    """
    axes = {axis: list(dict.fromkeys(member.choices[axis] for member in members)) for axis in members[0].choices}
    for condition in only:
        axis, equals, labels = condition.partition("=")
        if not equals or axis not in axes:
            example = next(f"{axis}={known[0]}" for axis, known in axes.items())
            known = f"{nearest(axis, axes)} Axes: {', '.join(axes)}."
            raise InputError(f"'{condition}': expected AXIS=VALUE, such as {example}.{known}")
        wanted = labels.split(",")
        for label in wanted:
            if label not in axes[axis]:
                known = ", ".join(axes[axis])
                raise InputError(f"'{condition}': {axis} has no '{label}'.{nearest(label, axes[axis])} It has {known}.")
        members = [member for member in members if member.choices[axis] in wanted]
    if not members:
        raise InputError(f"no member is {' and '.join(only)}.")
    return list(members)


def chains(members: Sequence[Member]) -> list[list[Member]]:
    """Members in groups that are trained one after the other: the stages of one combination."""
    groups: dict[tuple, list[Member]] = {}
    for member in members:
        groups.setdefault(member.chain, []).append(member)
    return list(groups.values())


def prepare(members: Sequence[Member], *, overwrite: bool = False) -> None:
    """Check models, data and run folders of all members; then, with `overwrite`, delete their runs.

    Raises:
        InputError: if a model cannot be built or a dataset is missing, a folder holds something else, a stage was
            trained from other weights of the one before, or its start is neither trained nor among the members. In
            that case nothing was deleted.
    """
    for member in members:
        try:
            with torch.device("meta"):
                build.build_model(member.config, len(build.build_classes(member.config).names), restore=True)
            build.build_splits(member.config, build.build_layout(member.config))
        except InputError as error:
            raise InputError(f"{member.name}: {error}") from None
    names = {member.name for member in members}
    for member in members:
        run, before = member.run, member.before
        if not overwrite:
            check_folder(member.config, run)
        if before is None:
            continue
        if before.name not in names:
            check_folder(before.config, before.run)
            if not before.run.finished:
                lacking = f"starts from {before.name}, which is neither trained nor among the members"
                raise InputError(f"{member.name} {lacking}. Leave --only out.")
        weights = before.run.checkpoints / BEST
        started_elsewhere = run.start_weights is not None and weights.is_file() and run.start_weights != sha256(weights)
        if run.holds_progress and not overwrite and (not before.run.finished or started_elsewhere):
            start = f"did not start from the best weights of {before.run.path}"
            raise InputError(f"{run.path} {start}. Train all again with --overwrite.")
    for member in members:
        if overwrite and member.run.exists:
            with locked(member.run.path):
                member.run.remove()
