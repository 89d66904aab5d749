"""What a model is called in tables and pictures."""

from collections.abc import Mapping
from typing import Any


def model_title(model: Mapping[str, Any]) -> str:
    """The title of the model that the `model` section of a saved config describes.

    It is the name of the decoder; of a whole model its name, architecture and encoder, such as smp-unet-resnet34.
    """
    if "name" not in model:
        return model["decoder"]["name"]
    words = [model[key] for key in ("name", "architecture", "encoder") if key in model]
    return "-".join(words).lower()
