"""Contract checks for decoders, encoders and losses from outside: call them in a test of your own.

    from segkit.testing import check_decoder
    from my_package import MyDecoder

    def test_my_decoder_keeps_segkits_contract():
        check_decoder(MyDecoder, options={"width": 16})

Each check builds the component small, runs it on random images on the CPU, and raises AssertionError with a sentence
that says what is wrong and what is expected. They leave torch's random generator unchanged.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from segkit.config.plugins import require_constructor
from segkit.errors import InputError
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import Features, Needs, Stages
from segkit.models.segmenter import Encoder, Segmenter, require_attributes
from segkit.tensors import IGNORE, AuxiliaryLogits

SIZES = ((64, 96), (65, 97))  # (height, width) of images, pixels: even and odd
KINDS = ("pooled", "indices", "unpooled")  # of features


def check_decoder(
    constructor: Callable[..., nn.Module],
    *,
    num_classes: int = 5,
    options: Mapping[str, object] = {},
    encoder: nn.Module | None = None,
) -> None:
    """Check that a decoder keeps the contract of `segkit.models.segmenter.Decoder`.

    - Its constructor is `(stages, num_classes, *, OPTIONS)`, each option keyword-only and typed.
    - It states `needs` and `minimum_size`, and uses exactly the features that it needs.
    - Logits are finite float32 [B, K, H, W] at image size, for even and odd sizes and the smallest one, also under
      bfloat16 autocast; in evaluation those of an image do not depend on the rest of the batch.
    - Every parameter receives a finite gradient.
    - Its state dict, loaded into another decoder of the same options, gives the same logits.

    Args:
        constructor: a class, or a function that returns a decoder.
        num_classes: K.
        options: options of the constructor; choose small widths.
        encoder: encoder to build on; None: a narrow VGG16, of stages with 4, 8, 16, 32 and 32 channels.
    Raises:
        AssertionError: at the first breach.
    """
    with _checking(constructor, "model.decoder") as title:
        base = encoder or VGG16(width=1 / 16)

        def build(seed: int) -> Segmenter:
            torch.manual_seed(seed)
            given: Any = deepcopy(base)
            decoder = constructor(given.stages, num_classes, **options)
            model = Segmenter(given, decoder, num_classes=num_classes)
            for parameter in decoder.parameters():  # layers that start at zero would hide errors of the others
                parameter.data += 0.1 * torch.randn_like(parameter)
            return model

        model = build(0).eval()
        for size in _sizes(model.minimum_size):
            images = torch.randn(2, 3, *size)
            with torch.no_grad():
                logits, alone = model(images), model(images[:1])
            assert not isinstance(logits, AuxiliaryLogits), (
                f"{title} gives AuxiliaryLogits in evaluation; expected plain logits. Return those in training only."
            )
            _require_finite(logits, f"logits of {title} for images of {size[0]}x{size[1]}")
            assert torch.allclose(logits[:1], alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max())), (
                f"{title} scores an image of {size[0]}x{size[1]} differently in a batch of 2 and alone; "
                "expected equal logits in evaluation. Use no statistics of the batch there."
            )
        _check_needs(model, title)

        model.train()
        images = torch.randn(2, 3, *_sizes(model.minimum_size)[1])
        for dtype in (torch.float32, torch.bfloat16):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                logits = model(images)
            every = (logits.logits, *logits.auxiliary) if isinstance(logits, AuxiliaryLogits) else (logits,)
            _require_finite(every[0], f"logits of {title} in {dtype}")
            torch.stack([(each * torch.randn_like(each)).mean() for each in every]).sum().backward()
            for name, parameter in model.decoder.named_parameters():
                assert parameter.grad is not None, (
                    f"parameter {name} of {title} receives no gradient; expected one for every parameter. "
                    "Use it in forward, register it as a buffer, or remove it."
                )
                _require_finite(parameter.grad, f"gradient of parameter {name} of {title} in {dtype}")
                assert parameter.ndim < 2 or parameter.grad.any(), (  # a bias before batch norm has a gradient of 0
                    f"the gradient of parameter {name} of {title} is 0 everywhere; expected it to change the logits."
                )

        other = build(1).eval()
        other.load_state_dict(model.eval().state_dict())
        with torch.no_grad():
            _require_same(other(images), model(images), title)


def check_encoder(constructor: Callable[..., nn.Module], *, options: Mapping[str, object] = {}) -> None:
    """Check that an encoder keeps the contract of `segkit.models.segmenter.Encoder`.

    - Its constructor is `(restore=False, *, OPTIONS)`, each option keyword-only and typed.
    - It states `stages`, `normalization` and `pretrained_names`.
    - Maps have the channels and sizes that `stages` states, for even and odd sizes and the smallest one; it keeps
      exactly what a decoder needs.
    - Its maps are finite, also under bfloat16 autocast.
    - Its state dict, loaded into another encoder of the same options, gives the same maps.

    Args:
        constructor: a class, or a function that returns an encoder.
        options: of the constructor; choose small widths.
    Raises:
        AssertionError: at the first breach.
    """
    with _checking(constructor, "model.encoder") as title, torch.no_grad():
        encoder = constructor(False, **options).eval()
        require_attributes(encoder, Encoder)
        stages: Any = encoder.stages
        deepest = len(stages.channels) - 1
        every, none = frozenset(range(deepest + 1)), frozenset()
        needs = Needs(every, every if stages.has_indices else none, every if stages.has_unpooled else none)
        sizes = _sizes(stages.paths[-1].minimum_size)
        for size in sizes:
            _check_features(encoder(torch.randn(2, 3, *size), needs), needs, stages, size, title)

        images, needs = torch.randn(2, 3, *sizes[1]), Needs(pooled=frozenset({deepest}))
        other = constructor(True, **options).eval()
        other.load_state_dict(encoder.state_dict())
        features = encoder(images, needs)
        _check_features(features, needs, stages, sizes[1], title)
        _require_same(other(images, needs).pooled[deepest], features.pooled[deepest], title)
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder(images, needs)
        _require_finite(features.pooled[deepest], f"deepest map of {title} under bfloat16 autocast")


def check_loss(loss: Any, *, num_classes: int = 5) -> None:
    """Check that a loss keeps the contract of the training loop: its value is `(total / normalizer).sum()`.

    - It states `exact`, and where that is true, a batch cut into micro-batches has the same value: the sum of totals
      over the sum of normalizers.
    - `total(logits, labels)` and `normalizer(labels)` have one shape, [] or [T]; normalizers are positive.
    - Pixels labelled 255 change neither value nor gradient; the loss of a batch of 255 alone is finite.
    - Values and gradients are finite, for bfloat16 logits too.

    Args:
        loss: an nn.Module, built with class weights for K classes or none.
        num_classes: K.
    Raises:
        AssertionError: at the first breach.
    """
    title = type(loss).__name__
    assert isinstance(getattr(loss, "exact", None), bool), (
        f"{title} has no attribute exact of type bool; expected True if cutting a batch into micro-batches leaves "
        "the value unchanged, else False."
    )
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(num_classes, (4, 9, 11), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = IGNORE
    logits = torch.randn(4, num_classes, 9, 11, generator=generator)

    def parts(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        total, normalizer = loss.total(logits, labels), loss.normalizer(labels)
        assert total.shape == normalizer.shape, (
            f"{title}.total has shape {[*total.shape]} and normalizer {[*normalizer.shape]}; expected both [] or "
            "both [T]."
        )
        assert total.ndim < 2, f"{title}.total has shape {[*total.shape]}; expected a scalar, or [T] for T terms."
        assert bool((normalizer > 0).all()), f"{title}.normalizer is {normalizer.tolist()}; expected it above 0."
        return total, normalizer

    def value_and_gradient(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = logits.clone().requires_grad_()
        total, normalizer = parts(logits, labels)
        value = (total / normalizer).sum()
        (gradient,) = torch.autograd.grad(value, logits)
        _require_finite(value, f"value of {title} for {logits.dtype} logits")
        _require_finite(gradient, f"gradient of {title} for {logits.dtype} logits")
        return value.detach(), gradient

    value, gradient = value_and_gradient(logits, labels)
    assert gradient.any(), f"the gradient of {title} is 0 everywhere; expected it to change logits."
    changed = torch.where((labels == IGNORE)[:, None], logits + 5, logits)
    changed_value, changed_gradient = value_and_gradient(changed, labels)
    same = torch.allclose(changed_value, value, rtol=1e-5) and torch.allclose(changed_gradient, gradient, atol=1e-7)
    assert same and not (gradient * (labels == IGNORE)[:, None]).any(), (  # noqa: PT018
        f"{title} depends on logits where the label is {IGNORE} (ignored); expected the same value and gradient "
        "whatever they are."
    )
    value_and_gradient(logits, torch.full_like(labels, IGNORE))
    rough, _ = value_and_gradient(logits.bfloat16(), labels)
    assert torch.allclose(rough.float(), value, rtol=0.05), (
        f"{title} is {float(rough):g} for bfloat16 logits and {float(value):g} for float32; expected about the same. "
        "Compute it from logits.float()."
    )
    if loss.exact:
        cut = [parts(logits[i : i + 1], labels[i : i + 1]) for i in range(len(logits))]
        totals, normalizers = (torch.stack(each).sum(0) for each in zip(*cut, strict=True))
        whole = (totals / normalizers).sum()
        assert torch.allclose(whole, value, rtol=1e-4), (
            f"{title} is exact, yet a batch cut into micro-batches has the value {float(whole):g} and the whole "
            f"{float(value):g}; expected equal values. Set exact = False, or make total and normalizer sums over pixels "
            "or images."
        )


@contextmanager
def _checking(constructor: Callable[..., nn.Module], place: str) -> Iterator[str]:
    """Check a constructor's options and give its name; errors of a model's parts become AssertionErrors."""
    title = getattr(constructor, "__name__", str(constructor))
    try:
        require_constructor(constructor, place, title)
        with torch.random.fork_rng(devices=[]):
            yield title
    except InputError as error:
        raise AssertionError(str(error)) from error
    except KeyError as error:
        raise AssertionError(
            f"{title} reads features[{error}], which its `needs` do not list; expected needs to name all that it uses. "
            "Add the stage to pooled, indices or unpooled of its Needs."
        ) from error


def _sizes(minimum: int) -> list[tuple[int, int]]:
    """(height, width) of the images to try, the smallest last."""
    return [(max(height, minimum), max(width, minimum)) for height, width in (*SIZES, (minimum, minimum))]


def _check_needs(model: Segmenter, title: str) -> None:
    """Check that the decoder cannot do without any map that it needs."""
    with torch.no_grad():
        features = model.encoder(torch.randn(1, 3, *_sizes(model.minimum_size)[0]), model.needs)
        logits = model.decoder(features)
        for kind in KINDS:
            for stage in sorted(getattr(model.needs, kind)):
                without = {key: value for key, value in getattr(features, kind).items() if key != stage}
                try:
                    unused = torch.equal(model.decoder(replace(features, **{kind: without})), logits)
                except Exception:  # it misses the map, as it should
                    unused = False
                assert not unused, (
                    f"{title} lists stage {stage} in needs.{kind} and does not use it; expected needs to name only "
                    "what it uses, since the encoder keeps those maps in memory. Remove it."
                )


def _check_features(features: Features, needs: Needs, stages: Stages, size: tuple[int, int], title: str) -> None:
    """Check that the maps are those that are needed, with the shapes that the encoder states."""
    image = "x".join(map(str, size))
    for kind in KINDS:
        found, asked = set(getattr(features, kind)), set(getattr(needs, kind))
        assert found == asked, (
            f"{title} gives {kind} maps of stages {sorted(found)} where stages {sorted(asked)} are needed; "
            "expected exactly these. Keep a map only if its stage is in needs."
        )
    for stage, channels in enumerate(stages.channels):
        before = features.unpooled_sizes.get(stage)
        assert before is not None, f"{title} gives no unpooled_sizes[{stage}]; expected (height, width) before pooling."
        pooled = (2, channels, *map(stages.paths[stage].size, size))
        expected = {"pooled": pooled, "indices": pooled, "unpooled": (2, channels, *before)}
        for kind in KINDS:
            x: Any = getattr(features, kind).get(stage)
            if x is None:
                continue
            assert tuple(x.shape) == expected[kind], (
                f"{title} gives a map {[*x.shape]} as {kind}[{stage}] for images of {image}; expected "
                f"{[*expected[kind]]} by its stages (channels and paths)."
            )
            if kind == "indices":
                inside = x.dtype == torch.int64 and int(x.min()) >= 0 and int(x.max()) < before[0] * before[1]
                assert inside, f"{title} gives indices[{stage}] outside of int64 0 to {before[0] * before[1] - 1}."
            else:
                _require_finite(x, f"{kind}[{stage}] of {title} for images of {image}")


def _require_finite(x: Tensor, what: str) -> None:
    assert bool(torch.isfinite(x).all()), f"{what}: NaN or Inf; expected finite numbers."


def _require_same(restored: Tensor, original: Tensor, title: str) -> None:
    assert torch.equal(restored, original), (
        f"a second {title} with the state dict of the first gives another output; expected equal ones. "
        "Register every tensor that training changes as a parameter or buffer."
    )
