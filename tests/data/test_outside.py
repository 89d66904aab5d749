"""A dataset from outside is held to what datasets promise."""

import functools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from segkit.data.dataset import Sample
from segkit.data.outside import OutsideDataset
from segkit.errors import InputError


def nothing():
    pass


class Squares:
    """Two classes and two samples; anything of it can be replaced by something wrong."""

    def __init__(self, **wrong):
        self.class_names, self.palette = ("road", "sky"), np.zeros((2, 3), np.uint8)
        self.count, self.image, self.map = 2, np.zeros((4, 6, 3), np.uint8), np.full((4, 6), 255, np.uint8)
        vars(self).update(wrong)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Sample(str(index), self.image, self.map)

    def labels(self, index):
        return self.map

    def fingerprint(self):
        return "squares"


def test_one_that_keeps_its_promises_is_as_it_is_in_any_process():
    dataset = OutsideDataset(Squares(), "squares", functools.partial(nothing))
    for each in (dataset, pickle.loads(pickle.dumps(dataset))):
        assert (len(each), each.class_names, each.fingerprint()) == (2, ("road", "sky"), "squares")
        assert (each[1].id, each.labels(0).shape) == ("1", (4, 6))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"class_names": ()}, "class_names = (); expected 1 to 254 names"),
        ({"class_names": (1, 2)}, "class_names = (1, 2); expected 1 to 254 names"),
        ({"palette": np.zeros((2, 3))}, "palette: float64 [2, 3]; expected uint8 [2, 3]"),
        ({"count": 0}, "it has no sample; expected at least one"),
        ({"image": np.zeros((4, 6), np.uint8)}, "image of sample '0': uint8 [4, 6]; expected uint8 [H, W, 3]"),
        ({"image": np.zeros((5, 6, 3), np.uint8)}, "image of sample '0': uint8 [5, 6, 3]; expected uint8 [H, W, 3]"),
        ({"map": np.zeros((4, 6), int)}, "labels of sample 0: int64 [4, 6]; expected uint8 [H, W]"),
        ({"map": np.full((4, 6), 2, np.uint8)}, "labels of sample 0 hold [2]; expected 0..1, or 255"),
    ],
)
def test_one_that_breaks_a_promise_is_refused_with_what_was_expected(wrong, sentence):
    with pytest.raises(InputError) as caught:
        OutsideDataset(Squares(**wrong), "squares", nothing)[0]
    assert str(caught.value).startswith(f"data.name = 'squares': {sentence}")


def test_one_without_labels_is_refused():
    with pytest.raises(InputError, match="its dataset lacks labels, fingerprint, __len__, __getitem__"):
        OutsideDataset(SimpleNamespace(class_names=("a",), palette=0), "squares", nothing)  # pyright: ignore
