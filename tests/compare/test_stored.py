"""Stored predictions are shown only if they are what was scored."""

import numpy as np
import pytest
from PIL import Image

from segkit.compare.collect import read_methods
from segkit.compare.stored import read_predictions
from segkit.data.datasets.streets import Streets
from segkit.errors import InputError
from segkit.experiments.comparison import open_test_split


def everything(paths, dataset=None):
    methods = read_methods(paths)
    runs = [run for method in methods for run in method.runs]
    return list(read_predictions(runs, dataset or open_test_split(methods)))


def a_prediction(path):
    return path / "predictions/test/streets-test-00002.png"


def test_predictions_come_with_their_sample_and_in_the_order_of_the_runs(trained):
    found = everything(trained)
    assert [each.sample.id for each in found] == [f"streets-test-{index:05}" for index in range(6)]
    for path, predicted in zip(trained, found[2].predictions, strict=True):
        with Image.open(a_prediction(path)) as file:
            np.testing.assert_array_equal(predicted, np.asarray(file))


@pytest.mark.parametrize("change", [lambda ids: (ids + 1) % 11, lambda ids: ids[1:], lambda ids: ids + np.uint8(200)])
def test_predictions_that_do_not_give_the_confusion_matrix_are_refused(copies, change):
    with Image.open(a_prediction(copies[1])) as image:
        changed = change(np.asarray(image))
    Image.fromarray(changed).save(a_prediction(copies[1]))
    with pytest.raises(InputError, match="00002.png does not give the image's confusion matrix. 'segkit evaluate"):
        everything(copies)


def test_a_damaged_prediction_is_refused_and_a_missing_one_says_how_to_make_it(copies):
    a_prediction(copies[1]).write_bytes(b"")
    with pytest.raises(InputError, match="00002.png: empty file"):
        everything(copies)
    a_prediction(copies[2]).unlink()
    with pytest.raises(InputError, match="fcn8s_0 lacks the predictions of 1 of 6 test images. 'segkit evaluate"):
        everything(copies)


@pytest.mark.parametrize("other", [{"seed": 1}, {"test_images": 7}])
def test_other_labels_than_those_that_were_scored_are_refused(trained, other):
    settings = {"size": (32, 48), "train_images": 8, "val_images": 3, "test_images": 6} | other
    with pytest.raises(InputError, match="the test labels are not those that the runs were scored on"):
        everything(trained, Streets("test", **settings))


def test_runs_that_name_the_images_differently_are_refused(copies):
    with np.load(copies[2] / "confusion_test.npz") as file:
        stored = dict(file)
    np.savez_compressed(copies[2] / "confusion_test.npz", **stored | {"ids": np.char.add(stored["ids"], "x")})
    with pytest.raises(InputError, match="fcn8s_0 names its test images differently"):
        everything(copies)
