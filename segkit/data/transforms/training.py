"""From samples to network inputs: geometry on image and labels, colour on the image, normalization.

Every random decision is a function of (seed, epoch, sample id) alone: not of workers, order, restarts or the backend,
which only executes.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from torch import Tensor

from segkit.data.dataset import Sample
from segkit.data.transforms.geometry import Box, View, random_window
from segkit.tensors import IGNORE, RawImage, RawLabels, Size

cv2.setNumThreads(0)  # workers are the parallelism; OpenCV's own threads only compete with them
PADDED = IGNORE - 1  # marks padding between cropping and normalization; no class may have this id

# Eigenvectors (columns) and eigenvalues of ImageNet's RGB covariance, 0..1 scale.
# Source: the method is Krizhevsky 2012, section 4.1, which prints no numbers; these are facebook/fb.resnet.torch's.
PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])

BLUR_SIGMA = (
    0.1,
    2.0,
)  # network pixels. Source: MoCo v2 (arXiv:2003.04297); in segmentation UniMatch (arXiv:2208.09910)
CROP_TRIES = 10  # Source: mmsegmentation, Detectron2

BackendName = Literal["albumentations", "torchvision"]


def sample_seed(seed: int, epoch: int, sample_id: str) -> int:
    """32-bit seed of one sample in one epoch."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{epoch}/{sample_id}".encode(), digest_size=4).digest(), "little")


class Backend(Protocol):
    """What executes transforms, on pixels in a form of its own. Nothing here is random."""

    def loaded(self, array: np.ndarray) -> Any:
        """The image [H, W, 3] or labels [H, W] of a file, uint8."""
        ...

    def resized(self, pixels: Any, size: Size, *, labels: bool = False) -> Any:
        """The same at another size; labels by the pixel under each centre."""
        ...

    def cropped(self, pixels: Any, box: Box) -> Any:
        """What lies in a box."""
        ...

    def turned(self, pixels: Any, view: View, *, outside: int | None = None) -> Any:
        """What a view shows of pixels of any size, not flipped: labels by the pixel under each centre, `outside` where
        there is none; images (None) linearly, their borders continued."""
        ...

    def mirrored(self, pixels: Any) -> Any:
        """Left and right exchanged."""
        ...

    def jittered(
        self, image: Any, brightness: float, contrast: float, saturation: float, hue: float, order: list[int]
    ) -> Any:
        """Three factors, a turn of the hue (1: all around), and which of the four comes when."""
        ...

    def blurred(self, image: Any, sigma: float) -> Any:
        """Gaussian blur by a kernel of `blur_kernel_size`; borders are mirrored."""
        ...

    def padded(self, pixels: Any, sides: tuple[int, int, int, int], value: int) -> Any:
        """With so many pixels more to the left, above, to the right and below."""
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
        from segkit.data.transforms.torchvision import Torchvision

        return Torchvision()
    from segkit.data.transforms.albumentations import Albumentations

    return Albumentations()


@dataclass(frozen=True)
class _Drawn:
    """The random numbers of one sample."""

    view: View  # of the first window
    jitter: tuple[float, float, float, float, list[int]] | None  # as `Backend.jittered` takes it
    noise: np.ndarray | None  # RGB, 0..255 scale
    sigma: float  # of the blur, in network pixels; 0: none
    more: random.Random  # for further windows


class TrainingTransform:
    """Random scale, turn, crop, flip and colour, then normalization.

    Args:
        mean: RGB, 0..255 scale, of the encoder's normalization.
        deviation: RGB, 0..255 scale.
        resolution: network pixels per pixel on disk, at scale 1.
        scale: (low, high) of the random scale, uniform, on top of `resolution`; one resize does both.
        rotate: largest angle in degrees, uniform, to either side, about the middle of the image; turn and resize are
            one step.
            Source: hszhao/semseg; differs: it turns half of the images, after the resize.
        crop: (height, width) in network pixels; smaller images are padded at random. None: whole images.
        class_max_ratio: largest share of a crop's labelled pixels that one class may have; the last of ten crops is
            taken as it is. 1: any.
            Source: mmsegmentation's cat_max_ratio, 0.75 in its configs; Detectron2's single_category_max_area.
        flip: probability of a horizontal flip.
        color_jitter: strength of brightness, contrast and saturation jitter, factors in 1 -+ strength; hue a tenth of
            it.
        blur: probability of a Gaussian blur, standard deviation uniform in 0.1 to 2 pixels.
        pca_noise: standard deviation of noise along ImageNet's RGB principal components (AlexNet: 0.1).
        backend: the library that does it.

    What lies outside of the image is 0 (the mean) and label 255. It is added after the changes of colour and has no
    part in them; of a turned image they see the borders continued.
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
        labels, view = self._labels(sample.labels, drawn)
        image = self._colored(self._seen(self._image(sample.image, view), view), drawn)
        if any(view.sides):
            image = backend.padded(image, view.sides, 0)
        mean = self.mean if drawn.noise is None else self.mean - drawn.noise
        normalized, ids = backend.normalized(image, mean, self.deviation), backend.ids(labels)
        if view.has_outside:
            padded = ids == PADDED
            normalized.masked_fill_(padded, 0)
            ids.masked_fill_(padded, IGNORE)
        return normalized, ids

    def _draw(self, shape: tuple[int, ...], seed: int) -> _Drawn:
        """First the numbers that albumentations 2.0.8 would draw from the seed, in its order; then those of later
        options."""
        draw = random.Random(seed)
        size = _scaled(shape, self.resolution * draw.uniform(*self.scale))
        draw.random()  # albumentations' Compose asks whether to do anything
        window = random_window(draw, size, self.crop)
        flip = self.flip >= 1 or (self.flip > 0 and draw.random() < self.flip)
        jitter, noise = self._draw_colors(draw, seed)
        more = random.Random(f"{seed} and later options")
        angle, blurs, sigma = self.rotate * more.uniform(-1, 1), more.random() < self.blur, more.uniform(*BLUR_SIGMA)
        return _Drawn(View(size, window, angle, flip), jitter, noise, sigma if blurs else 0, more)

    def _draw_colors(self, draw: random.Random, seed: int) -> tuple[tuple | None, np.ndarray | None]:
        if not (self.color_jitter or self.pca_noise):
            return None, None
        jitter, noise, rng = None, None, np.random.default_rng(seed)
        if self.color_jitter:
            strengths = (self.color_jitter, self.color_jitter, self.color_jitter, self.color_jitter / 10)
            factors = [draw.uniform(middle - s, middle + s) for middle, s in zip((1, 1, 1, 0), strengths, strict=True)]
            order = [0, 1, 2, 3]
            rng.shuffle(order)
            jitter = (*factors, order)
        if self.pca_noise:
            noise = (255 * PCA_VECTORS @ (rng.normal(0, self.pca_noise, 3) * PCA_VALUES)).astype(np.float32)
        return jitter, noise

    def _labels(self, array: RawLabels, drawn: _Drawn) -> tuple[Any, View]:
        """Labels in the window, PADDED outside of the image, and where that lies; in another window while one class
        fills it."""
        labels, view = self.backend.loaded(array), drawn.view
        if not view.angle:
            labels = self.backend.resized(labels, view.size, labels=True)
        found = self._seen(labels, view, outside=PADDED)
        for _ in range(CROP_TRIES - 1):
            if self.class_max_ratio == 1 or self._mixed(np.asarray(found)):
                break
            view = replace(view, window=random_window(drawn.more, view.size, self.crop))
            found = self._seen(labels, view, outside=PADDED)
        return self.backend.padded(found, view.sides, PADDED) if any(view.sides) else found, view

    def _image(self, array: RawImage, view: View) -> Any:
        """The image at network resolution; before a turn, which brings it there, at twice that at most, so that no
        pixel is skipped."""
        image, (height, width) = self.backend.loaded(array), view.size
        if not view.angle:
            return self.backend.resized(image, view.size)
        large = 2 * height < array.shape[0] and 2 * width < array.shape[1]
        return self.backend.resized(image, (2 * height, 2 * width)) if large else image

    def _seen(self, pixels: Any, view: View, *, outside: int | None = None) -> Any:
        """The window, or what of it is visible of an upright image, after the flip."""
        pixels = (
            self.backend.turned(pixels, view, outside=outside)
            if view.angle
            else self.backend.cropped(pixels, view.visible)
        )
        return self.backend.mirrored(pixels) if view.flip else pixels

    def _colored(self, image: Any, drawn: _Drawn) -> Any:
        if drawn.jitter:
            image = self.backend.jittered(image, *drawn.jitter)
        if drawn.sigma:
            image = self.backend.blurred(image, drawn.sigma)
        return image

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
        resized = self.backend.resized(self.backend.loaded(image), _scaled(image.shape, self.resolution))
        return self.backend.normalized(resized, self.mean, self.deviation)


def _scaled(shape: tuple[int, ...], ratio: float) -> Size:
    return max(1, round(shape[0] * ratio)), max(1, round(shape[1] * ratio))
