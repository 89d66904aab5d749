"""albumentations and torchvision execute the same pipeline with the same random numbers."""

import random

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transform_samples import BACKENDS, EVERYTHING, IMAGENET, PLAIN, drawn, training_transform

from segkit.data.datasets.streets import Streets

VALUES = {
    "input_scale": [0.25, 0.5, 1.0, 2.0], "scale": [(1.0, 1.0), (0.6, 1.9), (0.01, 0.1)], "rotate": [0.0, 10.0, 180.0],
    "crop": [None, (1, 1), (24, 32), (33, 7)], "flip": [0.0, 0.5, 1.0], "color_jitter": [0.0, 0.4],
    "blur": [0.0, 1.0], "pca_noise": [0.0, 0.1], "class_max_ratio": [0.3, 1.0],
}  # fmt: skip
OPTIONS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()}).map(
    lambda options: options | ({} if options["crop"] else {"class_max_ratio": 1.0})
)
SIDE, SEED = st.integers(1, 60), st.integers(0, 2**32 - 1)


def both(sample, seed, means=PLAIN, **options):
    return [training_transform(means, **options, backend=backend)(sample, seed) for backend in BACKENDS]


@pytest.fixture(scope="module")
def photos():
    streets = Streets("train", size=(192, 256), train_images=6, val_images=1, test_images=1)
    return [streets[index] for index in range(6)]


# --- each by itself ---


@pytest.mark.parametrize("backend", BACKENDS)
@given(height=SIDE, width=SIDE, options=OPTIONS, seed=SEED)
def test_no_label_is_invented_and_padding_is_ignored_and_0(backend, height, width, options, seed):
    sample = drawn(height, width, ids=5)
    image, labels = training_transform(IMAGENET, **options, backend=backend)(sample, seed)
    assert set(labels.unique().tolist()) <= {*np.unique(sample.labels).tolist(), 255}
    assert torch.equal(labels == 255, (image == 0).all(0))
    assert image.isfinite().all()
    assert options["rotate"] or options["crop"] or 255 not in labels
    assert options["crop"] in (None, labels.shape)


def test_albumentations_would_draw_and_do_the_same():
    steps = [
        A.RandomCrop(30, 40, pad_if_needed=True, pad_position="random", fill=0, fill_mask=254),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.03, 0.03), p=1),
    ]
    padded = 0
    for seed in range(60):
        sample = drawn(50, 70, seed)
        for colored in (True, False):
            reference, draw, rng = A.Compose(steps[: 2 + colored]), random.Random(seed), np.random.default_rng(seed)
            reference.set_random_state(rng, draw)
            size = [round(n * ratio) for ratio in [draw.uniform(0.5, 1.5)] for n in (70, 50)]
            image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA if size[0] < 70 else cv2.INTER_LINEAR)
            out = reference(image=image, mask=cv2.resize(sample.labels, size, interpolation=cv2.INTER_NEAREST_EXACT))
            ours = training_transform(PLAIN, scale=(0.5, 1.5), crop=(30, 40), color_jitter=0.3 * colored)(sample, seed)
            inside = out["mask"] != 254
            padded += not inside.all()
            np.testing.assert_array_equal(ours[1], np.where(inside, out["mask"], 255))
            if inside.all() or not colored:  # albumentations' contrast is also about the padding
                np.testing.assert_array_equal(ours[0], out["image"].transpose(2, 0, 1))
    assert 5 < padded < 115


def test_results_of_torchvision_do_not_depend_on_threads(photos):
    options, threads = EVERYTHING | {"crop": (240, 300), "backend": "torchvision"}, torch.get_num_threads()
    transform = training_transform(IMAGENET, **options)
    try:
        found = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append([transform(sample, 3) for sample in photos])
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for one, two, five in zip(*found, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[0], five[0])


# --- side by side ---


@given(height=SIDE, width=SIDE, crop=st.sampled_from(VALUES["crop"]), flip=st.sampled_from(VALUES["flip"]), seed=SEED)
def test_crops_flips_and_noise_are_equal(height, width, crop, flip, seed):
    ours, theirs = both(drawn(height, width), seed, IMAGENET, crop=crop, flip=flip, pca_noise=0.1)
    assert torch.equal(ours[1], theirs[1])
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-6)


@given(height=SIDE, width=SIDE, options=OPTIONS, seed=SEED)
def test_labels_differ_by_no_more_than_a_pixel(height, width, options, seed):
    ours, theirs = (labels for _, labels in both(drawn(height, width), seed, **options | {"class_max_ratio": 1.0}))
    assert ours.shape == theirs.shape
    rim = torch.nn.functional.pad(theirs, (1, 1, 1, 1), value=255)
    near = [rim[y : y + ours.shape[0], x : x + ours.shape[1]] == ours for y in range(3) for x in range(3)]
    assert torch.stack(near).any(0).all()


# Options, largest share of labels that differ, largest mean difference of an image (of 255), in the order of
# measurement on CamVid and VOC
PARITY = {
    "smaller": ({"scale": (0.3, 0.95)}, 0.01, 2.5),
    "half": ({"input_scale": 0.5}, 0.0, 4.0),
    "larger": ({"scale": (1.05, 2.0)}, 0.01, 0.5),
    "jitter": ({"color_jitter": 0.3}, 0.0, 2.5),
    "blur": ({"blur": 1.0}, 0.0, 0.3),
    "rotated": ({"rotate": 180.0}, 1e-4, 0.02),
    "rotated and smaller": ({"rotate": 180.0, "scale": (0.5, 1.0)}, 1e-4, 0.02),
    "all": ({**EVERYTHING, "crop": (150, 150), "class_max_ratio": 1.0}, 1e-4, 2.5),
}


@pytest.mark.parametrize("case", PARITY)
def test_images_of_both_are_nearly_equal(photos, case):
    options, share, levels = PARITY[case]
    for seed, sample in enumerate(photos):
        ours, theirs = both(sample, seed, **options)
        assert (ours[1] != theirs[1]).float().mean() <= share
        assert (ours[0] - theirs[0]).abs().mean() <= levels
