"""A dataset from outside: a folder of NumPy arrays.

Use it:  segkit train configs/own/fcn8s.yaml plugins=docs/examples/npy_folder.py \
             "data={name: npy_folder, root: PATH, classes: [road, sky]}"
"""

import hashlib
from pathlib import Path

import numpy as np

from segkit.data.dataset import Sample
from segkit.errors import InputError
from segkit.tensors import RawLabels


class NpyFolder:
    """Samples `ROOT/SPLIT/NAME_image.npy`, uint8 [H, W, 3] RGB, each with `ROOT/SPLIT/NAME_labels.npy`, uint8 [H, W].

    Labels hold the class ids 0, 1, ... in the order of `classes`; 255 is ignored.

    Args:
        split: "train", "val" or "test".
        root: the folder.
        classes: their names.
    Raises:
        InputError: if a split has no image.
    """

    def __init__(self, split: str, *, root: Path, classes: tuple[str, ...]):
        self.class_names = classes
        shades = np.linspace(0, 255, len(classes)).round().astype(np.uint8)
        self.palette = np.stack([shades, 255 - shades, shades // 2], 1)  # uint8 [K, 3], RGB
        self.images = sorted((root / split).glob("*_image.npy"))
        if not self.images:
            raise InputError(f"{root / split} holds no *_image.npy; expected the {split} split. Set data.root=PATH.")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        path = self.images[index]
        return Sample(path.stem.removesuffix("_image"), np.load(path), self.labels(index))

    def labels(self, index: int) -> RawLabels:
        """Return the labels alone, uint8 [H, W], 255 = ignored: what counting pixels needs."""
        return np.load(self._label_file(index))

    def fingerprint(self) -> str:
        """Return a hex digest that changes whenever any label of the split changes."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for index in range(len(self)):
            digest.update(hashlib.sha256(self._label_file(index).read_bytes()).digest())
        return digest.hexdigest()

    def _label_file(self, index: int) -> Path:
        image = self.images[index]
        return image.with_name(image.name.replace("_image.npy", "_labels.npy"))


DATASETS = {"npy_folder": NpyFolder}
