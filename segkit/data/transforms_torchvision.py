"""Transforms by torchvision.transforms.v2: tensors uint8 or float32 [3, H, W] (0..255 or 0..1) and uint8 [1, H, W]."""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from segkit.data.transforms_geometry import Box, View
from segkit.tensors import Size


class Torchvision:
    """See `segkit.data.transforms.Backend`. Differs from albumentations where torchvision does: smaller images are made by a
    triangle filter in place of area, and colours are not rounded between steps."""

    def resized(self, array: np.ndarray, size: Size, *, labels: bool = False) -> Tensor:
        """Images linearly, with a wider filter where they shrink; labels by the pixel under each centre."""
        pixels = torch.tensor(array)
        pixels = pixels[None] if labels else pixels.permute(2, 0, 1)
        return F.resize(pixels, list(size), InterpolationMode.NEAREST_EXACT if labels else InterpolationMode.BILINEAR)

    def cropped(self, pixels: Tensor, box: Box) -> Tensor:
        return F.crop(pixels, *box)

    def jittered(self, image: Tensor, brightness: float, contrast: float, saturation: float, hue: float, order: list[int]) -> Tensor:
        steps = (F.adjust_brightness, brightness), (F.adjust_contrast, contrast), (F.adjust_saturation, saturation), (F.adjust_hue, hue)
        image = F.to_dtype(image, torch.float32, scale=True)
        for index in order:
            step, factor = steps[index]
            image = step(image, factor)
        return image

    def blurred(self, image: Tensor, sigma: float, kernel_size: int) -> Tensor:
        return F.gaussian_blur(F.to_dtype(image, torch.float32, scale=True), [kernel_size, kernel_size], [sigma, sigma])

    def shown(self, pixels: Tensor, view: View, *, outside: int | None = None) -> Tensor:
        source, window, margin = view.source, view.window, 1 if view.angle else 0
        top, left = (min(of, to) - margin for of, to in ((source.top, window.top), (source.left, window.left)))
        bottom = max(source.top + source.height, window.top + window.height) + margin
        right = max(source.left + source.width, window.left + window.width) + margin
        sides = [source.left - left, source.top - top, right - source.left - source.width, bottom - source.top - source.height]
        if any(sides):
            pixels = F.pad(pixels, sides, fill=outside, padding_mode="edge" if outside is None else "constant")
        if view.angle:
            middle = [view.size[1] / 2 - left, view.size[0] / 2 - top]
            method = InterpolationMode.BILINEAR if outside is None else InterpolationMode.NEAREST
            pixels = F.rotate(pixels, view.angle, method, center=middle, fill=outside)
        return F.crop(pixels, window.top - top, window.left - left, window.height, window.width)

    def mirrored(self, pixels: Tensor) -> Tensor:
        return F.horizontal_flip(pixels)

    def normalized(self, image: Tensor, mean: np.ndarray, deviation: np.ndarray) -> Tensor:
        image = image.float() if image.dtype == torch.uint8 else image * 255
        return F.normalize(image, mean.tolist(), deviation.tolist()).contiguous()

    def ids(self, labels: Tensor) -> Tensor:
        return labels[0].long().contiguous()
