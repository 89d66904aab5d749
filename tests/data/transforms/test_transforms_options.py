"""What single options of training transforms do, with either backend: rotation, blur, and crops that no class fills."""

import numpy as np
import pytest
import torch
from transform_samples import BACKENDS, PLAIN, drawn, equal, ramp, training_transform

from segkit.data.dataset import Sample
from segkit.data.transforms.geometry import Box, View
from segkit.data.transforms.training import backend_named, sample_seed

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


# --- rotation ---


def warped(backend, array, view, outside=None):
    """What a view shows of an array, in the array's form."""
    ops = backend_named(backend)
    pixels = np.asarray(ops.warp(ops.load(array), view, outside=outside))
    if backend == "torchvision":
        return pixels[0] if array.ndim == 2 else pixels.transpose(1, 2, 0)
    return pixels


@pytest.mark.parametrize(("angle", "quarters"), [(90.0, 1), (180.0, 2), (-90.0, 3), (1e-12, 0)])
def test_rotation_by_quarters_is_exact(backend, angle, quarters):
    sample = drawn(31, 31)
    view = View((31, 31), Box(4, 2, 20, 25), angle)
    for array, outside in ((sample.image, None), (sample.labels, 254)):
        np.testing.assert_array_equal(warped(backend, array, view, outside), np.rot90(array, quarters)[4:24, 2:27])


def test_a_window_beside_the_image_is_outside(backend):
    sample = drawn(20, 80)
    for corner in (Box(0, 0, 5, 5), Box(15, 75, 5, 5), Box(-30, 40, 9, 3), Box(60, 300, 4, 4)):
        assert (warped(backend, sample.labels, View((20, 80), corner, 60.0), 254) == 254).all()
        assert warped(backend, sample.image, View((20, 80), corner, 60.0)).shape == (*corner[2:], 3)


def test_rotation_and_scale_put_each_pixel_where_the_arithmetic_does(backend):
    y, x = np.mgrid[:90, :120]
    ramps = [2 * y, 2 * x, np.zeros_like(y)]  # linear interpolation leaves them as they are
    image = np.stack(ramps, -1).astype(np.uint8)
    view = View((45, 60), Box(10, 12, 20, 30), 25.0)  # half of what is on disk
    found = warped(backend, image, view)
    down, right = np.mgrid[:20, :30] + 0.5
    down, right = down + 10 - 22.5, right + 12 - 30  # from the middle, in network pixels
    cosine, sine = np.cos(np.radians(25)), np.sin(np.radians(25))
    before = 22.5 + right * sine + down * cosine, 30 + right * cosine - down * sine
    for channel, middle in enumerate(before):
        assert np.abs(found[..., channel] - 2 * (2 * middle - 0.5)).max() <= 0.75  # 0.5 of rounding, 1/8 pixel


def test_angles_are_uniform_and_independent_of_scale_and_flip(backend):
    transform = training_transform(PLAIN, scale=(1.0, 1.9), rotate=20.0, crop=(20, 20), flip=0.5, backend=backend)
    found = []
    for seed in range(300):
        image, labels = transform(ramp(60, 60), sample_seed(0, 0, str(seed)))
        if (labels == 255).any():
            continue
        down, right = (image[:2, 19, 5] - image[:2, 0, 5]).tolist(), (image[:2, 5, 19] - image[:2, 5, 0]).tolist()
        found.append((np.degrees(np.arctan2(-down[1], down[0])), right[1] < 0, np.hypot(*down) / 76))
    angles, flips, scales = np.array(found, float).T
    assert len(found) > 200
    assert -21.5 < angles.min() < -18
    assert 18 < angles.max() < 21.5
    assert np.histogram(angles, bins=4, range=(-20, 20))[0].min() > 40
    assert np.abs(np.corrcoef([angles, flips, scales])[np.triu_indices(3, 1)]).max() < 0.2


@pytest.mark.parametrize("scale", [0.3, 0.6, 1.0, 1.7])
def test_labels_lie_over_the_image_after_rotation(backend, scale):
    y, x = np.mgrid[:128, :128]
    offsets = []
    for seed in range(30):
        labels = (y > 50 + seed).astype(np.uint8)
        sample = Sample("s", np.stack([labels * 200] * 3, -1), labels)
        transform = training_transform(PLAIN, scale=(scale, scale), rotate=180.0, flip=0.5, backend=backend)
        image, labels = transform(sample, seed)
        inside = labels != 255
        offsets.append(float((labels - image[0] / 200)[inside].sum() / (128 * scale)))
    assert abs(np.mean(offsets)) < 0.1  # network pixels


# --- blur ---


def test_blur_is_gaussian_of_its_range_and_as_frequent_as_asked(backend):
    white = np.zeros((61, 61, 3), np.uint8)
    white[20:41, 20:41] = 255
    transform = training_transform(PLAIN, flip=0, blur=0.7, backend=backend)
    places, sigmas = np.arange(61) - 30, []
    for seed in range(200):
        image, labels = transform(Sample("s", white, np.zeros((61, 61), np.uint8)), seed)
        assert (labels == 0).all()
        profile = image[0].double().sum(1).numpy() / image[0].double().sum().item()
        before = (21**2 - 1) / 12
        sigmas.append(np.sqrt(max(profile @ places**2 - before, 0)))
    blurred = np.array([each for each in sigmas if each > 0.3])  # less is lost in a uint8
    assert 0.4 < len(blurred) / 200 < 0.75  # 0.63 expected: 0.7 of them, 1.7 of 1.9
    assert 1.85 < blurred.max() < 2.03
    assert np.histogram(blurred, bins=3, range=(0.3, 2.0))[0].min() > 20


# --- crops that no class fills ---


def filled(labels):
    """The largest share of the labelled pixels that one class has."""
    return float(torch.bincount(labels[labels != 255]).max() / (labels != 255).sum())


@pytest.mark.parametrize("rotate", [0.0, 15.0])
def test_another_crop_is_drawn_only_where_one_class_fills_it(backend, rotate):
    labels = np.zeros((80, 100), np.uint8)
    labels[50:, 60:] = 1
    labels[:5] = 255
    sample = Sample("s", np.stack([labels] * 3, -1), labels)
    plain, aware = (
        training_transform(PLAIN, crop=(24, 24), rotate=rotate, class_max_ratio=ratio, backend=backend)
        for ratio in (1.0, 0.75)
    )
    before, after, kept = [], [], 0
    for seed in range(150):
        first, second = plain(sample, seed), aware(sample, seed)
        before.append(filled(first[1]) <= 0.75)
        after.append(filled(second[1]) <= 0.75)
        if before[-1]:
            kept += 1
            assert equal(first, second)
        assert second[1].shape == (24, 24)
    share = np.mean(before)
    assert 0.05 < share < 0.4
    assert abs(np.mean(after) - (1 - (1 - share) ** 10)) < 0.12  # ten tries


def test_an_image_of_one_class_or_none_still_gives_a_crop(backend):
    for value in (3, 255):
        labels = np.full((40, 50), value, np.uint8)
        transform = training_transform(PLAIN, crop=(24, 60), class_max_ratio=0.5, backend=backend)
        _, found = transform(Sample("s", np.zeros((40, 50, 3), np.uint8), labels), 0)
        assert found.shape == (24, 60)
        assert (found == value).sum() >= 24 * 50


# --- together ---


def test_changes_of_colour_leave_geometry_alone(backend):
    geometry = {"scale": (0.6, 1.9), "rotate": 10.0, "crop": (16, 20), "class_max_ratio": 0.4, "backend": backend}
    colored = {"color_jitter": 0.4, "blur": 1.0, "pca_noise": 0.1}
    plain, changed = (training_transform(PLAIN, **geometry, **colors) for colors in ({}, colored))
    for seed in range(10):
        (image, labels), (other, others) = plain(drawn(40, 60), seed), changed(drawn(40, 60), seed)
        assert torch.equal(labels, others)
        assert not torch.equal(image, other)
