"""Samples whose images show where their pixels come from, and the options of transforms."""

import numpy as np
import torch

from segkit.config.transforms import Transforms
from segkit.data.dataset import Sample
from segkit.data.transforms.training import EvaluationTransform, TrainingTransform

IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
EVERYTHING = {"scale": (0.6, 1.9), "crop": (24, 32), "flip": 0.5, "color_jitter": 0.3, "pca_noise": 0.1}
EVERYTHING |= {"rotate": 20.0, "blur": 0.5, "class_max_ratio": 0.5}
BACKENDS = ["albumentations", "torchvision"]


def training_transform(normalization, **options):
    return TrainingTransform(Transforms(**options), **normalization)


def evaluation_transform(normalization, **options):
    return EvaluationTransform(Transforms(**options), **normalization)


def drawn(height, width, seed=0, ids=11):
    """A sample whose image shows its labels: every channel is 20 times the id, in blocks of 4x4."""
    blocks = np.random.default_rng(seed).integers(0, ids, (height // 4 + 1, width // 4 + 1), np.uint8)
    labels = blocks.repeat(4, 0).repeat(4, 1)[:height, :width].copy()
    return Sample("s", np.stack([labels * 20] * 3, -1), labels)


def ramp(height, width):
    """A sample whose image holds the coordinates: 4y in channel 0, 4x in channel 1."""
    y, x = np.mgrid[:height, :width] * 4
    return Sample("s", np.stack([y, x, np.zeros_like(y)], -1).astype(np.uint8), np.zeros((height, width), np.uint8))


def equal(one, other):
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
