"""Statistics of a split, against counts made another way."""

import statistics
import warnings

import numpy as np
import pytest
from PIL import Image
from png_writer import png

from segkit.data.class_weights import cached_count
from segkit.data.datasets.camvid import camvid
from segkit.data.datasets.voc import voc
from segkit.data.files.images import read_image
from segkit.data.statistics import split_statistics
from segkit.data.threads import in_threads
from segkit.errors import InputError


def test_statistics_of_a_split_against_whole_arrays(tiny_camvid):
    dataset = camvid(root=tiny_camvid).checked("train")
    found = split_statistics(dataset)
    images = np.stack([np.asarray(Image.open(pair.image)) for pair in dataset.pairs]).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(found.mean, images.mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.std, images.std(0), rtol=1e-12)
    assert found.counts == cached_count(dataset)
    assert found.sizes.tolist() == [[12, 16]] * 7
    shares = [np.mean(np.asarray(Image.open(pair.labels)) == 11) for pair in dataset.pairs]
    assert found.median_shares[-1] == pytest.approx(statistics.median(shares))


def test_a_median_share_is_over_the_images_that_hold_the_class(tmp_path):
    root = voc_of(tmp_path, [[[0, 0, 0, 1]], [[1, 1], [0, 0]], [[0], [0]]])
    found = split_statistics(voc(root=root).checked("train"))
    assert found.median_shares[:3] == [(0.5 + 0.75) / 2 + 0.125, (0.25 + 0.5) / 2, None]  # of 0.75, 0.5 and 1: 0.75
    assert found.sizes.tolist() == [[1, 4], [2, 2], [2, 1]]
    assert found.counts.pixels[:3] == (7, 3, 0)


def voc_of(root, maps):
    for index, ids in enumerate(maps):
        labels = np.array(ids, np.uint8)
        for folder, ending, pixels in (
            ("JPEGImages", "jpg", np.zeros((*labels.shape, 3), np.uint8)),
            ("SegmentationClass", "png", labels),
        ):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{index}.{ending}")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{index}\n" for index in range(len(maps))))
    (lists / "val.txt").write_text("")
    return root


def test_sums_are_exact_where_floats_would_round(tmp_path):
    found = split_statistics(voc(root=voc_of(tmp_path, [[[0, 0]]])).checked("train"))
    found.levels[:] = 0
    found.levels[:, 7] = 10**15
    assert (found.mean, found.std) == ((7.0,) * 3, (0.0,) * 3)


def test_a_damaged_image_is_named(tiny_camvid):
    dataset = camvid(root=tiny_camvid).checked("train")
    dataset.pairs[4].image.write_bytes(b"no image")
    with pytest.raises(InputError, match="train_4.png: image is neither PNG nor JPEG"):
        split_statistics(dataset)


def test_threads_keep_the_order_and_leave_the_filters_of_warnings_as_they_are(tiny_camvid):
    dataset, before = camvid(root=tiny_camvid).checked("train"), list(warnings.filters)
    many = list(in_threads(lambda index: dataset.labels(index % 7)[0, 0], 140))
    assert many == [dataset.labels(index)[0, 0] for index in range(7)] * 20
    assert warnings.filters == before


@pytest.mark.parametrize("width", [8_901, 8_960, 17_900])  # Pillow warns of the second, and refuses the third
def test_an_image_of_too_many_pixels_is_refused_in_threads_too(tmp_path, width):
    (tmp_path / "a.png").write_bytes(png(width, 10_000))
    with pytest.raises(InputError, match="file is too large: .* at most 89000000 are decoded"):
        list(in_threads(lambda _: read_image(tmp_path / "a.png"), 2, workers=2))


def test_camvid_has_the_pixels_that_others_counted(real_camvid):
    """Source: alexgkendall/caffe-segnet#37 for the classes; void and brightness: of the PNGs, by numpy."""
    found = split_statistics(camvid(root=real_camvid).checked("train"))
    assert found.counts.pixels[:4] == (10_682_767, 14_750_079, 623_349, 20_076_880)
    assert found.counts.pixels[-1] == 2_503_995
    np.testing.assert_allclose(found.mean, [105.03319369, 108.40886315, 110.33102643], atol=5e-9)
    np.testing.assert_allclose(found.std, [78.30374119, 79.46082559, 78.34069953], atol=5e-8)
