"""Components from outside: from plugin files that a config names, and from installed packages.

A plugin file offers components in dicts named as the tables, such as `DECODERS = {"my_decoder": MyDecoder}`; a package
offers them by entry points of the group `segkit.decoders`, and likewise for each table of `OFFERED`. Both join the
tables under the same checks as segkit's own components.

A plugin file is code. The copy in a run folder runs only where its content is known: this machine trained with it, or
the user trusts it (`segkit --trust-plugins`, which is SEGKIT_TRUST_PLUGINS=1 in the environment).
"""

import hashlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic.errors import PydanticUserError

from segkit.config.schema import COMPONENTS, FOLDER_NAME, PLUGINS, Package, PluginFile, Tables
from segkit.config.signatures import options_form, show, signature_options
from segkit.errors import InputError, nearest
from segkit.system.files import cache_folder

TRUST = "SEGKIT_TRUST_PLUGINS"  # environment variable: 1 runs the plugin files of any run folder

# Place in a config -> name under which outside components are offered, and the arguments before their options.
OFFERED: dict[str, tuple[str, tuple[str, ...]]] = {
    "data": ("datasets", ("split",)),
    "model.whole": ("models", ("num_classes", "restore")),
    "model.encoder": ("encoders", ("restore",)),
    "model.decoder": ("decoders", ("stages", "num_classes")),
    "loss.function": ("losses", ("class_weights",)),
    "loss.class_weights": ("class_weights", ()),
    "optimizer": ("optimizers", ("model", "pretrained")),
    "schedule": ("schedules", ("optimizer", "total_steps", "steps_per_epoch")),
}

_trusted: set[str] = set()  # SHA-256 of plugin files that the user's own configs named in this process


def with_outside_components(
    tables: Tables, files: Sequence[PluginFile], values: Mapping[str, Any]
) -> tuple[Tables, tuple[Package, ...]]:
    """Return the tables joined by the components of plugin files and packages, and the packages that were imported.

    Of the packages, only those are imported whose components the config names; its `values` need not be valid.

    Raises:
        InputError: if a plugin file or a named component of a package fails or is unusable, or a name is taken.
    """
    joined = {place: dict(table) for place, table in tables.items()}
    owners = {(place, name): "segkit" for place, table in tables.items() for name in table}
    for file in files:
        module = load_plugin(file)
        for place, (group, _) in OFFERED.items():
            for name, constructor in getattr(module, group.upper(), {}).items():
                owner = owners.setdefault((place, name), str(file.file))
                if owner != str(file.file):
                    taken = f"{owner} has a {COMPONENTS[place]} of that name already. Choose another name."
                    raise InputError(f"{file.file}: {group.upper()}['{name}']: {taken}")
                joined[place][name] = constructor
    packages: dict[str, Package] = {}
    names = {place: _names(_at(values, place)) for place in OFFERED}
    for place, entry in _entries():
        assert entry.dist is not None  # of what `entry_points` finds
        package = Package(package=entry.dist.name, version=entry.dist.version)
        owner = owners.setdefault((place, entry.name), f"the package {package.package}")
        if entry.name not in names[place]:
            joined[place].setdefault(entry.name, entry.load)
            continue
        if owner != f"the package {package.package}":
            raise InputError(
                f"{place} = '{entry.name}': both {owner} and the package {package.package} {package.version} have a "
                f"{COMPONENTS[place]} of that name; expected one. Uninstall that package, or rename the other."
            )
        joined[place][entry.name] = _load_entry(place, entry, package)
        packages[package.package] = package
    return joined, tuple(packages.values())


def plugin_files(listed: Any) -> tuple[PluginFile, ...]:
    """Find the plugin files that `resolve` lists, and hash them. None of their code runs yet.

    Raises:
        InputError: if there is no such file, it is not the one that a run was trained with, two have one name, or it
            came with a run folder and is not trusted.
    """
    files: dict[str, PluginFile] = {}
    for item in listed or ():
        if not isinstance(item, Mapping) or item.keys() - {"file", "sha256", "config", "package", "version"}:
            raise InputError(f"plugins = {show(listed)}: expected a list of Python files.")
        if "package" in item or "file" not in item:
            continue
        path, config = Path(item["file"]), Path(item.get("config", ""))
        content = _content(path, f"{config}: " if config.name else "")
        found = PluginFile(file=path, sha256=hashlib.sha256(content).hexdigest())
        if found.sha256 != item.get("sha256", found.sha256):
            trained_with = f"the run was trained with {item['sha256']}. Restore the file."
            raise InputError(f"{path} has the SHA-256 {found.sha256}, {trained_with}")
        if config.name == "config.yaml" and _is_run(config.parent):
            _require_trusted(found, config.parent)
        elif path.parent.name == PLUGINS and _is_run(path.parent.parent):
            _require_trusted(found, path.parent.parent)
        _trusted.add(found.sha256)
        other = files.setdefault(path.name, found)
        if other.sha256 != found.sha256:
            raise InputError(f"{other.file} and {path}: two plugins have one file name. Rename one.")
    return tuple(files.values())


def load_plugin(file: PluginFile) -> ModuleType:
    """Run a plugin file, once in a process, and return its module.

    Raises:
        InputError: if it fails, has changed since the config was read, or offers something unusable.
    """
    name = f"segkit_plugin_{file.file.stem}_{file.sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    content = _unchanged(file)  # no cached bytecode either: exactly the hashed text runs
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(file.file)
    try:
        exec(compile(content, str(file.file), "exec"), module.__dict__)
        _check_offers(module, file.file)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, InputError):
            raise
        if isinstance(error, SyntaxError):
            raise InputError(f"{error.filename}:{error.lineno}: {error.msg}. Fix the plugin.") from None
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(file.file)]
        place = f"{file.file}:{lines[-1]}" if lines else str(file.file)
        raise InputError(f"{place}: {type(error).__name__}: {error}. Fix the plugin.") from None
    return module


def load_plugins(files: Sequence[PluginFile]) -> None:
    """Let pickle find the classes of plugin files, in a process that has not read the config."""
    for file in files:
        load_plugin(file)


def plugin_copies(files: Sequence[PluginFile]) -> dict[str, str]:
    """Return the copies that a run folder keeps: path in it -> text. This machine trusts these files from now on.

    Raises:
        InputError: if a file has changed since the config was read.
    """
    copies = {}
    for file in files:
        copies[f"{PLUGINS}/{file.file.name}"] = _unchanged(file).decode()
        with suppress(OSError):
            _trust_folder().mkdir(parents=True, exist_ok=True)
            (_trust_folder() / file.sha256).write_text(f"{file.file.resolve()}\n")
    return copies


def trust_run(folder: Path) -> None:
    """Trust the plugin files of a run folder as they are now, in this process."""
    for path in (folder / PLUGINS).glob("*.py"):
        _trusted.add(hashlib.sha256(path.read_bytes()).hexdigest())


def require_constructor(constructor: Any, place: str, where: str) -> None:
    """Raise InputError, starting with `where`, unless a config can hold the options of a component."""
    arguments = OFFERED[place][1]
    expected = ", ".join([*arguments, "*", "option: type = default, ..."])
    try:
        if not callable(constructor):
            raise TypeError(f"{show(constructor)} is not a class or function")
        parameters = inspect.signature(constructor, eval_str=True).parameters.values()
        before = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        if len(before) != len(arguments) and not any(each.kind is each.VAR_POSITIONAL for each in parameters):
            raise TypeError(f"{constructor.__name__} takes ({', '.join(before)}) before its options")
        options_form(signature_options(constructor)[0])
    except (TypeError, ValueError, NameError, PydanticUserError) as error:
        reason = str(error).partition("\n")[0]
        form = f"a {COMPONENTS[place]} is expected to take ({expected}): options after '*', each typed."
        raise InputError(f"{where}: {reason}; {form}") from None


def _at(values: Any, place: str) -> Any:
    """The value at a dotted key, None where there is none."""
    for key in place.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _names(component: Any) -> set[str]:
    """Return all names that may stand for a component: its own, and the keys of its options at any depth."""
    if not isinstance(component, Mapping):
        return set()
    return {str(component.get("name")), *component}.union(*map(_names, component.values()))


def _check_offers(module: ModuleType, path: Path) -> None:
    """Raise InputError unless a plugin offers components in dicts of the right names."""
    tables = {group.upper(): place for place, (group, _) in OFFERED.items()}
    for title, place in tables.items():
        offered = getattr(module, title, {})
        if not isinstance(offered, dict) or not all(isinstance(name, str) for name in offered):
            raise InputError(f"{path}: {title} = {show(offered)}: expected a dict from names to constructors.")
        for name, constructor in offered.items():
            if not re.fullmatch(FOLDER_NAME, name):
                raise InputError(f"{path}: {title}['{name}']: expected a name of letters, digits, '.', '_' and '-'.")
            require_constructor(constructor, place, f"{path}: {title}['{name}']")
    if not any(getattr(module, title, None) for title in tables):
        guess = next(filter(None, (nearest(name, tables) for name in vars(module) if name.isupper())), "")
        expected = "Expected a dict such as DECODERS = {'my_decoder': MyDecoder}."
        raise InputError(f"{path} offers no component.{guess} {expected}")


@cache
def _entries() -> list[tuple[str, EntryPoint]]:
    """Place and entry point of each component that an installed package offers. No package is imported."""
    found = entry_points()
    return [(place, entry) for place, (group, _) in OFFERED.items() for entry in found.select(group=f"segkit.{group}")]


def _load_entry(place: str, entry: EntryPoint, package: Package) -> Callable[..., Any]:
    """The constructor that a package offers."""
    where = f"{place} = '{entry.name}', of the package {package.package} {package.version} ({entry.value})"
    try:
        constructor = entry.load()
    except Exception as error:
        raise InputError(f"{where}: {type(error).__name__}: {error}. Repair or uninstall the package.") from None
    require_constructor(constructor, place, where)
    return constructor


def _unchanged(file: PluginFile) -> bytes:
    """The bytes of a plugin file, which are still those that were hashed."""
    content = _content(file.file)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise InputError(f"{file.file} has changed since the config was read. Repeat the command.")
    return content


def _content(path: Path, named_by: str = "") -> bytes:
    """The bytes of a plugin file."""
    where = f"{named_by}the plugin '{path}'"
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise InputError(f"{where}: expected the name of a Python file, such as my_decoder.py.")
    try:
        content = path.read_bytes()
        content.decode()
        return content
    except FileNotFoundError:
        guess = nearest(path.name, [each.name for each in path.parent.glob("*.py")])
        raise InputError(f"{where} does not exist.{guess} Check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{where} cannot be read: {reason}.") from None


def _is_run(folder: Path) -> bool:
    """Return whether a folder with a config, or with plugins, looks like a run's."""
    return any((folder / name).exists() for name in ("environment.json", "metrics.jsonl", "result.json", "checkpoints"))


def _require_trusted(file: PluginFile, run: Path) -> None:
    """Raise InputError if nobody on this machine is known to trust a plugin file that came with a run folder."""
    known = file.sha256 in _trusted or os.path.isfile(_trust_folder() / file.sha256)
    if not known and os.environ.get(TRUST) != "1":
        raise InputError(
            f"{run} brings code, {file.file}, with which nothing was trained on this machine; it was not run. "
            "Read it; if you trust it, repeat the command as 'segkit --trust-plugins ...'."
        )


def _trust_folder() -> Path:
    """The folder with one file, named by a hash, for each plugin file that this machine has trained with."""
    return cache_folder() / "trusted_plugins"
