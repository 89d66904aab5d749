"""RunConfig and its sections. Independent of concrete components and of torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import Field, Strict, field_validator
from pydantic_core import PydanticCustomError

from segkit.config.identity import model_name
from segkit.config.ranges import Count, Positive
from segkit.config.section import Section
from segkit.config.transforms import Transforms

# Where a config holds a component, and what one is called in messages. A model has an encoder and a decoder, or is a
# whole model.
COMPONENTS = {
    "data": "dataset",
    "model.whole": "whole model",
    "model.encoder": "encoder",
    "model.decoder": "decoder",
    "loss.function": "loss function",
    "loss.class_weights": "class weighting",
    "optimizer": "optimizer",
    "schedule": "schedule",
}

Tables = Mapping[str, Mapping[str, Callable[..., Any]]]  # dotted path of COMPONENTS -> name -> constructor


FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
FOLDER_NAME_WORDS = "text of letters, digits, '.', '_' and '-' that starts with a letter or digit"
PLUGINS = "plugins"  # folder of a run folder


@dataclass(frozen=True)
class Component:
    """A name of one of the tables and every option of its constructor, defaults filled in."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __reduce__(self) -> tuple:
        return Component, (self.name, dict(self.options))  # a mapping proxy cannot be pickled


class Model(Section):
    """The net: an encoder and, on top of it, a decoder; or a whole model in their place."""

    encoder: Component | None = None
    decoder: Component | None = None
    whole: Component | None = None
    initialize_from: Annotated[Path, Strict(False)] | None = None  # checkpoint whose weights are loaded first

    @property
    def title(self) -> str:
        """The name in comparisons."""
        return model_name(_plain(self))


class Loss(Section):
    """The function that is minimized."""

    function: Component
    class_weights: Component  # how much each class counts


class Training(Section):
    """Length, device and arithmetic of training. Exactly one of `epochs` and `steps` is given."""

    epochs: Count | None = None  # passes over the training split
    steps: Count | None = None  # optimizer updates
    batch_size: Count = 4  # images per update, over all devices
    replacement: bool = False  # draw samples with replacement instead of going through a shuffled split
    accumulation: Count = 1  # micro-batches of a batch
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the forward pass; weights stay float32
    deterministic: bool = False  # same bits each time on one machine; may be slower
    channels_last: bool = True  # memory layout of images
    workers: Annotated[int, Ge(0)] = 0  # processes that load data; 0: the main one
    cache: bool = False  # keep decoded images in memory
    gradient_clip: Positive | None = None  # largest norm of the gradient
    skip_nonfinite: Annotated[int, Ge(0)] = 0  # steps that may be skipped because loss or gradient is not finite
    log_every: Count = 10  # steps

    @field_validator("steps")
    @classmethod
    def _one_length(cls, steps: int | None, info: Any) -> int | None:
        if "epochs" in info.data and (info.data["epochs"] is None) == (steps is None):
            message = "expected either training.epochs or training.steps, not both. Write null for one of them."
            raise PydanticCustomError("no_length" if steps is None else "rule", message)
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
    """Scoring of the validation split during training."""

    every_epochs: Count = 1  # epochs between evaluations
    batch_size: Count = 1  # images


class Checkpoints(Section):
    """Saving of the training state, besides the end of each epoch. Nothing here changes a result."""

    every_minutes: Positive = 15.0  # in the middle of an epoch
    keep: Count = 2  # the latest ones, besides the best weights


class Tracking(Section):
    """Names in comparisons, and logging to Weights & Biases. No part of a run's identity: it changes no result."""

    method: Annotated[str, Field(min_length=1)] | None = None  # name in comparisons; null: its decoder or whole model
    group: Annotated[str, Field(min_length=1)] | None = None  # the experiment that it belongs to
    # required: online, and no training without it
    wandb: Literal["disabled", "offline", "online", "required"] = "disabled"
    project: Annotated[str, Field(min_length=1)] = "segkit"  # in Weights & Biases
    entity: Annotated[str, Field(min_length=1)] | None = None  # user or team in Weights & Biases; null: the default
    images: Annotated[int, Ge(0)] = 8  # validation images whose predictions are shown in Weights & Biases


class PluginFile(Section):
    """A Python file with components, named by the config that uses them."""

    file: Annotated[Path, Strict(False)]
    sha256: str  # of its content


class Package(Section):
    """An installed package, one of whose components is used."""

    package: str
    version: str


class RunConfig(Section):
    """Everything that decides the result of a run, and its name."""

    name: Annotated[str, Field(pattern=FOLDER_NAME)] = Field(description=FOLDER_NAME_WORDS)
    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 0
    data: Component
    transforms: Transforms = Transforms()
    model: Model
    loss: Loss
    optimizer: Component
    schedule: Component
    training: Training
    evaluation: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()
    tracking: Tracking = Tracking()
    # sources of components from outside segkit
    plugins: Annotated[tuple[PluginFile | Package, ...], Strict(False)] = Field(
        default=(), description="a list of Python files"
    )

    @property
    def plugin_files(self) -> list[PluginFile]:
        """Those of the plugins that are files."""
        return [each for each in self.plugins if isinstance(each, PluginFile)]

    def component(self, place: str) -> Component:
        """The component at a place of `COMPONENTS`, such as model.decoder; of a model, one that it has."""
        return attrgetter(place)(self)


def config_values(config: RunConfig) -> dict[str, Any]:
    """Return the complete plain dict of a config: every default written out, ready to save and to `validate` again."""
    return _plain(config)


def _plain(value: Any) -> Any:
    if isinstance(value, PluginFile):
        return {"file": f"{PLUGINS}/{value.file.name}", "sha256": value.sha256}  # its copy in the run folder
    if isinstance(value, Section):
        absent = () if not isinstance(value, Model) else ("whole",) if value.whole is None else ("encoder", "decoder")
        if isinstance(value, RunConfig) and not value.plugins:
            absent = ("plugins",)
        return {key: _plain(getattr(value, key)) for key in type(value).model_fields if key not in absent}
    if isinstance(value, Component):
        return {"name": value.name} | {key: _plain(item) for key, item in value.options.items()}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
