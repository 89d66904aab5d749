"""Transforms by albumentations and OpenCV: arrays uint8 [H, W, 3] and [H, W]."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # 2.0.8 asks the package registry on every import otherwise

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor

from segkit.data.transforms_geometry import Box, View
from segkit.tensors import Size

cv2.setNumThreads(0)  # workers are the parallelism; OpenCV's own threads only compete with them


class Albumentations:
    """See `segkit.data.transforms.Backend`. albumentations' transforms execute; what they would draw at random is given to them."""

    def __init__(self):
        self.flip, self.jitter, self.gaussian = A.HorizontalFlip(), A.ColorJitter(), A.GaussianBlur()

    def resized(self, array: np.ndarray, size: Size, *, labels: bool = False) -> np.ndarray:
        """Images by area or linearly, labels by the pixel under each centre."""
        if size == array.shape[:2]:
            return array
        # INTER_NEAREST shifts labels against the image, by 0.4 pixels at ratio 1.3 and 0.8 at 0.6; its exact form does not
        smaller = size[0] * size[1] < array.shape[0] * array.shape[1]
        method = cv2.INTER_NEAREST_EXACT if labels else cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return cv2.resize(array, size[::-1], interpolation=method)

    def cropped(self, array: np.ndarray, box: Box) -> np.ndarray:
        return np.ascontiguousarray(array[box.top : box.top + box.height, box.left : box.left + box.width])

    def jittered(self, image: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float, order: list[int]) -> np.ndarray:
        return self.jitter.apply(image, brightness, contrast, saturation, hue, order)

    def blurred(self, image: np.ndarray, sigma: float, kernel_size: int) -> np.ndarray:
        return self.gaussian.apply(image, cv2.getGaussianKernel(kernel_size, sigma))

    def shown(self, array: np.ndarray, view: View, *, outside: int | None = None) -> np.ndarray:
        top, left = view.source.top - view.window.top, view.source.left - view.window.left
        border, value = (cv2.BORDER_REPLICATE, 0) if outside is None else (cv2.BORDER_CONSTANT, outside)
        if view.angle:
            method = cv2.WARP_INVERSE_MAP | (cv2.INTER_LINEAR if outside is None else cv2.INTER_NEAREST)
            return cv2.warpAffine(array, view.matrix, (view.window.width, view.window.height), None, method, border, (value,))
        if view.source == view.window:
            return array
        bottom, right = view.window.height - view.source.height - top, view.window.width - view.source.width - left
        return cv2.copyMakeBorder(array, top, bottom, left, right, border, value=(value,))

    def mirrored(self, array: np.ndarray) -> np.ndarray:
        return self.flip.apply(array)

    def normalized(self, image: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> Tensor:
        """Through a table of the 256 values of each channel."""
        table = ((np.arange(256, dtype=np.float32) - mean[:, None]) / deviation[:, None]).astype(np.float32)
        normalized = np.empty((3, *image.shape[:2]), np.float32)
        for channel, plane in enumerate(cv2.split(image)):
            cv2.LUT(plane, table[channel], dst=normalized[channel])
        return torch.from_numpy(normalized)

    def ids(self, labels: np.ndarray) -> Tensor:
        return torch.from_numpy(labels.astype(np.int64))
