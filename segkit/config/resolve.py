"""Config files with `base:` and `a.b=c` overrides become one plain nested dict that knows where each value was set."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.schema import COMPONENTS
from segkit.config.signatures import show
from segkit.config.yaml import MAX_DEPTH, Leaf, Tree, dump, leaves, load, mapping_of, parse, values_of
from segkit.errors import InputError, nearest

__all__ = ["Resolved", "config_hash", "dump", "flat", "load", "resolve"]

_REFERENCE = re.compile(r"\$\{([^\s${}]+)\}")
_MAX_FILES = 100  # of one config
_MAX_CHAIN = 50  # references that lead to one another
_MAX_REFERRED = 1_000  # characters of a value that others refer to: stops a small file whose references multiply

WHOLE = "model"  # the component that has others below it, unless it has a name of its own


@dataclass(frozen=True)
class Resolved:
    """A config after bases and overrides.

    Args:
        values: plain nested dict.
        sources: dotted key of each value -> "FILE:LINE" or "command line: a.b=c". A key that is absent has its default.
    """

    values: dict[str, Any]
    sources: dict[str, str]


def resolve(layers: Path | Sequence[Path | Tree], overrides: Sequence[str] = ()) -> Resolved:
    """The config of a file: its bases in order, then the file, then the overrides; the later wins.

    Where a later layer names another component, the options that earlier layers gave to the former one are dropped. A
    whole model is
    such a component: its name drops encoder, decoder and initialize_from, and a decoder drops it.
    `${a.b}` stands for the value of another key. Paths in values are left as written.

    Args:
        layers: the file, or several files and trees (as `plain_yaml.parse` gives them), each over the ones before.
        overrides: `a.b=c` each.
    Raises:
        InputError: naming the file and line, or the override, that cannot be used.
    """
    tree: Tree = {}
    for layer in [Path(layers)] if isinstance(layers, str | Path) else layers:
        tree = _merge(tree, _with_names(layer) if isinstance(layer, dict) else _load_file(layer, "", ()), COMPONENTS)
    given: Tree = {}
    for override in overrides:  # all overrides are one layer, so their order matters only for equal keys
        keys, single = _parse_override(override)
        _refuse_scalar_parent(given, keys, override)
        _refuse_scalar_parent(tree, keys, override)
        given = _merge(given, single, ())
    tree = _plain_options(_merge(tree, given, COMPONENTS))
    sources = {key: leaf.source for key, leaf in leaves(tree)}
    values = values_of(tree)
    return Resolved(_References(values, sources).replaced(values), sources)


def config_hash(values: Mapping[str, Any]) -> str:
    """12 hex digits that identify a config, whatever the order of its keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _load_file(path: Path, wanted_by: str, above: tuple[Path, ...], read: list[Path] | None = None) -> Tree:
    """The tree of one file on top of its bases. `above`: the files whose bases led here; `read`: all files so far."""
    text, read = _read(path, wanted_by), [] if read is None else read
    read.append(path)
    if len(read) > _MAX_FILES:
        raise InputError(
            f"{path}: more than {_MAX_FILES} files are read, one for each mention in a `base:` line. Name fewer."
        )
    same = [file for file in above if os.path.samefile(file, path)]
    if same:
        raise InputError(f"{wanted_by}: the base '{path}' leads back to itself. Remove one of the `base:` lines.")
    tree = mapping_of(parse(text, str(path)), str(path))
    base = tree.pop("base", Leaf([], ""))
    names, source = values_of(base), base.source if isinstance(base, Leaf) else str(path)
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{source}: base = {show(names)}: expected a path, or a list of paths, relative to this file.")
    result: Tree = {}
    for name in names:
        file = Path(os.path.normpath(path.parent / name))
        result = _merge(result, _load_file(file, source, (*above, path), read), COMPONENTS)
    return _merge(result, _with_names(tree), COMPONENTS)


def _read(path: Path, wanted_by: str) -> str:
    prefix = f"{wanted_by}: the base" if wanted_by else "The config file"
    try:
        if path.is_dir():
            raise InputError(f"{prefix} '{path}' is a folder; expected a YAML file.{_files_like(path / 'x', path)}")
        if not path.is_file():
            raise InputError(f"{prefix} '{path}' does not exist.{_files_like(path, path.parent)}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{prefix} '{path}' is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{prefix} '{path}' cannot be read: {reason}.") from None


def _files_like(path: Path, folder: Path) -> str:
    if not folder.is_dir():
        return f" Neither does its folder '{folder}'."
    names = sorted(file.name for file in folder.iterdir() if file.suffix in (".yaml", ".yml"))
    guess = nearest(path.name, names)
    return guess or (f" '{folder}' has {', '.join(names[:8])}{', ...' if len(names) > 8 else '.'}" if names else "")


def _parse_override(override: str) -> tuple[list[str], Tree]:
    """Keys and tree of one `a.b=c`."""
    origin = f"command line: {override}"
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(re.fullmatch(r"[^\s.]+", key) for key in keys) or len(keys) > MAX_DEPTH:
        raise InputError(f"{origin}: expected KEY=VALUE, such as training.epochs=10.")
    if keys[0] == "base":
        raise InputError(f"{origin}: `base` can be set in a file only. Write a file with this base.")
    found = parse(text, origin, lines=False)
    if found is None or (found == Leaf(None, origin) and not text.strip()):
        raise InputError(f"{origin}: the value is empty. Write {path.strip()}=null for no value.")
    tree: Tree | Leaf = found
    for key in reversed(keys):
        tree = {key: tree}
    return keys, _with_names(mapping_of(tree, origin))


def _refuse_scalar_parent(tree: Tree, keys: list[str], override: str) -> None:
    node: Tree | Leaf | None = tree
    for depth, key in enumerate(keys[:-1], start=1):
        node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, Leaf):
            parent = ".".join(keys[:depth])
            held = f"'{parent}' holds {show(node.value)} and has no keys of its own"
            raise InputError(f"command line: {override}: {held}. Did you mean {parent}=...?")


def _with_names(tree: Tree, prefix: str = "") -> Tree:
    """`decoder: fcn8s` written out as `decoder: {name: fcn8s}`."""
    result: Tree = {}
    for key, item in tree.items():
        if isinstance(item, dict):
            result[key] = _with_names(item, f"{prefix}{key}.")
        else:
            bare = prefix + key in COMPONENTS and isinstance(item.value, str)
            result[key] = {"name": item} if bare else item
    return result


def _merge(low: Tree, high: Tree, components: Collection[str], prefix: str = "") -> Tree:
    """`high` over `low`; a component of another name starts empty."""
    result = dict(low)
    for key, item in high.items():
        old, path = result.get(key), prefix + key
        if isinstance(old, dict) and isinstance(item, dict):
            item = _merge(
                {} if path in components and _replaces(old, item, path) else old, item, components, f"{path}."
            )
        result[key] = item
    return result


def _replaces(old: Tree, item: Tree, path: str) -> bool:
    """Whether `item` is another component than `old`: it has another name, or only one of the two is a whole model."""
    if path == WHOLE and "name" not in item:
        return "name" in old and "decoder" in item
    if path == WHOLE and "name" not in old:
        return True
    return "name" in old and "name" in item and values_of(old["name"]) != values_of(item["name"])


def _plain_options(tree: Tree) -> Tree:
    """`tree` with the options of a whole model that are called as components elsewhere as plain text again."""
    model = tree.get(WHOLE)
    if not isinstance(model, dict) or "name" not in model:
        return tree
    bare = {key: item["name"] for key, item in model.items() if isinstance(item, dict) and item.keys() == {"name"}}
    return {**tree, WHOLE: {**model, **bare}}


class _References:
    """Values of a config by dotted key, with each `${a.b}` in them replaced by the value of that key.

    Whatever a config holds, the work is bounded: what is referred to is small, and found once.
    """

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str]):
        self.values, self.sources = values, sources
        self.found: dict[str, Any] = {}
        self.open: list[str] = []  # keys whose values are being found, each referred to by the one before

    def replaced(self, value: Any, key: str = "") -> Any:
        """`value`, which is at `key`, without references."""
        if isinstance(value, dict):
            return {name: self.replaced(item, f"{key}.{name}" if key else name) for name, item in value.items()}
        if isinstance(value, list):
            return [self.replaced(item, key) for item in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        parts = _REFERENCE.split(value)  # text, key, text, key, ..., text
        if any("${" in text for text in parts[::2]):
            raise self.refusal(key, f"{show(value[:80])} is no reference.")
        if len(parts) == 3 and not parts[0] and not parts[2]:
            return self.value_of(parts[1], key)
        words = [self.value_of(part, key) if place % 2 else part for place, part in enumerate(parts)]
        return "".join(word if isinstance(word, str) else show(word) for word in words)

    def value_of(self, wanted: str, key: str) -> Any:
        """The value at `wanted`, to which the value at `key` refers."""
        if wanted in self.found:
            return self.found[wanted]
        if wanted in self.open or len(self.open) == _MAX_CHAIN:
            raise self.refusal(key, f"${{{wanted}}} leads back to itself, or through more than {_MAX_CHAIN} others.")
        node: Any = self.values
        for part in wanted.split("."):
            if not isinstance(node, Mapping) or part not in node:
                raise self.refusal(key, f"there is no value at '{wanted}'.{nearest(wanted, flat(self.values))}")
            node = node[part]
        self.open.append(wanted)
        value = self.replaced(node, wanted)
        self.open.pop()
        if len(json.dumps(value)) > _MAX_REFERRED:
            raise self.refusal(key, f"${{{wanted}}} holds more than {_MAX_REFERRED} characters.")
        self.found[wanted] = value
        return value

    def refusal(self, key: str, reason: str) -> InputError:
        return InputError(
            f"{self.sources.get(key, 'the config')}: {key}: {reason} Write ${{a.b}} for the value of a.b."
        )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a nested dict."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result
