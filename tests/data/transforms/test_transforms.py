"""Augmentation: a function of the seed, the same geometry for image and labels, and padding that counts for nothing."""

import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transform_samples import (
    BACKENDS,
    EVERYTHING,
    IMAGENET,
    PLAIN,
    drawn,
    equal,
    evaluation_transform,
    ramp,
    training_transform,
)

from segkit.data.dataset import Sample
from segkit.data.transforms.training import PCA_VALUES, PCA_VECTORS, sample_seed

# --- what comes out ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"flip": 1.0}, EVERYTHING, {"input_scale": 0.5}, {"crop": (100, 100)}])
def test_results_are_contiguous_float32_and_int64_and_the_sample_stays(options, backend):
    sample = drawn(30, 41)
    image, labels = sample.image.copy(), sample.labels.copy()
    sample.image.setflags(write=False)  # as Pillow gives it
    out = training_transform(IMAGENET, **options, backend=backend)(sample, 3)
    assert (out[0].dtype, out[1].dtype) == (torch.float32, torch.int64)
    assert out[0].is_contiguous()
    assert out[1].is_contiguous()
    assert out[0].shape == (3, *out[1].shape)
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.labels, labels)
    out[1].fill_(7)
    np.testing.assert_array_equal(sample.labels, labels)


def test_an_evaluated_image_is_normalized_and_nothing_else():
    image = drawn(9, 14).image
    expected = (image - np.array(IMAGENET["mean"])) / np.array(IMAGENET["std"])
    out = evaluation_transform(IMAGENET)(image)
    assert out.dtype == torch.float32
    assert out.is_contiguous()
    np.testing.assert_allclose(out.numpy(), expected.transpose(2, 0, 1), rtol=0, atol=1e-6)


SIDE = st.integers(1, 40)


@given(SIDE, SIDE, st.sampled_from([0.25, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0]), st.sampled_from(BACKENDS))
def test_training_without_chance_is_evaluation(height, width, input_scale, backend):
    sample = drawn(height, width)
    image, labels = training_transform(IMAGENET, input_scale=input_scale, flip=0, backend=backend)(sample, 0)
    assert torch.equal(image, evaluation_transform(IMAGENET, input_scale=input_scale, backend=backend)(sample.image))
    assert labels.shape == image.shape[1:]
    assert set(labels.unique().tolist()) <= set(np.unique(sample.labels).tolist())


def test_half_the_input_scale_averages_four_pixels():
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    out = evaluation_transform(PLAIN, input_scale=0.5)(image).numpy()
    blocks = image.reshape(4, 2, 6, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert out.shape == (3, 4, 6)
    assert np.abs(out - blocks).max() <= 0.5


# --- chance is a function of the seed ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_result_in_any_order_and_object(backend):
    sample, transform = drawn(40, 50), training_transform(IMAGENET, **EVERYTHING, backend=backend)
    first = {seed: transform(sample, seed) for seed in (5, 1, 2**32 - 1)}
    for seed in (2**32 - 1, 5, 5, 1):
        assert equal(transform(sample, seed), first[seed])
        assert equal(training_transform(IMAGENET, **EVERYTHING, backend=backend)(sample, seed), first[seed])
        assert equal(pickle.loads(pickle.dumps(transform))(sample, seed), first[seed])
    assert not torch.equal(first[5][0], first[1][0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_global_random_states_are_neither_read_nor_changed(backend):
    sample, transform = drawn(40, 50), training_transform(IMAGENET, **EVERYTHING, backend=backend)
    np.random.seed(0)
    random.seed(0)
    state = np.random.get_state()[1].copy(), random.getstate(), torch.manual_seed(0).get_state().clone()
    first = transform(sample, 3)
    np.testing.assert_array_equal(np.random.get_state()[1], state[0])
    assert random.getstate() == state[1]
    assert torch.equal(torch.get_rng_state(), state[2])
    np.random.seed(1)
    random.seed(1)
    torch.manual_seed(1)
    assert equal(transform(sample, 3), first)


def test_seeds_of_samples_differ_by_run_epoch_and_id():
    seeds = {sample_seed(run, epoch, name) for run in range(5) for epoch in range(20) for name in ("a", "b", "1", "11")}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert sample_seed(1, 2, "0001TP_006690") == sample_seed(1, 2, "0001TP_006690")


def test_scale_crop_and_flip_are_independent_of_each_other():
    transform = training_transform(PLAIN, scale=(0.8, 1.9), crop=(16, 20))
    found = []
    for seed in range(300):
        image, _ = transform(ramp(40, 60), sample_seed(0, 0, str(seed)))
        y, x = image[0, :, 10].numpy() / 4, image[1, 8].numpy() / 4
        flipped = x[-1] < x[0]
        scale = 15 / (y[-1] - y[0])
        found.append((scale, flipped, y[0] / (40 - 16 / scale), min(x[0], x[-1]) / (60 - 20 / scale)))
    scales, flips, tops, lefts = np.array(found, float).T
    correlations = np.corrcoef([scales, flips, tops, lefts])[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 0.2  # 3.5 standard deviations of chance
    assert 0.4 < flips.mean() < 0.6
    for values, low, high in ((scales, 0.8, 1.9), (tops, 0, 1), (lefts, 0, 1)):
        quarters = np.histogram(values, bins=4, range=(low - 0.05, high + 0.05))[0]
        assert quarters.min() > 40


# --- geometry ---


@given(
    height=st.integers(1, 50), width=st.integers(1, 50), crop=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    flip=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_crops_and_flips_move_image_and_labels_alike(height, width, crop, flip, seed):
    image, labels = training_transform(PLAIN, crop=crop, flip=flip)(drawn(height, width), seed)
    assert labels.shape == crop
    inside = labels != 255
    assert inside.sum() == min(height, crop[0]) * min(width, crop[1])
    for channel in image:
        assert torch.equal(channel, torch.where(inside, labels * 20, 0).float())


@pytest.mark.parametrize("ratio", [0.5, 0.6, 0.75, 1.3, 1.9])
def test_labels_lie_over_the_image_after_resizing(ratio):
    y, x = np.mgrid[:64, :96]
    offsets = []
    for edge in range(20, 44):
        labels = ((x > edge + 10) | (y > edge)).astype(np.uint8)
        sample = Sample("s", np.stack([labels * 200] * 3, -1), labels)
        image, labels = training_transform(PLAIN, input_scale=ratio, flip=0)(sample, 0)
        offsets.append(float((labels - image[0] / 200).sum() / (64 + 96 - 2 * edge - 10) / ratio))
    limit = 0.3 if ratio == 0.5 else 0.1  # in network pixels; at one half there is no middle pixel
    assert abs(np.mean(offsets)) < limit


def test_a_certain_flip_is_a_mirror_and_no_flip_is_none():
    sample = drawn(13, 22)
    plain, flipped = (training_transform(IMAGENET, flip=flip)(sample, 4) for flip in (0.0, 1.0))
    assert equal(plain, (flipped[0].flip(-1), flipped[1].flip(-1)))
    assert not equal(plain, flipped)


# --- padding ---


def test_ignored_labels_of_the_dataset_do_not_hide_the_image():
    sample = Sample("s", np.full((20, 30, 3), 250, np.uint8), np.full((20, 30), 255, np.uint8))
    image, labels = training_transform(IMAGENET, scale=(0.8, 1.5), crop=(14, 14))(sample, 0)
    assert labels.eq(255).all()
    assert image.gt(1).all()


def test_padding_has_no_part_in_changes_of_colour():
    sample = Sample("s", np.full((10, 10, 3), 100, np.uint8), np.zeros((10, 10), np.uint8))
    for backend in BACKENDS:
        transform = training_transform(PLAIN, crop=(30, 30), color_jitter=0.5, blur=1.0, backend=backend)
        values = [image[:, labels == 0] for image, labels in (transform(sample, seed) for seed in range(60))]
        assert max(float(v.max() - v.min()) for v in values) < 1e-3  # a blur would let it in at the edges
        grey = np.array([float(v.mean()) for v in values])  # contrast is about the mean: it does not change grey
        assert 49 <= grey.min() < 60
        assert 140 < grey.max() <= 151


# --- colour ---


def test_pca_noise_shifts_each_channel_by_one_number():
    sample = drawn(20, 30)
    plain = training_transform(IMAGENET, crop=(16, 20), flip=0.5)
    noisy = training_transform(IMAGENET, crop=(16, 20), flip=0.5, pca_noise=0.1)
    shifts = []
    for seed in range(200):
        difference = (noisy(sample, seed)[0] - plain(sample, seed)[0]).flatten(1)
        assert (difference.amax(1) - difference.amin(1)).max() < 1e-5
        shifts.append(difference.mean(1).numpy() * IMAGENET["std"])
    expected = 25.5 * np.sqrt((PCA_VECTORS**2) @ PCA_VALUES**2)  # on the scale of 0..255
    np.testing.assert_allclose(np.std(shifts, 0), expected, rtol=0.2)
    np.testing.assert_allclose(np.mean(shifts, 0), 0, atol=0.8)
