"""Validation of a plain dict as a run config: every problem under its key, in one message."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from segkit.config.ranges import Positive
from segkit.config.renamed import RENAMED_KEYS
from segkit.config.schema import COMPONENTS, Component, RunConfig, Section, Tables
from segkit.config.signatures import Terms, bounds, check_options, expected, show, signature_options
from segkit.errors import InputError, nearest

_MOST_SHOWN = 50  # problems in one message

_SECTIONS: dict[str, type[Section]] = {"": RunConfig} | {
    name: info.annotation
    for name, info in RunConfig.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}


def validate(values: Mapping, sources: Mapping[str, str], tables: Tables, *, config: str = "The config") -> RunConfig:
    """Return the config that `values` describe.

    Args:
        values: plain nested dict, as `segkit.config.resolve.resolve` gives it.
        sources: dotted key -> where it was set, for the messages.
        tables: the constructors of each place in `COMPONENTS`; their keyword-only parameters are the options.
        config: name of the config in the first line of a message, usually its path.
    Raises:
        InputError: naming every problem of the whole config, one a line, at most 50.
    """
    check = _Check(values, sources, tables)
    run_config = check.run()
    if check.problems or run_config is None:
        order = {key: rank for rank, key in enumerate(RunConfig.model_fields)}
        lines = sorted(check.problems.items(), key=lambda item: order.get(item[0].split(".")[0], len(order)))
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        more = [f"and {len(lines) - _MOST_SHOWN} more"] * (len(lines) > _MOST_SHOWN)
        raise InputError("\n  ".join([f"{config} has {count}:", *(line for _, line in lines[:_MOST_SHOWN]), *more]))
    return run_config


class _Check:
    """One pass over the whole config that records each problem under its key."""

    def __init__(self, values: Mapping, sources: Mapping[str, str], tables: Tables):
        self.values, self.sources, self.tables = values, sources, tables
        self.problems: dict[str, str] = {}  # dotted key -> line

    def run(self) -> RunConfig | None:
        tree = {key: dict(item) if isinstance(item, Mapping) else item for key, item in self.values.items()}
        for name in filter(None, _SECTIONS):
            tree.setdefault(name, {})  # so that its missing keys are named, not the section
        absent = self.absent_components(tree["model"])
        for key in COMPONENTS:
            *parent, last = key.split(".")
            section = tree[parent[0]] if parent else tree
            if key not in absent and isinstance(section, dict):
                section[last] = self.component(key, last in section, section.get(last))
        try:
            return RunConfig.model_validate(tree)
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                self.section_problem(problem["type"], [str(part) for part in problem["loc"]], problem["msg"])
            return None

    def absent_components(self, model: Any) -> set[str]:
        """Components that a `model` section does not need: an encoder and a decoder, or a whole model."""
        parts, whole = {"model.encoder", "model.decoder"}, {"model.whole"}
        if not isinstance(model, dict):
            return parts | whole
        if "name" in model:  # the options beside it would all be unknown
            self.unknown("model.name", [])
            model.clear()
            return parts | whole
        if "whole" not in model:
            return whole
        if not model.keys() & {"encoder", "decoder"}:
            return parts
        self.wrong("model.whole", "expected either a whole model, or an encoder and a decoder. Leave one out.")
        return set()

    def component(self, key: str, given: bool, value: Any) -> Component:
        """The component at `key`; without a name if a problem was recorded."""
        table, kind = self.tables[key], COMPONENTS[key]
        available = ", ".join(sorted(table))
        options = {"name": value} if isinstance(value, str) else value
        name = options.get("name") if isinstance(options, Mapping) else None
        if not given or (isinstance(options, Mapping) and "name" not in options):
            self.missing(f"{key}.name" if given else key, f"the name of the {kind}: {available}")
        elif not isinstance(options, Mapping):
            self.wrong(key, f"expected the name of the {kind}, or its name and options. Available: {available}.")
        elif not isinstance(name, str) or name not in table:
            self.wrong(f"{key}.name", f"unknown {kind}.{nearest(str(name), sorted(table))} Available: {available}.")
        else:
            return Component(name, self.options(key, key, name, {k: v for k, v in options.items() if k != "name"}))
        return Component("")

    def terms(self, place: str, key: str, given: Any) -> Mapping[str, Any]:
        """The components of the table of `place` that an option at `key` holds, by name; see `Terms`."""
        if not isinstance(given, Mapping) or not given:
            self.wrong(key, f"expected {expected(Terms)}.")
            return {}
        table, terms = self.tables[place], {}
        for name, item in given.items():
            if name in table:
                options = item if isinstance(item, Mapping) else {"weight": item}
                terms[name] = self.options(place, f"{key}.{name}", name, options, is_term=True)
            else:
                guess, available = nearest(name, sorted(table)), ", ".join(sorted(table))
                self.wrong(f"{key}.{name}", f"unknown {COMPONENTS[place]}.{guess} Available: {available}.")
        return terms

    def options(
        self, place: str, key: str, name: str, given: Mapping[str, Any], *, is_term: bool = False
    ) -> Mapping[str, Any]:
        """The options at `key` of a component of the table of `place`; `is_term`: one of several, with a weight."""
        types, defaults = signature_options(self.tables[place][name])
        if is_term:
            types, defaults = {"weight": Positive, **types}, {"weight": 1.0, **defaults}
        holding = [option for option in given if types.get(option) is Terms]
        nested = {option: self.terms(place, f"{key}.{option}", given[option]) for option in holding}
        try:
            return {**check_options(types, {**defaults, **given, **nested}), **nested}
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                option = str(problem["loc"][0])
                if problem["type"] == "extra_forbidden":
                    self.unknown(f"{key}.{option}", [*([] if is_term else ["name"]), *types], f" of {name}")
                elif problem["type"] == "missing" and len(problem["loc"]) == 1:
                    self.missing(f"{key}.{option}", expected(types[option]))
                else:
                    self.wrong(f"{key}.{option}", f"expected {expected(types[option])}.", defaults.get(option))
            return {}

    def section_problem(self, kind: str, parts: list[str], message: str) -> None:
        """Record one error that pydantic found at `parts`, in our words."""
        place = parts[0] if parts[0] in _SECTIONS and len(parts) > 1 else ""
        last = parts[1] if place else parts[0]
        key = f"{place}.{last}" if place else last
        fields = _SECTIONS[place].model_fields
        if kind == "extra_forbidden":
            self.unknown(key, list(_SECTIONS[place].model_fields))
        elif key in _SECTIONS:
            self.wrong(key, f"expected a section with the keys {', '.join(_SECTIONS[key].model_fields)}.")
        elif kind == "missing" and key.endswith(parts[-1]):
            self.missing(key, _expected_field(fields[last]))
        elif kind == "no_length":
            self.missing("training.epochs", "either training.epochs or training.steps")
        else:
            self.wrong(key, message if kind == "rule" else f"expected {_expected_field(fields[last])}.")

    def missing(self, key: str, what: str) -> None:
        line = f"{key} is missing: expected {what}. Set it in the file or on the command line: {key}=..."
        self.problems.setdefault(key, line)

    def unknown(self, key: str, known: list[str], of: str = "") -> None:
        if key in RENAMED_KEYS:
            self.wrong(key, f"this key is now {RENAMED_KEYS[key]}. Write that instead.")
            return
        word = key.rpartition(".")[2]
        guess = nearest(word, known)
        homes = [place for place, section in _SECTIONS.items() if place and word in section.model_fields]
        if not guess and homes and word != "name":
            guess = f" Did you mean '{homes[0]}.{word}'?"
        self.wrong(key, f"unknown key{of}.{guess} Known keys: {', '.join(known)}.")

    def wrong(self, key: str, sentence: str, default: Any = None) -> None:
        value, source = self.lookup(key, default)
        self.problems.setdefault(key, f"{key} = {value} ({source}): {sentence}")

    def lookup(self, key: str, default: Any) -> tuple[str, str]:
        """The value at `key` on one line, and where it was set."""
        value: Any = self.values
        for part in key.split("."):
            if not isinstance(value, Mapping) and part in ("name", "weight"):  # a component by its name or weight alone
                break
            if not isinstance(value, Mapping) or part not in value:
                return show(default), "default"
            value = value[part]
        below = (source for place, source in self.sources.items() if place.startswith(f"{key}."))
        bare = key.removesuffix(".name").removesuffix(".weight")
        source = self.sources.get(key) or self.sources.get(bare) or next(below, "the config")
        text = show(value)
        return text if len(text) <= 80 else f"{text[:77]}...", source.partition(": ")[0]


def _expected_field(info: FieldInfo) -> str:
    return info.description or expected(info.annotation) + bounds(info.metadata)
