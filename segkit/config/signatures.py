"""Options of a constructor, read from its signature: types, defaults, and both in words."""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

# An option of this type holds other components of the same table: name -> weight, or weight and options. It arrives as
# name -> {"weight": ..., OPTION: ...}, complete and checked.
Terms = NewType("Terms", Mapping[str, Mapping[str, Any]])

_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path", NoneType: "null"}
_WORDS[Terms] = "names and weights, such as {cross_entropy: 1.0, dice: 0.5}"


def signature_options(constructor: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the types and defaults of the keyword-only parameters: those that a config may set.

    Raises:
        TypeError: a mistake in the code: an option has no type, is called `name`, or is hidden in `**kwargs`.
    """
    types: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for key, parameter in inspect.signature(constructor, eval_str=True).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            raise TypeError(f"{constructor.__name__} takes **{key}, which hides its options")
        if parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.annotation is parameter.empty:
                raise TypeError(f"{constructor.__name__}'s option '{key}' has no type")
            if key == "name":
                raise TypeError(f"{constructor.__name__} has an option 'name', which is the component's own name")
            types[key] = parameter.annotation
            if parameter.default is not parameter.empty:
                defaults[key] = parameter.default
    return types, defaults


def check_options(types: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` in their types: lists become tuples, text a path, 1 a float. Nothing else is converted.

    Raises:
        pydantic.ValidationError: naming every unknown, missing and wrong option.
    """
    found = options_form(types).validate_json(json.dumps(dict(values), default=str))
    return {key: found[key] for key in types}


def options_form(types: Mapping[str, Any]) -> TypeAdapter:
    """Return the validator of options of these types.

    Raises:
        pydantic.errors.PydanticUserError: a mistake in the code: no config can hold a value of the type.
    """
    strict = with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
    return TypeAdapter(strict(TypedDict("form", dict(types))))  # pyright: ignore


def expected(annotation: Any) -> str:
    """Describe the values of a type: `an integer >= 1 or null`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return expected(arguments[0]) + bounds(arguments[1:])
    if origin in (Union, UnionType):
        return " or ".join(map(expected, arguments))
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(str, arguments))
    if origin is tuple and (arguments[-1] is Ellipsis or len(set(arguments)) == 1):
        count = "" if arguments[-1] is Ellipsis else f" of {len(arguments)}"
        return f"a list{count} (each {expected(arguments[0])})"
    if origin is tuple:
        return f"a list of {len(arguments)} ({', '.join(map(expected, arguments))})"
    return _WORDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def bounds(metadata: Any) -> str:
    """Describe the limits of a number: ` >= 0 and <= 1`, or an empty string."""
    symbols = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}
    limits = [(symbols[type(item)], item) for item in metadata if type(item) in symbols]
    words = [f"{symbol} {getattr(item, attribute)}" for (attribute, symbol), item in limits]
    return " " + " and ".join(words) if words else ""


def show(value: Any) -> str:
    """Return a value on one line, spelled as in a config file."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(show, value)) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return repr(str(value)) if isinstance(value, str | Path) else repr(value)
