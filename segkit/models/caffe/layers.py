"""Original Caffe weights, fitted into a segkit model by the names of layers.

A module `encoder.NAME` or `decoder.NAME` takes the Caffe layer NAME; `/` in Caffe's names is `_` in ours. Whatever is
missing, left over or of the wrong shape is refused in one message.

Source: BVLC/caffe src/caffe/proto/caffe.proto; shelhamer/fcn.berkeleyvision.org surgery.py (transplant, upsample_filt);
alexgkendall/caffe-segnet (BN) and SegNet-Tutorial Scripts/BN-absorber.py.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segkit.errors import InputError
from segkit.models.caffe.caffemodel import CaffeLayer, read_caffemodel
from segkit.models.decoders.fcn import FCN8s, FCN16s
from segkit.models.features import NORMALIZATIONS
from segkit.models.layers import Upsample
from segkit.models.segmenter import Segmenter

CLASSIFIERS = ("fc8", "loss1/", "loss2/", "loss3/classifier")
"""Layers of VGG16, CaffeNet and GoogLeNet (`/`: groups of layers) that no segmentation net has; dropped."""

CLASSIFIER_HEADS = ("fc6", "fc7")
"""Layers of these nets that only FCN keeps; dropped where only the backbone is imported and the model has none."""

OTHER_NAMES = {"dense_softmax_inner_prod": "conv_classifier"}
"""Layers that the published weights of SegNet-Basic and Bayesian SegNet-Basic call otherwise than SegNet-Basic's
prototxt."""


@dataclass(frozen=True)
class Imported:
    """The tensors that a Caffe net gives to a model.

    Attributes:
        tensors: the model's whole state dict; nothing has been copied into the model.
        kept_initial: modules that the file lacks; their tensors are the model's own.
        dropped: Caffe layers that were not needed, among them those that were only checked.
        has_statistics: whether the file has SegNet's batch norm, whose scale and shift hold the statistics.
        warnings: what the file cannot prove and the config makes unlikely.
    """

    tensors: dict[str, Tensor]
    kept_initial: tuple[str, ...]
    dropped: tuple[str, ...]
    has_statistics: bool
    warnings: tuple[str, ...]


class _Misfit(Exception):
    """The reason why a layer does not fit a module."""


def import_caffe(path: Path, model: Segmenter, *, backbone_only: bool = False) -> Imported:
    """Return tensors for `model` from a .caffemodel; the model itself is not changed.

    Input channels of the first convolution are reversed (Caffe reads BGR, segkit RGB). Fixed upsampling kernels and
    skip scales are compared with the model's. SegNet's BN layers, y = scale x + shift, become batch norms with mean 0
    and variance 1 - eps, or are folded into the convolution where the encoder has `batch_norm: false`. They must hold
    statistics, as the released nets do: a raw training snapshot needs compute_bn_statistics.py first.

    Args:
        backbone_only: the decoder, and batch norm of the encoder, may be missing in the file and then keep their
            values: for classification nets.
    Raises:
        InputError: if the file cannot be read, or listing everything that does not fit.
    Source: see the module.
    """
    if model.normalization.std != (1, 1, 1):
        raise InputError(
            f"{path} expects images of 0..255 minus a mean, and the config divides them by "
            f"{', '.join(f'{d:g}' for d in model.normalization.std)}; expected a deviation of 1. "
            "Set model.encoder.normalization to fcn (FCN), caffe (VGG16 alone) or raw (SegNet)."
        )
    problems: list[str] = []
    layers: dict[str, CaffeLayer] = {}  # by our names; those without a place yet
    for name, layer in read_caffemodel(path).items():
        twin = layers.setdefault(OTHER_NAMES.get(name, name).replace("/", "_"), layer)
        if twin is not layer:
            problems.append(f"{twin.name} and {name} have one name here")
    is_segnet = any(layer.type == "BN" for layer in layers.values())
    held = frozenset(layers)

    stored_names = model.decoder.stored_names if isinstance(model.decoder, FCN16s | FCN8s) else {}
    stored_names = {f"decoder.{attribute}": f"decoder.{name}" for attribute, name in stored_names.items()}
    modules = {stored_names.get(name, name): module for name, module in model.named_modules()}
    first = next((name for name, module in modules.items() if isinstance(module, nn.Conv2d)), None)
    tensors: dict[str, Tensor] = {}
    missing: list[str] = []
    dropped: list[str] = []
    for name, module in modules.items():
        if not [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            continue
        layer = layers.pop(_our_name(name), None)
        fixed = isinstance(module, Upsample) and not isinstance(module.weight, nn.Parameter)
        if layer is None:
            missing += [] if fixed else [name]
            continue
        folds_norm = isinstance(modules.get(f"{name}_bn"), nn.Identity) and getattr(module, "bias", None) is not None
        norm = layers.pop(f"{_our_name(name)}_bn", None) if folds_norm else None
        try:
            arrays = _arrays(module, layer, norm)
        except _Misfit as misfit:
            problems.append(str(misfit))
            continue
        if name == first:
            arrays["weight"] = np.ascontiguousarray(arrays["weight"][:, ::-1])
        dropped += [layer.name] if fixed else []
        tensors |= {f"{name}.{tensor}": torch.from_numpy(array) for tensor, array in arrays.items()}
    if isinstance(model.decoder, FCN16s | FCN8s):
        try:
            dropped += _check_skip_scales(model.decoder, layers, held)
        except _Misfit as misfit:
            problems.append(str(misfit))

    # Of what is missing or left over, backbones and classifiers explain some.
    untrained = [n for n in missing if n.startswith("decoder.") or isinstance(modules[n], nn.BatchNorm2d)]
    required = [n for n in missing if not (backbone_only and n in untrained)]
    left_over = []
    for layer in layers.values():
        group = any(layer.name.startswith(name) if name.endswith("/") else layer.name == name for name in CLASSIFIERS)
        unneeded = group or (backbone_only and layer.name in CLASSIFIER_HEADS)
        (dropped if unneeded else left_over).append(layer.name)
    parts = [f"missing: {', '.join(map(_our_name, required))}"] if required else []
    parts += [f"without a place: {', '.join(left_over)}"] if left_over else []
    parts += problems
    if parts:
        startable = required and required == untrained and set(left_over) <= set(CLASSIFIER_HEADS) and not problems
        hint = ", or --backbone-only to let what is missing start untrained" if startable else ""
        raise InputError(
            f"{path} does not fit the config: {'; '.join(parts)}. "
            f"Choose the config of this net, with its layers, widths and number of classes{hint}."
        )

    kept = tuple(f"{name}." for name in missing)
    own = {name: tensor.detach().clone() for name, tensor in model.state_dict().items() if name.startswith(kept)}
    nets, released = ("SegNet", "raw") if is_segnet else ("FCN", "fcn")
    unlikely = not backbone_only and model.normalization != NORMALIZATIONS[released]
    warning = (
        f"the released {nets} nets were trained with model.encoder.normalization={released}, the config has another"
    )
    return Imported(own | tensors, tuple(missing), tuple(dropped), is_segnet, (warning,) if unlikely else ())


def _our_name(module: str) -> str:
    return module.removeprefix("encoder.").removeprefix("decoder.")


def _arrays(module: nn.Module, layer: CaffeLayer, norm: CaffeLayer | None) -> dict[str, np.ndarray]:
    """Tensors of `module` from `layer`, with `norm` folded into them; {} if the module's own are fixed and agree."""
    match module:
        case Upsample():
            return _upsampling(module, layer)
        case nn.BatchNorm2d():
            return _batch_norm(module, layer)
        case nn.Conv2d():
            return _convolution(module, layer, norm)
    raise _Misfit(f"{layer.name} would go into a {type(module).__name__}, for which there is no rule")


def _blobs(layer: CaffeLayer, types: tuple[str, ...], count: int) -> tuple[np.ndarray, ...]:
    if layer.type not in types:
        raise _Misfit(f"{layer.name} is of type {layer.type or 'unknown'}, expected {' or '.join(types)}")
    if len(layer.blobs) != count:
        raise _Misfit(f"{layer.name} has {len(layer.blobs)} blobs, expected {count}")
    if not all(np.isfinite(blob).all() for blob in layer.blobs):
        raise _Misfit(f"{layer.name} holds values that are not finite")
    return layer.blobs


def _vector(layer: CaffeLayer, blob: np.ndarray, size: int) -> np.ndarray:
    """[size] from a blob whose other dimensions are 1, such as the legacy (1, 1, 1, size)."""
    if blob.size != size or max(blob.shape, default=1) != size:
        raise _Misfit(f"{layer.name} has {list(blob.shape)} values, expected {[size]}")
    return blob.reshape(size)


def _convolution(module: nn.Conv2d, layer: CaffeLayer, norm: CaffeLayer | None) -> dict[str, np.ndarray]:
    """Weight [O, I / groups, h, w] and bias [O]; an InnerProduct [O, I h w] is the same numbers in the same order."""
    weight, *biases = _blobs(layer, ("Convolution", "InnerProduct"), 1 if module.bias is None else 2)
    expected, found = tuple(module.weight.shape), weight.shape
    if layer.type == "InnerProduct":
        expected = (expected[0], prod(expected[1:]))
        found = found[-2:] if weight.size == prod(found[-2:]) else found
    if found != expected:
        raise _Misfit(f"{layer.name} has weights {list(found)}, expected {list(expected)}")
    arrays = {"weight": weight.reshape(module.weight.shape)}
    if biases:
        arrays["bias"] = _vector(layer, biases[0], expected[0])
    if norm is not None:
        scale, shift = _scale_and_shift(norm, expected[0])
        arrays["weight"] = (arrays["weight"] * scale[:, None, None, None]).astype(np.float32)
        arrays["bias"] = (arrays["bias"] * scale + shift).astype(np.float32)
    return arrays


def _scale_and_shift(layer: CaffeLayer, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Float64 scale [size] and shift [size] of SegNet's BN layer."""
    scale, shift = _blobs(layer, ("BN",), 2)
    return _vector(layer, scale, size).astype(np.float64), _vector(layer, shift, size).astype(np.float64)


def _batch_norm(module: nn.BatchNorm2d, layer: CaffeLayer) -> dict[str, np.ndarray]:
    """The batch norm that computes scale x + shift in evaluation: its variance plus eps is 1."""
    scale, shift = _scale_and_shift(layer, module.num_features)
    return {
        "weight": scale.astype(np.float32),
        "bias": shift.astype(np.float32),
        "running_mean": np.zeros(module.num_features, np.float32),
        "running_var": np.full(module.num_features, 1 - module.eps, np.float32),
        "num_batches_tracked": np.array(0, np.int64),
    }


def _upsampling(module: Upsample, layer: CaffeLayer) -> dict[str, np.ndarray]:
    """Dense kernel [K, K, k, k] of learned upsampling; {} for a fixed one, after a comparison."""
    (kernel,) = _blobs(layer, ("Deconvolution",), 1)
    classes, _, *size = module.weight.shape
    if kernel.shape not in ((classes, classes, *size), (classes, 1, *size)):
        raise _Misfit(f"{layer.name} has weights {list(kernel.shape)}, expected {[classes, classes, *size]}")
    dense = np.zeros((classes, classes, *size), np.float32)
    diagonal = np.arange(classes)
    if kernel.shape[1] == classes:
        dense[:] = kernel
    else:
        dense[diagonal, diagonal] = kernel[:, 0]
    if isinstance(module.weight, nn.Parameter):
        return {"weight": dense}
    dense[diagonal, diagonal] -= module.weight[:, 0].detach().cpu().numpy()
    difference = np.abs(dense).max()
    if difference > 1e-5:
        raise _Misfit(
            f"{layer.name} is not a bilinear kernel (off by up to {difference:.2g}: set model.decoder.upsampling=learned)"
        )
    return {}


def _check_skip_scales(decoder: FCN16s | FCN8s, layers: dict[str, CaffeLayer], held: frozenset[str]) -> list[str]:
    """Compare the Scale layers before FCN's skips (without one: 1) with the model's factors, and return their names."""
    scales = decoder.skip_scales if isinstance(decoder, FCN8s) else (decoder.skip_scale,)
    scores = [decoder.stored_names[score] for score in ("score_pool4", "score_pool3")[: len(scales)]]
    given = [layers.pop(score.replace("score_", "scale_"), None) for score in scores]
    found = []
    for score, layer, own in zip(scores, given, scales, strict=True):
        constant = 1.0 if score in held else own
        if layer is not None:
            (values,) = _blobs(layer, ("Scale",), 1)
            constant = float(values.flat[0])
            if (values != constant).any():
                raise _Misfit(f"{layer.name} has values {values.min():g} to {values.max():g}, expected one constant")
        found.append(constant)
    if not np.allclose(found, scales, rtol=1e-6, atol=0):
        theirs, ours = (", ".join(f"{scale:g}" for scale in some) for some in (found, scales))
        option = f"skip_scale={theirs}" if len(found) == 1 else f"skip_scales=[{theirs}]"
        raise _Misfit(f"its skips are scaled by {theirs}, the config's by {ours} (set model.decoder.{option})")
    return [layer.name for layer in given if layer is not None]
