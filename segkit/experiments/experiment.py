"""An experiment: runs that belong together, described in one file."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from segkit import build
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
SHORT = {
    "decoder": "model.decoder",
    "encoder": "model.encoder",
    "loss": "loss.function",
}  # axes that may be called by less than their key
STAGE = "stage"
Layer = Path | Tree


@dataclass(frozen=True)
class Member:
    """One run of an experiment: what is trained, and where.

    Attributes:
        choices: axis -> title of its value here; the stage is an axis too.
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
        """Choices but for the stage: members with equal ones are trained one after the other."""
        return tuple((axis, title) for axis, title in self.choices.items() if axis != STAGE)


@dataclass(frozen=True)
class Value:
    """A value of an axis: what it is called, what goes into a run's name, and the config layer that it stands for."""

    title: str
    word: str
    layer: Layer


def read_experiment(path: Path, overrides: Sequence[str] = (), *, runs: Path = Path("runs")) -> list[Member]:
    """The members of an experiment, each stage after the one that it starts from. Their runs go to RUNS/NAME/MEMBER.

    The file holds `name` and:
        base: a config file, or a list of them, relative to this file.
        set: keys and values for all members.
        axes: axis -> its values. A list holds values of the key that the axis is called by (`decoder`, `encoder` and
            `loss` for model.decoder, model.encoder and loss.function); a mapping holds title -> config file, or keys and values.
        stages: name -> config file, or keys and values. Each stage starts from the best weights of the one before.
    There is a member for each combination of values and stages. Its config is made of the files, then `set`, then keys
    and values, then `overrides`; the later wins.

    Raises:
        InputError: if the file or the config of a member is not valid.
    """
    tree, name = _read(path)
    shared = [path.parent / file for file in _files(tree.get("base"), path)]
    settings = tree.get("set", {})
    if not isinstance(settings, dict):
        raise InputError(
            f"{settings.source}: set = {show(settings.value)}: expected keys and values, such as training: {{epochs: 4}}."
        )
    settings = _nested(settings)
    axes = _axes(tree, path)
    _refuse_overrides_of(axes, overrides)
    stages = _stages(tree, path)
    members: list[Member] = []
    for values in product(*axes.values()):
        before = None
        for stage in stages or [None]:
            chosen = dict(zip(axes, values, strict=True)) | ({STAGE: stage} if stage else {})
            before = _member(path, name, [*shared, settings], chosen, overrides, runs, before)
            members.append(before)
    _require_different_names(members, path)
    return members


def _member(
    path: Path,
    name: str,
    shared: list[Layer],
    chosen: dict[str, Value],
    overrides: Sequence[str],
    runs: Path,
    before: Member | None,
) -> Member:
    """One member."""
    words = [value.word for value in chosen.values()]
    folder = "-".join(words) or name
    if not re.fullmatch(FOLDER_NAME, folder):
        raise InputError(
            f"{path}: '{folder}' names a folder: expected letters, digits, '.', '_' and '-', a letter or digit first."
        )
    method = "-".join(value.word for axis, value in chosen.items() if axis != "seed")
    title = {"name": f"{name}-{folder}" if words else name, "tracking.method": method or None, "tracking.group": name}
    follows = {"model.initialize_from": str(before.run.path)} if before else {}
    layers = [*shared, *(value.layer for value in chosen.values())]
    layers = [layer for layer in layers if isinstance(layer, Path)] + [
        layer for layer in layers if not isinstance(layer, Path)
    ]
    about = [f"{key}={json.dumps(value)}" for key, value in (title | follows).items()]
    config, _ = build.load_config(layers, [*overrides, *about], title=f"{path}: {folder}")
    return Member(config, RunDir(runs / name / folder), {axis: value.title for axis, value in chosen.items()}, before)


def _read(path: Path) -> tuple[Tree, str]:
    """The file's tree and the experiment's name."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"The experiment file '{path}' {found}. Expected a YAML file. Check the path.")
    try:
        tree = mapping_of(parse(path.read_text(encoding="utf-8-sig"), str(path), dots=True), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    for key in tree:
        if key not in KEYS:
            raise InputError(f"{path}: unknown key '{key}'.{nearest(key, KEYS)} Known keys: {', '.join(KEYS)}.")
    name = values_of(tree.get("name", Leaf(None, "")))
    if not isinstance(name, str) or not re.fullmatch(FOLDER_NAME, name):
        raise InputError(
            f"{path}: name = {show(name)}: expected letters, digits, '.', '_' and '-', a letter or digit first."
        )
    if not ({"axes", "stages"} & set(tree)):
        raise InputError(
            f"{path} has neither axes nor stages: expected what its runs differ in, such as axes: {{seed: [0, 1, 2]}}."
        )
    return tree, name


def _files(base: Tree | Leaf | None, path: Path) -> list[str]:
    found = values_of(base) if base is not None else []
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(file, str) for file in found):
        raise InputError(
            f"{path}: base = {show(found)}: expected a config file, or a list of them, relative to this file."
        )
    return found


def _axes(tree: Tree, path: Path) -> dict[str, list[Value]]:
    """Axis -> its values."""
    axes = tree.get("axes", {})
    if not isinstance(axes, dict):
        raise InputError(
            f"{axes.source}: axes = {show(axes.value)}: expected names and values, such as seed: [0, 1, 2]."
        )
    found: dict[str, list[Value]] = {}
    for axis, item in axes.items():
        if axis == STAGE:
            raise InputError(f"{path}: axes.{STAGE}: this name is taken by `stages`. Choose another.")
        if not re.fullmatch(FOLDER_NAME, axis):
            raise InputError(
                f"{path}: axes.{axis}: expected letters, digits, '.', '_' and '-', a letter or digit first."
            )
        if isinstance(item, dict):
            found[axis] = _titled(item, path, f"axes.{axis}")
        elif isinstance(item.value, list) and len(set(map(repr, item.value))) < len(item.value):
            raise InputError(f"{item.source}: axes.{axis} = {show(item.value)}: a value is given twice. Keep one.")
        elif (
            isinstance(item.value, list)
            and item.value
            and not any(isinstance(value, dict | list) for value in item.value)
        ):
            found[axis] = [_listed(axis, value, item.source) for value in item.value]
        else:
            raise InputError(
                f"{item.source}: axes.{axis} = {show(item.value)}: expected a list of numbers or words, or titles, each with a "
                "config file or keys and values."
            )
    return found


def _listed(axis: str, value: Any, source: str) -> Value:
    key = SHORT.get(axis, axis)
    word = value if isinstance(value, str) else f"{key.rpartition('.')[2]}{json.dumps(value)}"
    layer: Tree | Leaf = Leaf(value, source)
    for part in reversed(key.split(".")):
        layer = {part: layer}
    return Value(value if isinstance(value, str) else json.dumps(value), word, mapping_of(layer, source))


def _titled(items: Tree, path: Path, where: str) -> list[Value]:
    """The values of a mapping from titles to config files, or to keys and values."""
    found = []
    for title, item in items.items():
        if isinstance(item, Leaf) and not isinstance(item.value, str):
            raise InputError(
                f"{item.source}: {where}.{title} = {show(item.value)}: expected a config file, or keys and values."
            )
        found.append(Value(title, title, path.parent / item.value if isinstance(item, Leaf) else _nested(item)))
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
        held = show(values_of(stages))
        raise InputError(
            f"{path}: stages = {held}: expected a config file for each stage, such as fcn32s: ../../configs/NAME.yaml."
        )
    return _titled(stages, path, "stages")


def _refuse_overrides_of(axes: Mapping[str, list[Value]], overrides: Sequence[str]) -> None:
    """Refuses overrides of what the members differ in: they would go by one name and be another."""
    trees = [value.layer for values in axes.values() for value in values if not isinstance(value.layer, Path)]
    taken = {"name", "tracking.method", "tracking.group", *(key for tree in trees for key, _ in leaves(tree))}
    for override in overrides:
        key = override.partition("=")[0].strip()
        for other in sorted(taken):
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise InputError(
                    f"command line: {override}: the experiment sets {other} for each of its runs. Change the file, or use --only."
                )


def _require_different_names(members: Sequence[Member], path: Path) -> None:
    names: dict[str, Member] = {}
    for member in members:
        if member.name in names:
            both = " and ".join(str(dict(each.choices)) for each in (names[member.name], member))
            raise InputError(
                f"{path}: {both} would both be called '{member.name}'. Give the values of an axis titles: TITLE: {{KEY: VALUE}}."
            )
        names[member.name] = member


def select(members: Sequence[Member], only: Sequence[str]) -> list[Member]:
    """Members that agree with every `AXIS=TITLE` or `AXIS=TITLE,TITLE`.

    Raises:
        InputError: if there is no such axis or title, or no member is left.
    """
    axes = {axis: list(dict.fromkeys(member.choices[axis] for member in members)) for axis in members[0].choices}
    for condition in only:
        axis, equals, titles = condition.partition("=")
        if not equals or axis not in axes:
            example = next(f"{axis}={titles[0]}" for axis, titles in axes.items())
            raise InputError(
                f"'{condition}': expected AXIS=VALUE, such as {example}.{nearest(axis, axes)} Axes: {', '.join(axes)}."
            )
        wanted = titles.split(",")
        for title in wanted:
            if title not in axes[axis]:
                raise InputError(
                    f"'{condition}': {axis} has no '{title}'.{nearest(title, axes[axis])} It has {', '.join(axes[axis])}."
                )
        members = [member for member in members if member.choices[axis] in wanted]
    if not members:
        raise InputError(f"no member is {' and '.join(only)}.")
    return list(members)


def chains(members: Sequence[Member]) -> Iterator[list[Member]]:
    """Members in groups that are trained one after the other: the stages of one combination."""
    groups: dict[tuple, list[Member]] = {}
    for member in members:
        groups.setdefault(member.chain, []).append(member)
    yield from groups.values()


def prepare(members: Sequence[Member], *, overwrite: bool = False) -> None:
    """Checks nets, data and run folders of all members before the first is trained; then (`overwrite`) deletes their
    runs.

    Raises:
        InputError: if a net cannot be built or a dataset is missing, a folder holds something else, a stage was trained
            from an earlier version of the one before, or its start is neither trained nor among the members. Nothing
            was deleted then.
    """
    for member in members:
        try:
            with torch.device("meta"):
                build.build_model(member.config, len(build.build_classes(member.config).names), restore=True)
            build.build_splits(member.config, build.build_layout(member.config))
        except InputError as error:
            raise InputError(f"{member.name}: {error}") from None
    names = {member.name for member in members}
    new = names if overwrite else set()  # what will be trained from its start
    for member in members:
        if member.name not in new:
            check_folder(member.config, member.run)
        before = member.before
        if before is None:
            continue
        if before.name not in names:
            check_folder(before.config, before.run)
            if not before.run.finished:
                raise InputError(
                    f"{member.name} starts from {before.name}, which is neither trained nor asked for. Leave --only out."
                )
        stale = before.name in new or not before.run.finished or _started_elsewhere(member.run, before.run)
        if member.run.precious and member.name not in new and stale:
            raise InputError(
                f"{member.run.path} did not start from {before.run.path} as it is or will be. Train all again with --overwrite."
            )
    for member in members:
        if overwrite and member.run.exists:
            with locked(member.run.path):
                member.run.remove()


def _started_elsewhere(run: RunDir, start: RunDir) -> bool:
    """Whether a run began with other weights than those that it should start from."""
    weights, noted = start.checkpoints / BEST, run.start_weights
    return noted is not None and weights.is_file() and noted != sha256(weights)
