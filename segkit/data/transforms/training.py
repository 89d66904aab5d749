"""Transforms from samples to network inputs: geometry of image and labels, colour of the image, normalization.

Every random decision is a function of (seed, epoch, sample id) only. It does not depend on workers, order, restarts or
the backend, which only executes it.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from torch import Tensor

from segkit.config.transforms import BackendName, Transforms
from segkit.data.dataset import Sample
from segkit.data.transforms.geometry import Box, View, random_window
from segkit.tensors import IGNORE, RawImage, RawLabels, Size

cv2.setNumThreads(0)  # the workers run in parallel; OpenCV's own threads would compete with them
PADDED = IGNORE - 1  # marks padding between cropping and normalization; no class may have this id

# Eigenvectors (columns) and eigenvalues of ImageNet's RGB covariance, 0..1 scale.
# Source: Krizhevsky 2012, section 4.1, for the method; facebook/fb.resnet.torch for the numbers.
PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])

# Network pixels. Source: MoCo v2 (arXiv:2003.04297); in segmentation, UniMatch (arXiv:2208.09910).
BLUR_SIGMA = (0.1, 2.0)
CROP_TRIES = 10  # Source: mmsegmentation, Detectron2


def sample_seed(seed: int, epoch: int, sample_id: str) -> int:
    """Return the 32-bit seed of one sample in one epoch."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{epoch}/{sample_id}".encode(), digest_size=4).digest(), "little")


class Backend(Protocol):
    """Operations on images and labels in a library's own format. None of them is random.

    `load` converts an image [H, W, 3] or labels [H, W], uint8, to that format; `normalize` makes float32 [3, H, W] from
    an image, given mean and std [3], 0..255 scale, and `ids` int64 [H, W] from labels. Labels are resized by taking the
    pixel under each new pixel's centre. `warp` returns the window of a rotated view, not flipped, of pixels that may
    have another size than the view: labels take the pixel under each centre, and `outside` beyond the image; images
    (`outside` is None) are interpolated linearly, and their borders are replicated. `jitter` applies three factors and
    a hue shift (1 is the full circle) in the given order, `blur` a Gaussian kernel of `blur_kernel_size` with mirrored
    borders. `pad` adds (left, top, right, bottom) pixels of `value`.
    """

    def load(self, array: np.ndarray) -> Any: ...
    def resize(self, pixels: Any, size: Size, *, labels: bool = False) -> Any: ...
    def crop(self, pixels: Any, box: Box) -> Any: ...
    def warp(self, pixels: Any, view: View, *, outside: int | None = None) -> Any: ...
    def flip(self, pixels: Any) -> Any: ...
    def jitter(
        self, image: Any, brightness: float, contrast: float, saturation: float, hue: float, order: list[int]
    ) -> Any: ...
    def blur(self, image: Any, sigma: float) -> Any: ...
    def pad(self, pixels: Any, padding: tuple[int, int, int, int], value: int) -> Any: ...
    def normalize(self, image: Any, mean: np.ndarray, std: np.ndarray) -> Tensor: ...
    def ids(self, labels: Any) -> Tensor: ...


def backend_named(name: BackendName) -> Backend:
    """Return a backend, importing only its library."""
    if name == "torchvision":
        from segkit.data.transforms.torchvision import Torchvision

        return Torchvision()
    from segkit.data.transforms.albumentations import Albumentations

    return Albumentations()


@dataclass(frozen=True)
class _Drawn:
    """The random numbers of one sample."""

    view: View  # of the first crop window
    jitter: tuple[float, float, float, float, list[int]] | None  # arguments of `Backend.jitter`
    noise: np.ndarray | None  # RGB, 0..255 scale
    sigma: float  # of the blur, in network pixels; 0 = no blur
    more: random.Random  # for further crop windows


class TrainingTransform:
    """Random scale, rotation, crop, flip and colour, then normalization.

    Pixels outside the image become 0 (the mean) with label 255. Padding is added after the colour changes, so it does
    not affect them; around a rotated image, colour changes see its replicated borders.

    Args:
        options: see `Transforms`.
        mean, std: the encoder's normalization, RGB, 0..255 scale.
    """

    def __init__(self, options: Transforms, *, mean: Sequence[float], std: Sequence[float]):
        self.options, self.backend = options, backend_named(options.backend)
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)

    def __call__(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """Return a normalized image float32 [3, H, W] and labels int64 [H, W]; all randomness comes from `seed`.

        Steps can be reordered here without changing any random number; the order of draws in `_draw` must stay.
        """
        backend, drawn = self.backend, self._draw(sample.labels.shape, seed)
        labels, view = self._crop_labels(sample.labels, drawn)
        image = self._window(self._image_at_scale(sample.image, view), view)
        if drawn.jitter:
            image = backend.jitter(image, *drawn.jitter)
        if drawn.sigma:
            image = backend.blur(image, drawn.sigma)
        if any(view.padding):
            image = backend.pad(image, view.padding, 0)
        mean = self.mean if drawn.noise is None else self.mean - drawn.noise
        normalized, ids = backend.normalize(image, mean, self.std), backend.ids(labels)
        if view.has_outside:
            padded = ids == PADDED
            normalized.masked_fill_(padded, 0)
            ids.masked_fill_(padded, IGNORE)
        return normalized, ids

    def _draw(self, shape: tuple[int, ...], seed: int) -> _Drawn:
        """Draw the numbers that albumentations 2.0.8 would draw from the seed, in its order, then those of new options.

        A further option must draw after all others, so that the numbers of existing configs stay the same.
        """
        options, draw = self.options, random.Random(seed)
        size = _scaled(shape, options.input_scale * draw.uniform(*options.scale))
        draw.random()  # drawn by albumentations' Compose to decide if it runs
        window = random_window(draw, size, options.crop)
        flip = options.flip >= 1 or (options.flip > 0 and draw.random() < options.flip)
        jitter, noise, rng = None, None, np.random.default_rng(seed)
        if options.color_jitter:
            strengths = (options.color_jitter,) * 3 + (options.color_jitter / 10,)
            factors = [draw.uniform(middle - s, middle + s) for middle, s in zip((1, 1, 1, 0), strengths, strict=True)]
            brightness, contrast, saturation, hue = factors
            order = [0, 1, 2, 3]
            rng.shuffle(order)
            jitter = (brightness, contrast, saturation, hue, order)
        if options.pca_noise:
            noise = (255 * PCA_VECTORS @ (rng.normal(0, options.pca_noise, 3) * PCA_VALUES)).astype(np.float32)
        more = random.Random(f"{seed} and later options")
        angle = options.rotate * more.uniform(-1, 1)
        blurs, sigma = more.random() < options.blur, more.uniform(*BLUR_SIGMA)
        return _Drawn(View(size, window, angle, flip), jitter, noise, sigma if blurs else 0, more)

    def _crop_labels(self, array: RawLabels, drawn: _Drawn) -> tuple[Any, View]:
        """Return cropped labels (PADDED outside the image) and their view.

        Draws up to ten windows, until no class has more than `class_max_ratio` of the labelled pixels.
        """
        backend, labels, view = self.backend, self.backend.load(array), drawn.view
        if not view.angle:
            labels = backend.resize(labels, view.size, labels=True)
        found = self._window(labels, view, outside=PADDED)
        for _ in range(CROP_TRIES - 1):
            if self.options.class_max_ratio == 1:
                break
            pixels = np.bincount(np.asarray(found).ravel(), minlength=256)[:PADDED]
            if 0 < pixels.max() <= self.options.class_max_ratio * pixels.sum():
                break
            view = replace(view, window=random_window(drawn.more, view.size, self.options.crop))
            found = self._window(labels, view, outside=PADDED)
        return backend.pad(found, view.padding, PADDED) if any(view.padding) else found, view

    def _image_at_scale(self, array: RawImage, view: View) -> Any:
        """Return the image at network resolution or, for a rotation, at its own size but at most twice the network's.

        The warp of a rotation scales the rest; from a larger image it would skip pixels.
        """
        image, (height, width) = self.backend.load(array), view.size
        if not view.angle:
            return self.backend.resize(image, view.size)
        large = 2 * height < array.shape[0] and 2 * width < array.shape[1]
        return self.backend.resize(image, (2 * height, 2 * width)) if large else image

    def _window(self, pixels: Any, view: View, *, outside: int | None = None) -> Any:
        """Return the view's window, or the part of it that an unrotated image fills."""
        backend = self.backend
        pixels = backend.warp(pixels, view, outside=outside) if view.angle else backend.crop(pixels, view.visible)
        return backend.flip(pixels) if view.flip else pixels


class EvaluationTransform:
    """Scaling to network resolution, then normalization; nothing is random, and labels stay as they are on disk.

    Args:
        options: options of training, of which only `input_scale` and `backend` are used.
        mean, std: the encoder's normalization, RGB, 0..255 scale.
    """

    def __init__(self, options: Transforms, *, mean: Sequence[float], std: Sequence[float]):
        self.input_scale, self.backend = options.input_scale, backend_named(options.backend)
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)

    def __call__(self, image: RawImage) -> Tensor:
        """Return float32 [3, H', W'] for an image uint8 [H, W, 3]."""
        resized = self.backend.resize(self.backend.load(image), _scaled(image.shape, self.input_scale))
        return self.backend.normalize(resized, self.mean, self.std)


def _scaled(shape: tuple[int, ...], ratio: float) -> Size:
    return max(1, round(shape[0] * ratio)), max(1, round(shape[1] * ratio))
