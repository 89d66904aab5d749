"""What an Experiment is made of, and the check that a plain dict is one. Knows no concrete component and no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from segkit.errors import InputError, nearest
from segkit.ranges import Count, NotNegative, Positive, Share
from segkit.signatures import bounds, check_options, expected, show, signature_options

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

# Where an experiment holds a component, and what one is called in messages. `model` holds one where it has a name of its own: it has no
# encoder and no decoder then.
COMPONENTS = {
    "data": "dataset",
    "model": "whole model",
    "model.encoder": "encoder",
    "model.decoder": "decoder",
    "loss.function": "loss function",
    "loss.class_weights": "class weighting",
    "optimizer": "optimizer",
    "schedule": "schedule",
}

Tables = Mapping[str, Mapping[str, Callable[..., Any]]]  # dotted path of COMPONENTS -> name -> constructor


FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise PydanticCustomError("rule", "expected [low, high] with low <= high.")
    return pair


@dataclass(frozen=True)
class Component:
    """A name of one of the tables and every option of its constructor, defaults filled in."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __reduce__(self) -> tuple:
        return Component, (self.name, dict(self.options))  # a mapping proxy cannot be pickled


class Section(BaseModel):
    """A part of the experiment with fixed keys: strict types, frozen, no unknown keys."""

    model_config = _STRICT


class Model(Section):
    """What is trained: an encoder and, on top of it, a decoder; or a whole model, whose name and options stand in their place."""

    encoder: Component | None = None
    decoder: Component | None = None
    whole: Component | None = Field(default=None, alias="name")
    initialize_from: Annotated[Path, Strict(False)] | None = None  # checkpoint whose weights are loaded first

    @property
    def title(self) -> str:
        """What comparisons call it: the decoder; of a whole model its name, architecture and encoder, such as smp-unet-resnet34."""
        if self.whole is None:
            return self.decoder.name if self.decoder else ""
        words = [self.whole.name, *(self.whole.options.get(key) for key in ("architecture", "encoder"))]
        return "-".join(str(word).lower() for word in words if word)


class Loss(Section):
    """What is minimized."""

    function: Component
    class_weights: Component  # how much each class counts


class Transforms(Section):
    """What happens to an image before the network; all but `resolution` in training only."""

    resolution: Annotated[float, Gt(0), Le(4)] = 1.0  # network input / file on disk, as a ratio of sides
    scale: Annotated[tuple[Positive, Positive], Strict(False), AfterValidator(_ordered)] = (1.0, 1.0)  # random zoom
    crop: Annotated[tuple[Count, Count], Strict(False)] | None = None  # (height, width) in pixels, after resizing
    flip: Share = 0.5  # probability of a left-right flip
    color_jitter: Share = 0.0  # largest relative change of brightness, contrast and saturation
    pca_noise: NotNegative = 0.0  # standard deviation of AlexNet's colour noise


class Training(Section):
    """How long, on what and in which arithmetic. Exactly one of `epochs` and `steps` is given."""

    epochs: Count | None = None  # passes over the training split
    steps: Count | None = None  # optimizer updates
    batch_size: Count = 4  # images an update, over all devices
    replacement: bool = False  # draw samples with replacement instead of going through a shuffled split
    accumulation: Count = 1  # equal parts that a batch is computed in
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the forward pass; weights stay float32
    channels_last: bool = True  # memory layout of images
    workers: Annotated[int, Ge(0)] = 0  # processes that load data; 0: the main one
    cache: bool = False  # keep decoded images in memory
    gradient_clip: Positive | None = None  # largest norm of the gradient
    log_every: Count = 10  # steps

    @field_validator("steps")
    @classmethod
    def _one_length(cls, steps: int | None, info: Any) -> int | None:
        if "epochs" in info.data and (info.data["epochs"] is None) == (steps is None):
            raise PydanticCustomError("no_length" if steps is None else "two_lengths", "epochs or steps")
        return steps

    @field_validator("accumulation")
    @classmethod
    def _divides(cls, accumulation: int, info: Any) -> int:
        batch = info.data.get("batch_size", accumulation)
        if batch % accumulation:
            message = "expected a divisor of training.batch_size, which is {batch}."
            raise PydanticCustomError("rule", message, {"batch": batch})
        return accumulation


class Evaluation(Section):
    """When and how the validation split is scored."""

    every_epochs: Count = 1  # epochs between evaluations
    batch_size: Count = 1  # images


class Tracking(Section):
    """What a run is called, and who else is told of it. Nothing here changes a result, so it is no part of a run's identity."""

    method: Annotated[str, Field(min_length=1)] | None = None  # what comparisons call it; null: its decoder or whole model
    group: Annotated[str, Field(min_length=1)] | None = None  # the experiment that it belongs to
    wandb: Literal["disabled", "offline", "online"] = "disabled"
    project: Annotated[str, Field(min_length=1)] = "segkit"  # in Weights & Biases
    entity: Annotated[str, Field(min_length=1)] | None = None  # user or team in Weights & Biases; null: the default
    images: Annotated[int, Ge(0)] = 8  # validation images whose predictions are shown in Weights & Biases


class Experiment(Section):
    """Everything that decides the result of a run, and what to call it."""

    name: Annotated[str, Field(pattern=FOLDER_NAME)] = Field(
        description="text of letters, digits, '.', '_' and '-' that starts with a letter or digit"
    )
    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 0
    data: Component
    transforms: Transforms = Transforms()
    model: Model
    loss: Loss
    optimizer: Component
    schedule: Component
    training: Training
    evaluation: Evaluation = Evaluation()
    tracking: Tracking = Tracking()


_SECTIONS: dict[str, type[Section]] = {"": Experiment} | {
    name: info.annotation
    for name, info in Experiment.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}


def validate(values: Mapping, sources: Mapping[str, str], tables: Tables, *, config: str = "The config") -> Experiment:
    """The experiment that `values` describe.

    Args:
        values: plain nested dict, as `segkit.config.resolve` gives it.
        sources: dotted key -> where it was set, for the messages.
        tables: the constructors of each place in `COMPONENTS`; their keyword-only parameters are the options.
        config: what the first line of a message calls the config, usually its path.
    Raises:
        InputError: naming every problem of the whole config, one a line.
    """
    check = _Check(values, sources, tables)
    experiment = check.run()
    if check.problems or experiment is None:
        order = {key: rank for rank, key in enumerate(Experiment.model_fields)}
        lines = sorted(check.problems.items(), key=lambda item: order.get(item[0].split(".")[0], len(order)))
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        raise InputError("\n".join([f"{config} has {count}:", *(f"  {line}" for _, line in lines)]))
    return experiment


def experiment_values(experiment: Experiment) -> dict[str, Any]:
    """The complete plain dict of an experiment: every default written out, ready to save and to `validate` again."""
    return _plain(experiment)


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of an experiment's values decides the result: all but `tracking`."""
    return {key: value for key, value in values.items() if key != "tracking"}


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        whole = {"encoder": value.encoder, "decoder": value.decoder} if value.whole is None else _plain(value.whole)
        return {key: _plain(item) for key, item in {**whole, "initialize_from": value.initialize_from}.items()}
    if isinstance(value, Section):
        return {key: _plain(getattr(value, key)) for key in type(value).model_fields}
    if isinstance(value, Component):
        return {"name": value.name} | {key: _plain(item) for key, item in value.options.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class _Check:
    """One pass over the whole config that writes down each problem under its key."""

    def __init__(self, values: Mapping, sources: Mapping[str, str], tables: Tables):
        self.values, self.sources, self.tables = values, sources, tables
        self.problems: dict[str, str] = {}  # dotted key -> line

    def run(self) -> Experiment | None:
        tree = {key: dict(item) if isinstance(item, Mapping) else item for key, item in self.values.items()}
        for name in filter(None, _SECTIONS):
            tree.setdefault(name, {})  # so that its missing keys are named, not the section
        model = tree["model"]
        whole = isinstance(model, dict) and "name" in model
        if whole:
            given = {key: value for key, value in model.items() if key != "initialize_from"}
            tree["model"] = {"name": self.component("model", True, given), "initialize_from": model.get("initialize_from")}
        for key in COMPONENTS:
            if key == "model" or (whole and key.startswith("model.")):
                continue
            *parent, last = key.split(".")
            section = tree[parent[0]] if parent else tree
            if isinstance(section, dict):
                section[last] = self.component(key, last in section, section.get(last))
        try:
            return Experiment.model_validate(tree)
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                self.section_problem(problem["type"], [str(part) for part in problem["loc"]], problem["msg"])
            return None

    def component(self, key: str, given: bool, value: Any) -> Component:
        """The component at `key`; one without a name after a problem was written down."""
        table, kind = self.tables[key], COMPONENTS[key]
        available = ", ".join(sorted(table)) + ("; or an encoder and a decoder in place of a name" if key == "model" else "")
        options = {"name": value} if isinstance(value, str) else value
        name = options.get("name") if isinstance(options, Mapping) else None
        if not given or (isinstance(options, Mapping) and "name" not in options):
            self.missing(f"{key}.name" if given else key, f"the name of the {kind}: {available}")
        elif not isinstance(options, Mapping):
            self.wrong(key, f"expected the name of the {kind}, or its name and options. Available: {available}.")
        elif not isinstance(name, str) or name not in table:
            self.wrong(f"{key}.name", f"unknown {kind}.{nearest(str(name), sorted(table))} Available: {available}.")
        else:
            return Component(name, self.options(key, name, {k: v for k, v in options.items() if k != "name"}))
        return Component("")

    def options(self, key: str, name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        types, defaults = signature_options(self.tables[key][name])
        try:
            return check_options(types, {**defaults, **given})
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                option = str(problem["loc"][0])
                if problem["type"] == "extra_forbidden":
                    self.unknown(f"{key}.{option}", ["name", *types], f" of {name}")
                elif problem["type"] == "missing" and len(problem["loc"]) == 1:
                    self.missing(f"{key}.{option}", expected(types[option]))
                else:
                    self.wrong(f"{key}.{option}", f"expected {expected(types[option])}.", defaults.get(option))
            return {}

    def section_problem(self, kind: str, parts: list[str], message: str) -> None:
        """Writes down one error that pydantic found at `parts`, in our words."""
        place = parts[0] if parts[0] in _SECTIONS and len(parts) > 1 else ""
        last = parts[1] if place else parts[0]
        key = f"{place}.{last}" if place else last
        fields = _SECTIONS[place].model_fields
        if kind == "extra_forbidden":
            self.unknown(key, _keys(_SECTIONS[place]))
        elif key in _SECTIONS:
            self.wrong(key, f"expected a section with the keys {', '.join(_keys(_SECTIONS[key]))}.")
        elif kind == "missing" and key.endswith(parts[-1]):
            self.missing(key, _expected_field(fields[last]))
        elif kind == "no_length":
            self.missing("training.epochs", "either training.epochs or training.steps")
        elif kind == "two_lengths":
            self.wrong(key, "expected either training.epochs or training.steps, not both. Write null for one of them.")
        else:
            self.wrong(key, message if kind == "rule" else f"expected {_expected_field(fields[last])}.")

    def missing(self, key: str, what: str) -> None:
        line = f"{key} is missing: expected {what}. Set it in the file or on the command line: {key}=..."
        self.problems.setdefault(key, line)

    def unknown(self, key: str, known: list[str], of: str = "") -> None:
        word = key.rpartition(".")[2]
        guess = nearest(word, known)
        homes = [f"{place}.{word}" for place, section in _SECTIONS.items() if place and word in section.model_fields]
        if not guess and homes:
            guess = f" Did you mean '{homes[0]}'?"
        self.wrong(key, f"unknown key{of}.{guess} Known keys: {', '.join(known)}.")

    def wrong(self, key: str, sentence: str, default: Any = None) -> None:
        value, source = self.lookup(key, default)
        self.problems.setdefault(key, f"{key} = {value} ({source}): {sentence}")

    def lookup(self, key: str, default: Any) -> tuple[str, str]:
        """The value at `key` on one line, and where it was set."""
        value: Any = self.values
        for part in key.split("."):
            if isinstance(value, str) and part == "name":  # a component written as its bare name
                break
            if not isinstance(value, Mapping) or part not in value:
                return show(default), "default"
            value = value[part]
        below = (source for place, source in self.sources.items() if place.startswith(f"{key}."))
        source = self.sources.get(key) or self.sources.get(key.removesuffix(".name")) or next(below, "the config")
        text = show(value)
        return text if len(text) <= 80 else f"{text[:77]}...", source.partition(": ")[0]


def _keys(section: type[Section]) -> list[str]:
    return [info.alias or name for name, info in section.model_fields.items()]


def _expected_field(info: FieldInfo) -> str:
    return info.description or expected(info.annotation) + bounds(info.metadata)
