"""Transforms by albumentations and OpenCV: arrays uint8 [H, W, 3] and [H, W]."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else 2.0.8 asks the package registry on every import

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor

from segkit.data.transforms.geometry import Box, View, blur_kernel_size
from segkit.tensors import Size


class Albumentations:
    """Backend of albumentations' transforms, called with given numbers in place of random ones.

    See `segkit.data.transforms.training.Backend`.
    """

    def __init__(self):
        self._flip, self._jitter, self._blur = A.HorizontalFlip(), A.ColorJitter(), A.GaussianBlur()

    def load(self, array: np.ndarray) -> np.ndarray:
        return array

    def resize(self, pixels: np.ndarray, size: Size, *, labels: bool = False) -> np.ndarray:
        """Downsample images by area, upsample them linearly."""
        if size == pixels.shape[:2]:
            return pixels
        # INTER_NEAREST would shift labels against the image, by 0.4 pixels at ratio 1.3 and 0.8 at 0.6
        smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
        method = cv2.INTER_NEAREST_EXACT if labels else cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return cv2.resize(pixels, size[::-1], interpolation=method)

    def crop(self, pixels: np.ndarray, box: Box) -> np.ndarray:
        return np.ascontiguousarray(pixels[box.top : box.top + box.height, box.left : box.left + box.width])

    def warp(self, pixels: np.ndarray, view: View, *, outside: int | None = None) -> np.ndarray:
        matrix = view.matrix((pixels.shape[0], pixels.shape[1]))
        matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5  # in OpenCV, the centre of pixel i is at i
        size = (view.window.width, view.window.height)
        if outside is None:
            method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            return cv2.warpAffine(pixels, matrix, size, None, method, cv2.BORDER_REPLICATE)
        method = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(pixels, matrix, size, None, method, cv2.BORDER_CONSTANT, (outside,))

    def flip(self, pixels: np.ndarray) -> np.ndarray:
        return self._flip.apply(pixels)

    def jitter(
        self, image: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float, order: list[int]
    ) -> np.ndarray:
        return self._jitter.apply(image, brightness, contrast, saturation, hue, order)

    def blur(self, image: np.ndarray, sigma: float) -> np.ndarray:
        return self._blur.apply(image, cv2.getGaussianKernel(blur_kernel_size(sigma, image.shape[:2]), sigma))

    def pad(self, pixels: np.ndarray, padding: tuple[int, int, int, int], value: int) -> np.ndarray:
        left, top, right, bottom = padding
        return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(value,) * 3)

    def normalize(self, image: np.ndarray, mean: np.ndarray, std: np.ndarray) -> Tensor:
        """Normalize through a table of the 256 values of each channel."""
        table = ((np.arange(256, dtype=np.float32) - mean[:, None]) / std[:, None]).astype(np.float32)
        normalized = np.empty((3, *image.shape[:2]), np.float32)
        for channel, plane in enumerate(cv2.split(image)):
            cv2.LUT(plane, table[channel], dst=normalized[channel])
        return torch.from_numpy(normalized)

    def ids(self, labels: np.ndarray) -> Tensor:
        return torch.from_numpy(labels.astype(np.int64))
