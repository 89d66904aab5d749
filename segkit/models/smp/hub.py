"""Encoders of segmentation-models-pytorch (smp) by name, their weights on the hub, and the input that these expect."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from segkit.errors import InputError, nearest
from segkit.models.features import NORMALIZATIONS, NormalizationName
from segkit.models.weights import load_exactly, read_weights

TIMM = "tu-"  # before names of timm's encoders
CLASSIFIERS = ("classifier.", "fc.")  # of torchvision's VGG and ResNet: no encoder has them


def require_encoder(name: str, key: str) -> None:
    """Raise InputError about the option `key` unless smp or timm has an encoder of that name."""
    import timm
    from segmentation_models_pytorch.encoders import get_encoder_names

    known = [each for each in get_encoder_names() if not each.startswith("timm-")]  # smp deprecates these for tu-
    models = timm.list_models() if name.startswith(TIMM) else []
    if name not in known and name.removeprefix(TIMM).split(".")[0] not in models:
        guess = nearest(name, known + [TIMM + each for each in models])
        raise InputError(
            f"{key} = '{name}': segmentation-models-pytorch has no such encoder.{guess} "
            f"Use one of its own, such as resnet18 or vgg16_bn, or {TIMM}NAME for one of timm's."
        )


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn errors of smp, timm or torch about options into an InputError about `what`, with their reason."""
    try:
        yield
    except (LookupError, ValueError, TypeError, RuntimeError, AssertionError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise InputError(
            f"{what} cannot be built ({reason}). Choose another encoder or architecture, or leave the options out."
        ) from None


def load_encoder(network: Any, name: str, weights: str, normalization: NormalizationName, *, section: str) -> None:
    """Copy weights into an encoder of smp, downloading those that are no file.

    Args:
        name: smp's name of the encoder.
        weights: as for `smp_encoder`.
        normalization: the input that the model will get.
        section: where the options stand in the config, for messages.
    Raises:
        InputError: if a file cannot be read or does not fit; if a name is not known, cannot be downloaded, or expects
            another input.
    """
    if Path(weights).suffix in (".safetensors", ".pt", ".pth"):
        tensors = {n: t for n, t in read_weights(Path(weights)).items() if not n.startswith(CLASSIFIERS)}
        load_exactly(network, tensors, source=f"weights {weights}")
        return
    from segmentation_models_pytorch.encoders import encoders, get_encoder, get_preprocessing_params

    known = ["timm"] if name.startswith(TIMM) else list(encoders[name]["pretrained_settings"])
    key = f"{section}.weights = '{weights}'"
    if weights not in known:
        raise InputError(
            f"{key}: expected a path ending in .safetensors, .pt or .pth, or one of {', '.join(known) or 'none'} "
            f"for {name}."
        )
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # it logs each of its attempts
    try:
        require_fit(get_preprocessing_params(name, weights), normalization, key=key, section=section)
        depth = len(network.out_channels) - 1
        tensors = get_encoder(name, depth=depth, weights=True if weights == "timm" else weights).state_dict()
    except (OSError, RuntimeError, ValueError) as error:  # no network; a damaged file; no weights of that name
        raise InputError(
            f"{key} could not be downloaded ({(str(error).splitlines() or ['no reason given'])[0][:150]}); "
            "expected network access to huggingface.co. Fetch the file elsewhere and give its path, or set null."
        ) from None
    finally:
        log.setLevel(level)
    load_exactly(network, tensors, source=f"weights {weights}")


def require_fit(settings: dict[str, Any], normalization: NormalizationName, *, key: str, section: str) -> None:
    """Raise InputError unless weights that smp's `settings` describe expect images of that `normalization`.

    Args:
        settings: input_space RGB or BGR; input_range [0, 1] or [0, 255]; mean and std on that range, in that order.
        normalization: the input that the model will get.
        key: the option and its value, for the message.
        section: where the options stand in the config.
    """
    scale = 255.0 if settings["input_range"][-1] == 1 else 1.0
    mean, std = (scale * np.array(settings[name]) for name in ("mean", "std"))
    fitting = [
        name
        for name, known in NORMALIZATIONS.items()
        if np.allclose([known.mean, known.std], [mean, std], rtol=0, atol=0.05) and settings["input_space"] == "RGB"
    ]
    if normalization not in fitting:
        words = [", ".join(f"{value:g}" for value in values) for values in (mean, std)]
        advice = f"Set {section}.normalization={fitting[0]}" if fitting else "No normalization here fits; choose others"
        raise InputError(
            f"{key}: these weights expect {settings['input_space']} images of 0..255 minus {words[0]}, divided by "
            f"{words[1]}; {section}.normalization is '{normalization}'. {advice}."
        )
