"""Order and batches: functions of (seed, step), whatever the workers and wherever a run goes on."""

import itertools

import numpy as np
import pytest
import torch
from transform_samples import evaluation_transform, training_transform

from segkit.data import dataset as dataset_module
from segkit.data.dataset import Sample
from segkit.data.datasets.camvid import camvid
from segkit.data.loader import Cached, Order, evaluation_batches, training_batches
from segkit.errors import InputError

NORMALIZATION = {"mean": (120, 110, 100), "std": (60, 55, 50)}
AUGMENTED = training_transform(NORMALIZATION, scale=(0.6, 1.9), crop=(10, 12), color_jitter=0.2)

# Python from 3.12 on warns of what torch's workers do
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture
def train(tiny_camvid):
    """Seven samples."""
    return camvid(root=tiny_camvid).checked("train")


def order(num_samples=7, batch_size=2, *, seed=0, first=0, last=9):
    return Order(num_samples, batch_size, seed=seed, first_step=first, last_step=last)


def refusal(batches):
    with pytest.raises(InputError) as caught:
        list(batches)
    return str(caught.value)


def same(ones, others):
    ones, others = (list(itertools.chain.from_iterable(steps)) for steps in (ones, others))
    return len(ones) == len(others) and all(
        torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels) and a.ids == b.ids
        for a, b in zip(ones, others, strict=True)
    )


def test_with_replacement_an_epoch_is_as_many_independent_draws():
    drawn = Order(50, 1, seed=3, last_step=100, replacement=True)
    first, second = ([index for [(epoch, index)] in drawn if epoch == wanted] for wanted in (0, 1))
    assert len(first) == len(second) == 50
    assert len(set(first)) < 45  # a permutation would have 50
    assert first != second
    assert set(first) | set(second) <= set(range(50))
    later = Order(50, 1, seed=3, first_step=37, last_step=100, replacement=True)
    assert list(later) == list(drawn)[37:]


# --- order ---


def test_an_epoch_is_a_permutation_without_its_incomplete_last_batch():
    steps = list(order(last=6))
    assert [len(step) for step in steps] == [2] * 6
    assert [epoch for step in steps for epoch, _ in step] == [0] * 6 + [1] * 6
    for epoch in range(2):
        indices = [index for step in steps for e, index in step if e == epoch]
        assert len(set(indices)) == 6
        assert set(indices) <= set(range(7))
    assert sorted(index for step in order(6, 3, last=2) for _, index in step) == list(range(6))


def test_epochs_and_seeds_differ_in_order():
    epochs = [step for seed in range(3) for step in order(20, 20, seed=seed, last=3)]
    assert len({tuple(index for _, index in epoch) for epoch in epochs}) == 9


@pytest.mark.parametrize("first", [0, 1, 2, 3, 4, 8, 9])
def test_an_order_goes_on_where_it_stopped(first):
    rest = order(first=first)
    assert list(rest) == list(order())[first:]
    assert len(rest) == 9 - first


def test_a_batch_larger_than_the_dataset_is_refused():
    with pytest.raises(InputError) as caught:
        order(3, 4)
    assert str(caught.value) == (
        "training.batch_size = 4: the training split holds only 3 images; expected at most that. Set training.batch_size=3."
    )
    assert len(list(order(4, 4, last=2))) == 2


# --- batches ---


def test_batches_do_not_depend_on_workers_or_where_a_run_goes_on(train):
    whole = list(training_batches(train, AUGMENTED, order()))
    assert [batch.image.shape for [batch] in whole] == [(2, 3, 10, 12)] * 9
    assert whole[0][0].labels.shape == (2, 10, 12)
    assert [batch.ids for [batch] in whole] == [tuple(f"train_{index}" for _, index in step) for step in order()]
    assert same(training_batches(train, AUGMENTED, order(), workers=2), whole)
    assert same(training_batches(train, AUGMENTED, order(first=4)), whole[4:])
    assert same(training_batches(Cached(train), AUGMENTED, order(first=4), workers=2), whole[4:])


def test_no_crop_is_repeated_over_samples_epochs_or_workers():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    twins = [Sample(str(index), image, np.zeros((40, 50), np.uint8)) for index in range(4)]
    transform = training_transform(NORMALIZATION, scale=(0.6, 1.9), crop=(10, 12))
    batches = list(training_batches(twins, transform, order(4, 2, last=6), workers=2))
    crops = [crop for [batch] in batches for crop in batch.image]
    assert len(crops) == 12
    assert len({crop.numpy().tobytes() for crop in crops}) == 12


def test_a_cached_dataset_reads_once_and_gives_equal_samples(train, monkeypatch):
    reads, read = [], dataset_module.read_image
    monkeypatch.setattr(dataset_module, "read_image", lambda path: reads.append(path) or read(path))
    cached = Cached(train)
    assert len(cached) == 7
    for _ in range(2):
        for index in range(3):
            sample, stored = train[index], cached[index]
            assert sample.id == stored.id
            np.testing.assert_array_equal(sample.image, stored.image)
            np.testing.assert_array_equal(sample.labels, stored.labels)
    assert len(reads) == 6 + 3


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_unequal_size_need_a_crop_or_parts_of_their_own(workers):
    sizes = [Sample("a", np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9), np.uint8))]
    sizes += [Sample("b", np.zeros((8, 7, 3), np.uint8), np.zeros((8, 7), np.uint8))]
    plain = training_transform(NORMALIZATION)
    ids = ", ".join("ab"[index] for _, index in next(iter(order(2, 2))))
    assert refusal(training_batches(sizes, plain, order(2, 2), workers=workers)) == (
        f"images of one batch differ in size: (8, 7), (8, 9) ({ids}). "
        "Set transforms.crop=[HEIGHT, WIDTH], or training.accumulation to training.batch_size."
    )
    [[one, other]] = training_batches(sizes, plain, order(2, 2, last=1), parts=2, workers=workers)
    assert {one.image.shape, other.image.shape} == {(1, 3, 8, 9), (1, 3, 8, 7)}


def test_parts_of_a_step_are_the_batch_in_order(train):
    whole = list(training_batches(train, AUGMENTED, order(batch_size=6)))
    in_parts = training_batches(train, AUGMENTED, order(batch_size=6), parts=3, workers=1)
    for [batch], parts in zip(whole, in_parts, strict=True):
        assert [len(part.ids) for part in parts] == [2, 2, 2]
        assert torch.equal(torch.cat([part.image for part in parts]), batch.image)
        assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_is_named_by_one_sentence_from_any_worker(train, tiny_camvid, workers):
    path = tiny_camvid / "train" / "train_3.png"
    path.write_bytes(path.read_bytes()[:300])
    sentence = f"{path}: truncated or damaged file: "
    assert refusal(training_batches(train, AUGMENTED, order(7, 7), workers=workers)).startswith(sentence)
    assert refusal(evaluation_batches(train, evaluation_transform(NORMALIZATION), workers=workers)).startswith(sentence)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (3, 0), (3, 2)])
def test_evaluation_gives_every_sample_once_in_order(train, batch_size, workers):
    transform = evaluation_transform(NORMALIZATION)
    batches = list(evaluation_batches(train, transform, batch_size=batch_size, workers=workers))
    assert [len(batch) for batch in batches] == {1: [1] * 7, 3: [3, 3, 1]}[batch_size]
    items = [item for batch in batches for item in batch]
    assert [sample.id for _, sample in items] == [pair.id for pair in train.pairs]
    for index, (image, sample) in enumerate(items):
        assert torch.equal(image, transform(train[index].image))
        np.testing.assert_array_equal(sample.labels, train[index].labels)
