"""Statistics of a split, from one pass over its images and labels: pixels, sizes, brightness."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from segkit.data.class_weights import ClassCounts, class_counts
from segkit.data.dataset import Dataset, pixels_of_classes
from segkit.data.threads import in_threads


@dataclass(frozen=True)
class SplitStatistics:
    """Statistics of a split of N images and K classes.

    Attributes:
        sizes: int64 [N, 2], (height, width) of each image, pixels.
        pixels: int64 [N, K + 1], pixels of each class, then void, in each image.
        levels: int64 [3, 256], histogram of the values of all images, per RGB channel.
    """

    sizes: np.ndarray
    pixels: np.ndarray
    levels: np.ndarray

    @property
    def counts(self) -> ClassCounts:
        """Counts for computing class weights."""
        return class_counts(self.pixels)

    @property
    def median_shares(self) -> list[float | None]:
        """Median share [K + 1] of an image's pixels, over the images that hold the class; None if no image does."""
        shares = self.pixels / self.pixels.sum(1, keepdims=True)
        return [float(np.median(column[column > 0])) if column.any() else None for column in shares.T]

    @property
    def mean(self) -> tuple[float, ...]:
        """RGB mean of all pixels, 0..255 scale, computed from exact sums."""
        return tuple(total / count for count, total, _ in self._sums())

    @property
    def std(self) -> tuple[float, ...]:
        """RGB std of all pixels (not of image means; divided by N), 0..255 scale."""
        return tuple((count * squares - total**2) ** 0.5 / count for count, total, squares in self._sums())

    def _sums(self) -> Iterator[tuple[int, int, int]]:
        """Yield number, sum and sum of squares of each channel's values, as Python integers, which cannot overflow."""
        for channel in self.levels.tolist():
            total, squares = (sum(n * value**power for value, n in enumerate(channel)) for power in (1, 2))
            yield sum(channel), total, squares


def split_statistics(dataset: Dataset, progress: Callable[[int], object] = lambda _: None) -> SplitStatistics:
    """Read a split with a thread per core and return its statistics; `progress` is called with 1 for each sample.

    Raises:
        InputError: if a file cannot be used.
    """
    classes = len(dataset.class_names)
    sizes, pixels = np.zeros((len(dataset), 2), np.int64), np.zeros((len(dataset), classes + 1), np.int64)
    levels = np.zeros((3, 256), np.int64)

    def read(index: int) -> np.ndarray:
        sample = dataset[index]
        sizes[index], pixels[index] = sample.labels.shape, pixels_of_classes(sample.labels, classes)
        return np.stack([np.bincount(sample.image[..., channel].ravel(), minlength=256) for channel in range(3)])

    for found in in_threads(read, len(dataset)):
        levels += found
        progress(1)
    return SplitStatistics(sizes, pixels, levels)
