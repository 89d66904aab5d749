"""From samples to network inputs: geometry on image and labels, colour on the image, normalization.

Every random decision is a function of (seed, epoch, sample id) alone: not of workers, order or restarts.
"""

import hashlib
import os
import random
from collections.abc import Sequence

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # 2.0.8 asks the package registry on every import otherwise

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor

from segkit.data.dataset import Sample
from segkit.tensors import IGNORE, RawImage, Size

cv2.setNumThreads(0)  # workers are the parallelism; OpenCV's own threads only compete with them
PADDED = IGNORE - 1  # marks padding between cropping and normalization; no class may have this id

# Eigenvectors (columns) and eigenvalues of ImageNet's RGB covariance, 0..1 scale.
# Source: the method is Krizhevsky 2012, section 4.1, which prints no numbers; these are facebook/fb.resnet.torch's.
PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])


def sample_seed(seed: int, epoch: int, sample_id: str) -> int:
    """32-bit seed of one sample in one epoch."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{epoch}/{sample_id}".encode(), digest_size=4).digest(), "little")


class TrainingTransform:
    """Random scale, crop, flip and colour, then normalization.

    Args:
        mean: RGB, 0..255 scale, of the encoder's normalization.
        deviation: RGB, 0..255 scale.
        resolution: network pixels per pixel on disk, at scale 1.
        scale: (low, high) of the random scale, uniform, on top of `resolution`; one resize does both.
        crop: (height, width) in network pixels; smaller images are padded at random with 0 (the mean) and label 255. None: whole images.
        flip: probability of a horizontal flip.
        color_jitter: strength of brightness, contrast and saturation jitter, factors in 1 -+ strength; hue a tenth of it.
        pca_noise: standard deviation of noise along ImageNet's RGB principal components (AlexNet: 0.1).
    """

    def __init__(
        self,
        *,
        mean: Sequence[float],
        deviation: Sequence[float],
        resolution: float = 1.0,
        scale: tuple[float, float] = (1.0, 1.0),
        crop: Size | None = None,
        flip: float = 0.5,
        color_jitter: float = 0.0,
        pca_noise: float = 0.0,
    ):
        self.mean, self.deviation = np.array(mean, np.float32), np.array(deviation, np.float32)
        self.resolution, self.scale, self.pca_noise = resolution, scale, pca_noise
        steps: list[A.BasicTransform | A.BaseCompose] = []
        if crop is not None:
            steps.append(A.RandomCrop(*crop, pad_if_needed=True, pad_position="random", fill=0, fill_mask=PADDED, p=1))
        if flip:
            steps.append(A.HorizontalFlip(p=flip))
        if color_jitter:
            factor = (1 - color_jitter, 1 + color_jitter)
            steps.append(A.ColorJitter(factor, factor, factor, (-color_jitter / 10, color_jitter / 10), p=1))
        self.compose = A.Compose(steps)

    def __call__(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """Image float32 [3, H, W], normalized, and labels int64 [H, W]; all randomness from `seed`."""
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        # set_random_seed would start every step from the same number: flips would follow the scale, and so would crops
        self.compose.set_random_state(rng, draw)
        ratio = self.resolution * draw.uniform(*self.scale)
        out = self.compose(image=_resized(sample.image, ratio), mask=_resized(sample.labels, ratio, labels=True))
        image, labels = out["image"], out["mask"]
        mean = self.mean
        if self.pca_noise:
            mean = mean - (255 * PCA_VECTORS @ (rng.normal(0, self.pca_noise, 3) * PCA_VALUES)).astype(np.float32)
        normalized = _normalized(image, mean, self.deviation)
        padded = labels == PADDED
        labels = labels.astype(np.int64)
        if padded.any():
            normalized[:, padded] = 0
            labels[padded] = IGNORE
        return torch.from_numpy(normalized), torch.from_numpy(labels)


class EvaluationTransform:
    """The image at network resolution, normalized; nothing random, and labels stay as they are on disk.

    Args:
        mean: RGB, 0..255 scale, of the encoder's normalization.
        deviation: RGB, 0..255 scale.
        resolution: network pixels per pixel on disk.
    """

    def __init__(self, *, mean: Sequence[float], deviation: Sequence[float], resolution: float = 1.0):
        self.mean, self.deviation = np.array(mean, np.float32), np.array(deviation, np.float32)
        self.resolution = resolution

    def __call__(self, image: RawImage) -> Tensor:
        """uint8 [H, W, 3] to float32 [3, H', W']."""
        return torch.from_numpy(_normalized(_resized(image, self.resolution), self.mean, self.deviation))


def _resized(array: np.ndarray, ratio: float, *, labels: bool = False) -> np.ndarray:
    """`array` [H, W, ...] at `ratio` times its size: images by area or linearly, labels by the pixel under each centre."""
    height, width = (max(1, round(n * ratio)) for n in array.shape[:2])
    if (height, width) == array.shape[:2]:
        return array
    # INTER_NEAREST shifts labels against the image, by 0.4 pixels at ratio 1.3 and 0.8 at 0.6; its exact form does not
    method = cv2.INTER_NEAREST_EXACT if labels else cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return cv2.resize(array, (width, height), interpolation=method)


def _normalized(image: RawImage, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(image - mean) / deviation, uint8 [H, W, 3] to float32 [3, H, W], through a table of the 256 values of each channel."""
    table = ((np.arange(256, dtype=np.float32) - mean[:, None]) / deviation[:, None]).astype(np.float32)
    normalized = np.empty((3, *image.shape[:2]), np.float32)
    for channel, plane in enumerate(cv2.split(image)):
        cv2.LUT(plane, table[channel], dst=normalized[channel])
    return normalized
