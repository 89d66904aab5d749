"""What models and methods are called in tables and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def model_title(model: Mapping[str, Any]) -> str:
    """The title of the model that the `model` section of a saved config describes.

    It is the name of the decoder; of a whole model its name, architecture and encoder, such as smp-unet-resnet34.
    """
    if "whole" not in model:
        return model["decoder"]["name"]
    words = [model["whole"][key] for key in ("name", "architecture", "encoder") if key in model["whole"]]
    return "-".join(words).lower()


def method_title(values: Mapping[str, Any]) -> str:
    """What comparisons call the runs of a saved config: `tracking.method`, else the model."""
    return (values.get("tracking") or {}).get("method") or model_title(values["model"])


def distinct_titles(titles: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """The titles, each that is not unique replaced by the name of its file or folder, or by its path where that is not
    enough."""
    names = [path.stem if path.is_file() else path.resolve().name for path in paths]
    return [
        title if titles.count(title) == 1 else name if names.count(name) == 1 and name not in titles else str(path)
        for title, name, path in zip(titles, names, paths, strict=True)
    ]
