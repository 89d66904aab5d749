"""Datasets from plugins and other packages, checked when they are built and whenever a sample is read."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from segkit.data.dataset import Dataset, Sample
from segkit.errors import InputError
from segkit.tensors import IGNORE, RawLabels


class OutsideDataset:
    """A dataset of a plugin or of an installed package, checked against the protocol `Dataset`.

    Args:
        dataset: the dataset that its constructor returned.
        name: its name in the config.
        prepare: loads the code of its class; called in a data worker that starts without this process's modules.
    Raises:
        InputError: if it has no samples, class names or palette; on access, if a sample violates the protocol.
    """

    def __init__(self, dataset: Dataset, name: str, prepare: Callable[[], None]):
        self.dataset, self.name, self.prepare = dataset, name, prepare
        promised = ("class_names", "palette", "labels", "fingerprint", "__len__", "__getitem__")
        if lacking := [attribute for attribute in promised if not hasattr(dataset, attribute)]:
            raise InputError(
                f"data.name = '{name}': its dataset lacks {', '.join(lacking)}. See segkit.data.dataset.Dataset."
            )
        self.class_names, self.palette = tuple(dataset.class_names), np.asarray(dataset.palette)
        count = len(self.class_names)
        if not 1 <= count < IGNORE or not all(isinstance(name, str) for name in self.class_names):
            raise self._refusal(f"class_names = {self.class_names}", "1 to 254 names")
        if self.palette.shape != (count, 3) or self.palette.dtype != np.uint8:
            raise self._refusal(f"palette: {_kind(self.palette)}", f"uint8 [{count}, 3], a colour for each class")
        if not len(dataset):
            raise self._refusal("it has no sample", "at least one")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        if not isinstance(sample, Sample):
            raise self._refusal(f"sample {index} is a {type(sample).__name__}", "a segkit.data.dataset.Sample")
        if _kind(sample.image) != f"uint8 [{', '.join(map(str, (*np.shape(sample.labels), 3)))}]":
            expected = f"uint8 [H, W, 3], H and W as of the labels, {_kind(sample.labels)}"
            raise self._refusal(f"image of sample '{sample.id}': {_kind(sample.image)}", expected)
        return Sample(sample.id, sample.image, self._checked(sample.labels, index))

    def labels(self, index: int) -> RawLabels:
        """Return only the labels, uint8 [H, W], 255 = ignored."""
        return self._checked(self.dataset.labels(index), index)

    def fingerprint(self) -> str:
        """Return a hex digest that changes whenever any label of the split changes."""
        return self.dataset.fingerprint()

    def _checked(self, labels: Any, index: int) -> RawLabels:
        if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.ndim != 2:
            raise self._refusal(f"labels of sample {index}: {_kind(labels)}", "uint8 [H, W]")
        wrong = np.unique(labels[(labels >= len(self.class_names)) & (labels != IGNORE)])
        if wrong.size:
            raise self._refusal(
                f"labels of sample {index} hold {wrong.tolist()}", f"0..{len(self.class_names) - 1}, or 255"
            )
        return labels

    def _refusal(self, found: str, expected: str) -> InputError:
        return InputError(f"data.name = '{self.name}': {found}; expected {expected}. Fix the dataset's code.")

    def __reduce__(self) -> tuple:
        return _restored, (self.name, self.prepare, pickle.dumps(self.dataset))


def _restored(name: str, prepare: Callable[[], None], dataset: bytes) -> OutsideDataset:
    prepare()
    return OutsideDataset(pickle.loads(dataset), name, prepare)


def _kind(value: Any) -> str:
    """Return type and shape of an array, as `uint8 [3, 4]`, or the type of another value."""
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
