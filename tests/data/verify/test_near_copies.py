"""Perceptual hashes against a second implementation, and how near is near."""

import numpy as np
from scipy.fft import dctn

from segkit.data.verify.near_copies import appearance, near_copies


def test_the_hash_is_the_signs_about_the_median_without_the_mean_brightness():
    image = np.zeros((32, 32, 3), np.uint8)
    image[0, 0], image[1, 0] = 255, 120  # all low frequencies are positive, and the mean is the least of them
    low = dctn(image[..., 0].astype(np.float64), norm="ortho")[:8, :8].ravel()
    assert low[0] < np.median(low)
    expected = "".join("01"[int(value > np.sort(low[1:])[31] + 1e-4)] for value in low)  # that in the middle of 63
    assert f"{appearance(image):064b}" == expected
    assert expected.count("1") == 31


def test_up_to_6_of_64_bits_may_differ():
    ones, others = [0, (1 << 64) - 1], [0b111111, 0b1111111, (1 << 64) - 1, 0xFF << 20]
    assert [*near_copies(ones, others)] == [(0, 0, 6), (1, 2, 0)]
    assert [*near_copies([], others)] == []
