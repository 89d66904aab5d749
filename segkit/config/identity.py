"""Names of models and methods, and the part of a config that decides the result of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NOT_HASHED = ("checkpoints", "tracking")  # sections that change no bit of a result
# keys that change a result by no more than rounding; each stands for everything below it
CHANGES_NO_RESULT = (*NOT_HASHED, "data.root", "data.sbd", "training.device", "training.workers")
CHANGES_NO_RESULT += ("training.cache", "evaluation.batch_size")
# keys in which the runs of one method may differ, too
CHANGES_NO_METHOD = (*CHANGES_NO_RESULT, "name", "seed", "model.initialize_from")


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config's values that decides the result to the last bit; config hashes are made from it.

    For outside components it holds the hash of each plugin file and the version of each package.
    """
    found = {key: value for key, value in values.items() if key not in (*NOT_HASHED, "plugins")}
    outside = values.get("plugins") or ()
    hashes = {Path(each["file"]).name: each["sha256"] for each in outside if "file" in each}
    versions = {each["package"]: each["version"] for each in outside if "package" in each}
    return found | ({"plugins": hashes | versions} if outside else {})


def recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config's values that is equal in all runs of a method.

    `staged` in it stands for model.initialize_from: each seed starts from its own run.
    """
    left = json.loads(json.dumps(values))
    left["staged"] = left["model"].get("initialize_from") is not None
    for key in CHANGES_NO_METHOD:
        *sections, last = key.split(".")
        section = left
        for name in sections:
            section = section.get(name, {})
        section.pop(last, None)
    return left


def model_name(model: Mapping[str, Any]) -> str:
    """The name of the model that the `model` section of a saved config describes.

    That is the decoder's name, or a whole model's name, architecture and encoder, such as smp-unet-resnet34.
    """
    if "whole" not in model:
        return model["decoder"]["name"]
    whole = model["whole"]
    return "-".join(whole[key] for key in ("name", "architecture", "encoder") if key in whole).lower()


def method_name(values: Mapping[str, Any]) -> str:
    """The name of the runs of a saved config in comparisons: `tracking.method`, else the model."""
    return (values.get("tracking") or {}).get("method") or model_name(values["model"])


def distinct_names(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Names with each duplicate replaced by that of its file or folder, or by its path if that is not enough."""
    files = [path.stem if path.is_file() else path.resolve().name for path in paths]
    return [
        name if names.count(name) == 1 else file if files.count(file) == 1 and file not in names else str(path)
        for name, file, path in zip(names, files, paths, strict=True)
    ]
