"""Transforms by torchvision.transforms.v2: tensors uint8 or float32 [3, H, W] (0..255 or 0..1) and uint8 [1, H, W]."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from segkit.data.transforms.geometry import Box, View, blur_kernel_size
from segkit.tensors import Size


class Torchvision:
    """Backend of transforms, see `segkit.data.transforms.training.Backend`.

    It differs from albumentations as torchvision does: images are downsampled by a triangle filter instead of by area,
    and colours are not rounded between steps.
    """

    def load(self, array: np.ndarray) -> Tensor:
        pixels = torch.tensor(array)  # a copy: the decoded array may be read-only
        return pixels[None] if array.ndim == 2 else pixels.permute(2, 0, 1)

    def resize(self, pixels: Tensor, size: Size, *, labels: bool = False) -> Tensor:
        """Resize images linearly, with a wider filter when downsampling."""
        return F.resize(pixels, list(size), InterpolationMode.NEAREST_EXACT if labels else InterpolationMode.BILINEAR)

    def crop(self, pixels: Tensor, box: Box) -> Tensor:
        return F.crop(pixels, *box)

    def jitter(
        self, image: Tensor, brightness: float, contrast: float, saturation: float, hue: float, order: list[int]
    ) -> Tensor:
        steps = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        image, factors = F.to_dtype(image, torch.float32, scale=True), (brightness, contrast, saturation, hue)
        with _one_thread():
            for index in order:
                image = steps[index](image, factors[index])
        return image

    def blur(self, image: Tensor, sigma: float) -> Tensor:
        kernel_size = blur_kernel_size(sigma, (image.shape[-2], image.shape[-1]))
        image = F.to_dtype(image, torch.float32, scale=True)
        for lengths in ([kernel_size, 1], [1, kernel_size]):  # torchvision would build the 2D kernel
            image = F.gaussian_blur(image, lengths, [sigma, sigma])
        return image

    def warp(self, pixels: Tensor, view: View, *, outside: int | None = None) -> Tensor:
        (height, width), window = pixels.shape[-2:], view.window
        matrix = view.matrix((height, width))
        corners = [[0, window.width, 0, window.width], [0, 0, window.height, window.height], [1, 1, 1, 1]]
        corners = matrix @ np.array(corners)
        left, top = (int(first) - 1 for first in np.floor(corners.min(1)))
        right, bottom = (int(last) + 1 for last in np.ceil(corners.max(1)))
        # Take the visible pixels, at least one, and pad them to the size of the window's bounding box, because
        # torchvision's result is as large as its input.
        rows, columns = _seen(top, bottom, height), _seen(left, right, width)
        top, left = min(top, rows.start), min(left, columns.start)
        bottom, right = max(bottom, rows.stop, top + window.height), max(right, columns.stop, left + window.width)
        padding = [columns.start - left, rows.start - top, right - columns.stop, bottom - rows.stop]
        mode = "edge" if outside is None else "constant"
        pixels = F.pad(pixels[..., rows, columns], padding, fill=outside, padding_mode=mode)
        matrix[:, 2] -= left, top
        method = InterpolationMode.BILINEAR if outside is None else InterpolationMode.NEAREST
        fill = None if outside is None else [float(outside)]
        pixels = F.perspective(pixels, None, None, method, fill, coefficients=[*matrix.ravel().tolist(), 0.0, 0.0])
        return pixels[..., : window.height, : window.width]

    def flip(self, pixels: Tensor) -> Tensor:
        return F.horizontal_flip(pixels)

    def pad(self, pixels: Tensor, padding: tuple[int, int, int, int], value: int) -> Tensor:
        return F.pad(pixels, list(padding), fill=value)

    def normalize(self, image: Tensor, mean: np.ndarray, std: np.ndarray) -> Tensor:
        image = image.float() if image.dtype == torch.uint8 else image * 255
        return F.normalize(image, mean.tolist(), std.tolist()).contiguous()

    def ids(self, labels: Tensor) -> Tensor:
        return labels[0].long().contiguous()


def _seen(start: int, stop: int, length: int) -> slice:
    first = max(min(start, length - 1), 0)
    return slice(first, max(min(stop, length), first + 1))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, because the bits of an image's mean (for contrast) depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
