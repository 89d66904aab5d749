"""Config files with `base:` and `a.b=c` overrides, merged into one nested dict with the source of each value."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.renamed import with_new_names
from segkit.config.schema import COMPONENTS
from segkit.config.signatures import show
from segkit.config.yaml import MAX_DEPTH, Leaf, Tree, dump, leaves, load, mapping_of, parse, values_of
from segkit.errors import InputError, nearest

__all__ = ["Resolved", "config_hash", "differing", "dump", "flat", "load", "read_file", "resolve"]

_MAX_FILES = 100  # of one config
_COMMAND_LINE = "command line: "  # start of an override's source


@dataclass(frozen=True)
class Resolved:
    """A config after bases and overrides: plain nested values, and the source of each dotted key.

    A source is "FILE:LINE" or "command line: a.b=c"; a key that has none has its default.
    """

    values: dict[str, Any]
    sources: dict[str, str]


def resolve(layers: Path | Sequence[Path | Tree], overrides: Sequence[str] = ()) -> Resolved:
    """Read a config file: its bases in order, then the file, then the overrides; the later wins.

    Where a later layer names another component, the options that earlier layers gave to the former one are dropped. A
    whole model replaces encoder, decoder and initialize_from, and is replaced by an encoder or a decoder. The plugins
    of all layers are kept, each as {file, config: the file that names it}. Other paths are left as written.

    Args:
        layers: the file, or several files and trees (as `yaml.parse` gives them), each over the ones before.
        overrides: `a.b=c` each.
    Raises:
        InputError: naming the file and line, or the override, that cannot be used.
    """
    tree: Tree = {}
    for layer in [Path(layers)] if isinstance(layers, str | Path) else layers:
        tree = _merge(tree, _written_out(layer) if isinstance(layer, dict) else _load_file(layer, "", (), []))
    given: Tree = {}
    for override in overrides:  # all overrides are one layer, so their order matters only for equal keys
        given = _merge(given, _parse_override(override), replace=False)
    tree = _merge(tree, given)
    for key, leaf in leaves(tree):
        if isinstance(leaf.value, str) and "${" in leaf.value:
            value = f"{key} = {show(leaf.value)}"
            raise InputError(f"{leaf.source}: {value}: references are not supported. Write the value.")
    return Resolved(values_of(tree), {key: leaf.source for key, leaf in leaves(tree)})


def config_hash(values: Mapping[str, Any]) -> str:
    """Return 12 hex digits that identify a config, whatever the order of its keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _load_file(path: Path, wanted_by: str, above: tuple[Path, ...], read: list[Path]) -> Tree:
    """The tree of one file on top of its bases. `above`: the files whose bases led here; `read`: all files so far."""
    text = read_file(path, f"{wanted_by}: the base" if wanted_by else "The config file")
    read.append(path)
    if len(read) > _MAX_FILES:
        raise InputError(f"{wanted_by}: more than {_MAX_FILES} files are read, one for each mention. Name fewer bases.")
    if any(os.path.samefile(file, path) for file in above):
        raise InputError(f"{wanted_by}: the base '{path}' leads back to itself. Remove one of the `base:` lines.")
    tree = mapping_of(parse(text, str(path)), str(path))
    if path.name == "config.yaml" and (path.parent / "environment.json").is_file():
        tree = with_new_names(tree)  # a run of an earlier version
    base = tree.pop("base", Leaf([], ""))
    names, source = values_of(base), base.source if isinstance(base, Leaf) else str(path)
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{source}: base = {show(names)}: expected a path, or a list of paths, relative to this file.")
    result: Tree = {}
    for name in names:
        file = Path(os.path.normpath(path.parent / name))
        result = _merge(result, _load_file(file, source, (*above, path), read))
    return _merge(result, _written_out(tree))


def read_file(path: Path, what: str) -> str:
    """Return the text of a YAML file.

    Args:
        what: start of a message, such as "The config file".
    Raises:
        InputError: if it is missing, a folder, or not UTF-8 text.
    """
    try:
        if path.is_dir():
            raise InputError(f"{what} '{path}' is a folder; expected a YAML file.{_files_like(path / 'x', path)}")
        if not path.is_file():
            raise InputError(f"{what} '{path}' does not exist.{_files_like(path, path.parent)}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{what} '{path}' is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{what} '{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def _files_like(path: Path, folder: Path) -> str:
    if not folder.is_dir():
        return f" Neither does its folder '{folder}'."
    names = sorted(file.name for file in folder.iterdir() if file.suffix in (".yaml", ".yml"))
    guess = nearest(path.name, names)
    more = ", ..." if len(names) > 8 else "."
    return guess or (f" '{folder}' has {', '.join(names[:8])}{more}" if names else " Check the path.")


def _parse_override(override: str) -> Tree:
    """The tree of one `a.b=c`."""
    origin = f"{_COMMAND_LINE}{override}"
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
    return _written_out(mapping_of(tree, origin))


def _written_out(tree: Tree, prefix: str = "") -> Tree:
    """Write out `decoder: fcn8s` as `decoder: {name: fcn8s}`, and plugins with the config that names them."""
    result: Tree = {}
    for key, item in tree.items():
        if isinstance(item, dict):
            result[key] = _written_out(item, f"{prefix}{key}.")
        elif prefix + key in COMPONENTS and isinstance(item.value, str):
            result[key] = {"name": item}
        else:
            result[key] = _with_config(item) if prefix + key == "plugins" else item
    return result


def _with_config(plugins: Leaf) -> Leaf:
    """The files of `plugins: [FILE.py]`, as paths from the current folder; those of an override are that already."""
    items = plugins.value if isinstance(plugins.value, list) else [] if plugins.value is None else [plugins.value]
    config = "" if plugins.source.startswith(_COMMAND_LINE) else plugins.source.rpartition(":")[0]
    found = []
    for item in items:
        item = {"file": item} if isinstance(item, str) else item
        if not isinstance(item, dict) or not all(isinstance(text, str) for text in item.values()):
            expected = "a Python file, or a list of them, each as a path relative to this file"
            raise InputError(f"{plugins.source}: plugins = {show(plugins.value)}: expected {expected}.")
        if "file" in item:  # otherwise a package that a run has recorded
            file = os.path.normpath(os.path.join(os.path.dirname(config), item["file"]))
            item = {**item, "file": file, "config": config}
        found.append(item)
    return Leaf(found, plugins.source)


def _merge(low: Tree, high: Tree, *, replace: bool = True, prefix: str = "") -> Tree:
    """Merge `high` over `low`; a component of another name starts empty if `replace`."""
    result = dict(low)
    for key, item in high.items():
        old, path = result.get(key), prefix + key
        if isinstance(old, dict) and isinstance(item, dict):
            old = {} if replace and _is_another(old, item, path) else old
            item = _merge(old, item, replace=replace, prefix=f"{path}.")
        elif path == "plugins" and isinstance(old, Leaf) and isinstance(item, Leaf):
            item = Leaf([*old.value, *(each for each in item.value if each not in old.value)], item.source)
        result[key] = item
    return result


def _is_another(old: Tree, item: Tree, path: str) -> bool:
    """Return whether `item` is another component than `old`, or another kind of model (whole or in two parts)."""
    if path == "model":
        kinds = ["whole" in each if each.keys() & {"whole", "encoder", "decoder"} else None for each in (old, item)]
        return None not in kinds and kinds[0] != kinds[1]
    both_named = path in COMPONENTS and "name" in old and "name" in item
    return both_named and values_of(old["name"]) != values_of(item["name"])


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested dict with dotted keys."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Dotted key -> the value in each config, as text, where they differ; `-` where one has no such option."""
    each_flat = [flat(values) for values in configs]
    keys = dict.fromkeys(key for values in each_flat for key in values)
    shown = {key: tuple(show(values[key]) if key in values else "-" for values in each_flat) for key in keys}
    return {key: texts for key, texts in shown.items() if len(set(texts)) > 1}
