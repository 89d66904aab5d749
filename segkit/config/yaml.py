"""YAML without its traps: text to plain values with their lines, and back; ambiguous text is refused."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from segkit.errors import InputError

MAX_DEPTH = 50  # of keys in keys and lists in lists
_MAX_TEXT = 100_000  # characters of one file, which take about two seconds to read; the longest config has 3,000
_MAX_VALUES = 10_000  # of one file: stops a small file whose anchors multiply
_TAG = "tag:yaml.org,2002:"
_NUMBER = r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?"
_SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": _NUMBER,
    "merge": "<<",
    "ambiguous": r"[-+]?(0[0-9_]+|0o[0-7]+|0x[0-9a-fA-F]+|0b[01]+|[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?)",
}


class Leaf(NamedTuple):
    """A scalar or list of a config, and where it was set: "FILE:LINE", or "command line: a.b=c"."""

    value: Any
    source: str


Tree = dict[str, Any]  # nested dict with a Leaf at each end


def parse(text: str, origin: str, *, lines: bool = True, dots: bool = False) -> Tree | Leaf | None:
    """Read one YAML text; None if it is empty.

    Args:
        text: one YAML document.
        origin: its name in messages and sources.
        lines: `origin` is a file, so that line numbers help.
        dots: keys may have dots.
    Raises:
        InputError: naming `origin` and the line.
    """
    return _Reader(origin, lines, dots).read(text)


def load(text: str, origin: str = "text") -> dict[str, Any]:
    """Read one YAML text as a plain dict, without bases.

    Raises:
        InputError: naming `origin` and the line.
    """
    return values_of(mapping_of(parse(text, origin), origin))


def mapping_of(tree: Tree | Leaf | None, origin: str) -> Tree:
    """Return `tree` itself, or {} for an empty text.

    Raises:
        InputError: if the text holds something other than keys and values.
    """
    if isinstance(tree, Leaf):
        kind = "a list" if isinstance(tree.value, list) else "a single value"
        raise InputError(f"{origin} holds {kind}; expected keys and values, such as 'seed: 1'.")
    return tree or {}


def dump(values: Mapping[str, Any]) -> str:
    """Write YAML text that `load` reads back as the same values and types.

    Raises:
        ValueError: for NaN or Inf, which no config may hold.
    """
    json.dumps(values, allow_nan=False)
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Yield dotted key and leaf, in the order of the file."""
    for key, item in tree.items():
        if isinstance(item, Leaf):
            yield prefix + key, item
        else:
            yield from leaves(item, f"{prefix}{key}.")


def values_of(tree: Tree | Leaf) -> Any:
    """Return plain values, without their sources."""
    return tree.value if isinstance(tree, Leaf) else {key: values_of(item) for key, item in tree.items()}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # ours only: no on/off, no octals, no dates


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_list(self, data: Any) -> yaml.Node:
        return self.represent_sequence(f"{_TAG}seq", data, flow_style=True)

    def represent_text(self, data: str) -> yaml.Node:
        style = None if data.isprintable() else '"'  # PyYAML loses some line breaks in its other styles
        return self.represent_scalar(f"{_TAG}str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_list)
_Dumper.add_representer(tuple, _Dumper.represent_list)
for _name, _pattern in _SCALARS.items():
    for _class in (_Loader, _Dumper):  # the writer quotes text that YAML's own rules or ours would read otherwise
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})\\Z"), None)


class _Reader:
    """Reader of one YAML document into plain values with their lines."""

    def __init__(self, origin: str, lines: bool, dots: bool):
        self.origin, self.lines, self.dots, self.count = origin, lines, dots, 0

    def read(self, text: str) -> Tree | Leaf | None:
        if len(text) > _MAX_TEXT:
            expected = f"a config is expected to have at most {_MAX_TEXT}. Is it the right file?"
            raise InputError(f"{self.origin}: {len(text)} characters; {expected}")
        try:
            node = _Loader(text).get_single_node()
            return None if node is None else self.value(node, self.where(node))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f", line {mark.line + 1}, column {mark.column + 1}" if mark and self.lines else ""
            problem = (error.problem or error.context or "unreadable").replace("\n", " ")
            raise InputError(f"{self.origin}{place}: not valid YAML: {problem}.") from None
        except yaml.reader.ReaderError as error:
            message = f"{self.origin}: not valid YAML: character U+{error.character:04X} is not allowed."
            raise InputError(message) from None
        except RecursionError:
            raise self.too_deep() from None
        except (ValueError, OverflowError, yaml.YAMLError) as error:
            raise InputError(f"{self.origin}: not valid YAML: {error}.") from None

    def too_deep(self) -> InputError:
        limit = f"nested too deeply (more than {MAX_DEPTH} levels), or an anchor contains itself."
        return InputError(f"{self.origin}: {limit}")

    def where(self, node: yaml.Node) -> str:
        return f"{self.origin}:{node.start_mark.line + 1}" if self.lines else self.origin

    def value(self, node: yaml.Node, source: str, depth: int = 0) -> Tree | Leaf:
        self.count += 1
        if self.count > _MAX_VALUES:
            raise InputError(f"{self.where(node)}: more than {_MAX_VALUES} values; a config is expected to be small.")
        if depth > MAX_DEPTH:
            raise self.too_deep()
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return self.mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            return Leaf([values_of(self.value(item, source, depth + 1)) for item in node.value], source)
        if isinstance(node, yaml.ScalarNode) and tag in (*_SCALARS, "str"):
            return Leaf(self.scalar(node, tag), source)
        tag = node.tag.replace(_TAG, "!!")
        raise InputError(f"{self.where(node)}: the tag '{tag}' is not allowed. Write the plain value.")

    def mapping(self, node: yaml.MappingNode, depth: int) -> Tree:
        merged: Tree = {}
        own: Tree = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            where, line = self.where(key_node), key_node.start_mark.line + 1
            if key_node.tag == f"{_TAG}merge":
                parts = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for part in reversed(parts):
                    tree = self.value(part, where, depth + 1)
                    if isinstance(tree, Leaf):
                        raise InputError(f"{where}: '<<' expects a mapping, or a list of mappings.")
                    merged |= tree
                continue
            key = self.key(key_node)
            if key in first:
                place = f", on lines {first[key]} and {line}" if self.lines else ""
                raise InputError(f"{where}: key '{key}' is given twice{place}. Keep one.")
            first[key] = line
            own[key] = self.value(value_node, where, depth + 1)
        return merged | own

    def key(self, node: yaml.Node) -> str:
        text = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        if not isinstance(node, yaml.ScalarNode) or node.tag != f"{_TAG}str":
            expected = f"expected a key that is text, not {text or 'empty'}. Put it in quotes."
            raise InputError(f"{self.where(node)}: {expected}")
        self.scalar(node, "str")
        if not text or ("." in text and not self.dots):
            raise InputError(f"{self.where(node)}: key '{text}' is empty or has a dot. Write 'a: {{b: 1}}' for a.b.")
        return text

    def scalar(self, node: yaml.Node, tag: str) -> Any:
        text, where = node.value, self.where(node)
        if not re.fullmatch(_SCALARS.get(tag, "(?s:.*)"), text):
            raise InputError(f"{where}: '{text}' does not fit its tag '!!{tag}'. Write the plain value.")
        if tag == "ambiguous":
            digits = text.lstrip("+-0").replace("_", "") or "0"  # 010 most likely means 10
            number = text[: text[0] == "-"] + digits if digits.isdecimal() else "a decimal number"
            raise InputError(f"{where}: readers disagree on what {text} is. Write {number} or '{text}'.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError(f"{where}: half of a surrogate pair is not text. Write the whole character.")
        if tag == "float" and math.isinf(float(text)):
            raise InputError(f"{where}: {text} is too large for a number.")
        if tag == "bool":
            return text.lower() == "true"
        return {"null": lambda _: None, "int": int, "float": float}.get(tag, str)(text)
