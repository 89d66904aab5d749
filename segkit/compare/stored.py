"""The test split and the stored predictions of every run. No model runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segkit.compare.collect import Run
from segkit.data.dataset import Dataset, Sample
from segkit.data.files.images import read_index_mask
from segkit.errors import InputError, nearest
from segkit.tensors import IGNORE, RawLabels


@dataclass(frozen=True)
class Predicted:
    """A test image, its labels, and the class ids that each run predicted, uint8 [H, W]."""

    sample: Sample
    predictions: tuple[RawLabels, ...]


def read_predictions(runs: Sequence[Run], dataset: Dataset, images: Sequence[str] | None = None) -> Iterator[Predicted]:
    """Test images with the stored predictions of the runs.

    Args:
        images: ids of the images that are wanted, in this order; None: all of them, in the order of the dataset.
    Raises:
        InputError: if an image or a prediction is missing or was not scored as it is now.
    """
    ids = runs[0].test[0]
    for run in runs:
        path = run.folder.path
        if run.test[0] != ids:
            raise InputError(
                f"{path} names its test images differently than the first run. Repeat 'segkit evaluate' for both."
            )
        lacking = sum(not run.folder.prediction("test", name).is_file() for name in ids)
        if lacking:
            raise InputError(
                f"{path} lacks the predictions of {lacking} of {len(ids)} test images. "
                f"'segkit evaluate {path}' stores them."
            )
    if len(dataset) != len(ids) or dataset.fingerprint() != runs[0].fingerprint:
        raise InputError("the test labels are not those that the runs were scored on. Restore the dataset.")
    places = {name: index for index, name in enumerate(ids)}
    for name in ids if images is None else images:
        if name not in places:
            raise InputError(f"no test image is called '{name}'.{nearest(name, ids)} Expected ids such as '{ids[0]}'.")
        index = places[name]
        sample = dataset[index]
        if sample.id != name:
            raise InputError(f"test image {index} is '{sample.id}', the runs have '{name}'. Restore the dataset.")
        yield Predicted(sample, tuple(_read(run, index, sample) for run in runs))


def _read(run: Run, index: int, sample: Sample) -> RawLabels:
    """The stored prediction, checked against the stored confusion matrix of the image."""
    path, matrix = run.folder.prediction("test", sample.id), run.test[1][index]
    predicted = read_index_mask(path)
    counted = sample.labels != IGNORE
    same = predicted.shape == sample.labels.shape
    if same and not (predicted[counted] >= len(matrix)).any():
        pairs = sample.labels[counted].astype(np.int64) * len(matrix) + predicted[counted]
        if np.array_equal(np.bincount(pairs, minlength=matrix.size), matrix.ravel()):
            return predicted
    raise InputError(
        f"{path} does not give the image's confusion matrix. 'segkit evaluate {run.folder.path}' writes both again."
    )
