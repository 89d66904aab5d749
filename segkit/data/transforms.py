"""From samples to network inputs: geometry on image and labels, colour on the image, normalization.

Every random decision is a function of (seed, epoch, sample id) alone: not of workers, order, restarts or the backend, which only executes.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from segkit.data.dataset import Sample
from segkit.data.transforms_geometry import Box, View, random_window
from segkit.tensors import IGNORE, RawImage, Size

PADDED = IGNORE - 1  # marks padding between cropping and normalization; no class may have this id

# Eigenvectors (columns) and eigenvalues of ImageNet's RGB covariance, 0..1 scale.
# Source: the method is Krizhevsky 2012, section 4.1, which prints no numbers; these are facebook/fb.resnet.torch's.
PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])

BLUR_SIGMA = (0.1, 2.0)  # network pixels. Source: MoCo v2 (arXiv:2003.04297); UniMatch (arXiv:2208.09910) in segmentation
CROP_TRIES = 10  # Source: mmsegmentation and Detectron2

BackendName = Literal["albumentations", "torchvision"]


def sample_seed(seed: int, epoch: int, sample_id: str) -> int:
    """32-bit seed of one sample in one epoch."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{epoch}/{sample_id}".encode(), digest_size=4).digest(), "little")


class Backend(Protocol):
    """What executes transforms, on pixels in a form of its own. Nothing here is random."""

    def resized(self, array: np.ndarray, size: Size, *, labels: bool = False) -> Any:
        """The image [H, W, 3] or labels [H, W] of a file, uint8, as pixels of another size."""
        ...

    def cropped(self, pixels: Any, box: Box) -> Any:
        """What lies in a box."""
        ...

    def jittered(self, image: Any, brightness: float, contrast: float, saturation: float, hue: float, order: list[int]) -> Any:
        """Three factors, a turn of the hue (1: all around), and which of the four comes when."""
        ...

    def blurred(self, image: Any, sigma: float, kernel_size: int) -> Any:
        """Gaussian blur; borders are mirrored, so `kernel_size` (odd) is less than twice either side."""
        ...

    def shown(self, pixels: Any, view: View, *, outside: int | None = None) -> Any:
        """What a view shows of `view.source`: labels by the nearest pixel, `outside` where there is none; images (None) linearly."""
        ...

    def mirrored(self, pixels: Any) -> Any:
        """Left and right exchanged."""
        ...

    def normalized(self, image: Any, mean: np.ndarray, deviation: np.ndarray) -> Tensor:
        """float32 [3, H, W]; mean and deviation are float32 [3], 0..255 scale."""
        ...

    def ids(self, labels: Any) -> Tensor:
        """int64 [H, W]."""
        ...


def backend_named(name: BackendName) -> Backend:
    """A backend; only the library that it stands for is imported."""
    if name == "torchvision":
        from segkit.data.transforms_torchvision import Torchvision

        return Torchvision()
    from segkit.data.transforms_albumentations import Albumentations

    return Albumentations()


@dataclass(frozen=True)
class _Drawn:
    """The random numbers of one sample; sizes in network pixels."""

    size: Size
    window: Box
    flip: bool
    jitter: tuple[float, float, float, float, list[int]] | None
    angle: float
    sigma: float
    noise: np.ndarray
    more: random.Random  # for further windows


class TrainingTransform:
    """Random scale, turn, crop, flip and colour, then normalization.

    Args:
        mean: RGB, 0..255 scale, of the encoder's normalization.
        deviation: RGB, 0..255 scale.
        resolution: network pixels per pixel on disk, at scale 1.
        scale: (low, high) of the random scale, uniform, on top of `resolution`; one resize does both.
        rotate: largest angle in degrees, uniform, to either side, about the middle of the image. Source: hszhao/semseg, which leaves half
            of the images upright. A step after the resize: linear interpolation in its place would skip pixels at scales below 1.
        crop: (height, width) in network pixels; smaller images are padded at random. None: whole images.
        class_max_ratio: largest share of a crop's labelled pixels that one class may have; the last of ten crops is taken as it is. 1: any.
            Source: mmsegmentation's cat_max_ratio, Detectron2's single_category_max_area; both recommend 0.75 or 1.
        flip: probability of a horizontal flip.
        color_jitter: strength of brightness, contrast and saturation jitter, factors in 1 -+ strength; hue a tenth of it.
        blur: probability of a Gaussian blur, standard deviation uniform in 0.1 to 2 pixels.
        pca_noise: standard deviation of noise along ImageNet's RGB principal components (AlexNet: 0.1).
        backend: the library that does it.

    What lies outside of the image is 0 (the mean) and label 255. It is added after all changes of colour, so it has no part in them.
    """

    def __init__(
        self,
        *,
        mean: Sequence[float],
        deviation: Sequence[float],
        resolution: float = 1.0,
        scale: tuple[float, float] = (1.0, 1.0),
        rotate: float = 0.0,
        crop: Size | None = None,
        class_max_ratio: float = 1.0,
        flip: float = 0.5,
        color_jitter: float = 0.0,
        blur: float = 0.0,
        pca_noise: float = 0.0,
        backend: BackendName = "albumentations",
    ):
        self.mean, self.deviation = np.array(mean, np.float32), np.array(deviation, np.float32)
        self.resolution, self.scale, self.rotate = resolution, scale, rotate
        self.crop, self.class_max_ratio, self.flip = crop, class_max_ratio, flip
        self.color_jitter, self.blur, self.pca_noise = color_jitter, blur, pca_noise
        self.backend = backend_named(backend)

    def __call__(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """Image float32 [3, H, W], normalized, and labels int64 [H, W]; all randomness from `seed`."""
        backend, drawn = self.backend, self._draw(sample.labels.shape, seed)
        labels, view = self._labels(backend.resized(sample.labels, drawn.size, labels=True), drawn)
        image = self._source(backend.resized(sample.image, drawn.size), view, drawn)
        if drawn.jitter:
            image = backend.jittered(image, *drawn.jitter)
        if drawn.sigma:
            radius = min(math.ceil(3 * drawn.sigma), view.source.height - 1, view.source.width - 1)
            image = backend.blurred(image, drawn.sigma, 2 * radius + 1)
        normalized = backend.normalized(backend.shown(image, view), self.mean - drawn.noise, self.deviation)
        ids = backend.ids(labels)
        padded = ids == PADDED
        return normalized.masked_fill_(padded, 0), ids.masked_fill_(padded, IGNORE)

    def _draw(self, shape: tuple[int, ...], seed: int) -> _Drawn:
        """Numbers from a seed: first those that albumentations 2.0.8 would draw, in its order, then later options', so that an option
        does not change what is drawn for the others."""
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        size = _scaled(shape, self.resolution * draw.uniform(*self.scale))
        draw.random()  # albumentations' Compose asks whether to do anything
        window = random_window(draw, size, self.crop)
        flip = self.flip >= 1 or (self.flip > 0 and draw.random() < self.flip)
        jitter = None
        if self.color_jitter:
            low, high, order = 1 - self.color_jitter, 1 + self.color_jitter, [0, 1, 2, 3]
            factors = draw.uniform(low, high), draw.uniform(low, high), draw.uniform(low, high)
            jitter = (*factors, draw.uniform(-self.color_jitter / 10, self.color_jitter / 10), order)
            rng.shuffle(order)
        noise = 255 * PCA_VECTORS @ (rng.normal(0, self.pca_noise, 3) * PCA_VALUES) if self.pca_noise else np.zeros(3)
        more = random.Random(f"{seed} and later options")
        turn, blurs, sigma = more.uniform(-1, 1), more.random() < self.blur, more.uniform(*BLUR_SIGMA)
        return _Drawn(size, window, flip, jitter, turn * self.rotate, sigma * blurs, noise.astype(np.float32), more)

    def _labels(self, labels: Any, drawn: _Drawn) -> tuple[Any, View]:
        """Labels in the window, PADDED outside of the image, and where that lies; in another window while one class fills it."""
        found, view = self._labels_in(drawn.window, labels, drawn)
        for _ in range(CROP_TRIES - 1 if self.class_max_ratio < 1 else 0):
            if self._mixed(np.asarray(found)):
                break
            found, view = self._labels_in(random_window(drawn.more, drawn.size, self.crop), labels, drawn)
        return found, view

    def _labels_in(self, window: Box, labels: Any, drawn: _Drawn) -> tuple[Any, View]:
        view = View(drawn.size, window.mirrored(drawn.size[1]) if drawn.flip else window, drawn.angle)
        return self.backend.shown(self._source(labels, view, drawn), view, outside=PADDED), view

    def _source(self, pixels: Any, view: View, drawn: _Drawn) -> Any:
        """What `view` needs of the flipped image or labels."""
        if not drawn.flip:
            return self.backend.cropped(pixels, view.source)
        return self.backend.mirrored(self.backend.cropped(pixels, view.source.mirrored(drawn.size[1])))

    def _mixed(self, labels: np.ndarray) -> bool:
        """Whether there is a labelled pixel, and no class has more than its share of them."""
        pixels = np.bincount(labels.ravel(), minlength=256)[:PADDED]
        return 0 < pixels.max() <= self.class_max_ratio * pixels.sum()


class EvaluationTransform:
    """The image at network resolution, normalized; nothing random, and labels stay as they are on disk.

    Args:
        mean: RGB, 0..255 scale, of the encoder's normalization.
        deviation: RGB, 0..255 scale.
        resolution: network pixels per pixel on disk.
        backend: the library that resizes as in training.
    """

    def __init__(
        self,
        *,
        mean: Sequence[float],
        deviation: Sequence[float],
        resolution: float = 1.0,
        backend: BackendName = "albumentations",
    ):
        self.mean, self.deviation = np.array(mean, np.float32), np.array(deviation, np.float32)
        self.resolution, self.backend = resolution, backend_named(backend)

    def __call__(self, image: RawImage) -> Tensor:
        """uint8 [H, W, 3] to float32 [3, H', W']."""
        resized = self.backend.resized(image, _scaled(image.shape, self.resolution))
        return self.backend.normalized(resized, self.mean, self.deviation)


def _scaled(shape: tuple[int, ...], ratio: float) -> Size:
    return max(1, round(shape[0] * ratio)), max(1, round(shape[1] * ratio))
