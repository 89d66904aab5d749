"""`segkit data stats`, as a user meets it."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from segkit.build import build_dataset, load_config
from segkit.data.class_weights import MedianFrequency, cached_count
from segkit.diagnostics.stats import read_splits, stats_tables, stats_values
from segkit.models.features import NORMALIZATIONS

STREETS = "configs/streets/fcn8s.yaml"
SMALL = ["data.size=[32,48]", "data.train_images=6", "data.val_images=2", "data.test_images=3"]


@pytest.fixture
def folder(tmp_path):
    """A dataset of two images, 1x4 and 2x2 pixels, with classes a and b: ids as in the first lines of its tests."""
    for index, ids in enumerate([[[0, 0, 0, 1]], [[1, 1], [255, 0]]]):
        labels = np.array(ids, np.uint8)
        for kind, pixels in (("images", np.full((*labels.shape, 3), 51 * (index + 1), np.uint8)), ("labels", labels)):
            (tmp_path / "train" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "train" / kind / f"{index}.png")
    (tmp_path / "classes.yaml").write_text("[a, b]")
    return f"data={{name: folder, root: {tmp_path}}}"


def test_json_of_a_dataset_that_can_be_counted_by_hand(segkit, folder):
    code, out, _ = segkit("data", "stats", STREETS, folder, "--split", "train", "--json")
    values = json.loads(out)
    train = values["splits"].pop("train")
    assert (code, values["splits"], values["dataset"], values["class_names"]) == (0, {}, "folder", ["a", "b"])
    assert train["images"] == 2
    assert train["sizes"] == [{"height": 1, "width": 4, "images": 1}, {"height": 2, "width": 2, "images": 1}]
    assert train["height"] == {"min": 1, "median": 1.5, "max": 2}
    assert train["width"] == {"min": 2, "median": 3.0, "max": 4}
    assert train["classes"] == [
        {"name": "a", "pixels": 4, "share": 0.5, "images": 2, "share_of_images": 1.0, "median_share": 0.5},
        {"name": "b", "pixels": 3, "share": 0.375, "images": 2, "share_of_images": 1.0, "median_share": 0.375},
        {"name": "void", "pixels": 1, "share": 0.125, "images": 1, "share_of_images": 0.5, "median_share": 0.25},
    ]
    assert (train["mean"], train["std"]) == ([76.5] * 3, [25.5] * 3)
    assert (train["mean_of_1"], train["std_of_1"]) == ([0.3] * 3, [0.1] * 3)
    assert values["class_weights"]["labelled_pixels_per_image"] == 3.5
    weights = values["class_weights"]["variants"]["median over classes"]
    assert weights["weights"] == pytest.approx({"a": (3.5 / 8) / (4 / 8), "b": (3.5 / 8) / (3 / 8)})
    assert weights["mean"] == pytest.approx(1.0)  # (4 * 7/8 + 3 * 7/6) / 7
    assert values["normalizations"]["inception"] == {"mean": [127.5] * 3, "std": [127.5] * 3}
    assert values["normalizations"].keys() == NORMALIZATIONS.keys()


def test_weights_are_those_that_training_takes_from_its_cached_counts():
    config, _ = load_config(STREETS, SMALL)
    values = stats_values(config, read_splits(config, ["train"]))
    dataset = build_dataset(config, "train")
    assert list(values["class_weights"]["variants"]["this config"]["weights"].values()) == pytest.approx(
        MedianFrequency()(cached_count(dataset), dataset.class_names)
    )


def test_without_the_train_split_there_are_no_class_weights():
    config, _ = load_config(STREETS, SMALL)
    found = read_splits(config, ["val"])
    assert stats_values(config, found)["class_weights"] is None
    assert [title for title, *_ in stats_tables(config, found)][:2] == ["sizes, pixels", "val: classes"]


def test_tables_of_streets_and_camvids_classes_fit_80_columns(segkit):
    code, out, errors = segkit("data", "stats", STREETS, *SMALL)
    assert (code, errors) == (0, "")
    assert max(map(len, out.splitlines())) <= 100  # of a terminal of 80, some words go to the next line
    titles = [line for line in out.splitlines() if line and line[0].isalnum()]
    assert titles[:4] == ["sizes, pixels", "train: classes", "val: classes", "test: classes"]
    assert re.search(r"torchvision +│ +123.67 116.28 103.53 │ +58.40 57.12 57.38", out)
    assert "32x48 (6)" in out


def test_out_holds_the_json_that_is_printed_and_a_figure(segkit, folder, tmp_path):
    stats = tmp_path / "new" / "stats"
    code, out, _ = segkit("data", "stats", STREETS, folder, "--split", "train", "--json", "--out", stats)
    assert code == 0
    assert sorted(path.name for path in stats.iterdir()) == ["stats.json", "stats.pdf", "stats.png"]
    assert json.loads((stats / "stats.json").read_text()) == json.loads(out)
