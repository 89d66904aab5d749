"""Pictures and figures show samples, predictions and records as they are."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from segkit.compare.collect import read_methods
from segkit.compare.figures import LOSS_POINTS, Drawing, samples_picture, training_history
from segkit.data.datasets.streets import Streets
from segkit.errors import InputError
from segkit.experiments.comparison import open_comparison
from segkit.viz.charts import confusion, png
from segkit.viz.palette import colorize


def shown(drawing):
    """The arrays in a picture, row by row."""
    return [axes.get_images()[0].get_array() for axes in drawing.figure.axes]


def test_samples_are_shown_in_the_order_asked_for():
    dataset = Streets("train", size=(32, 48))
    drawing = samples_picture(dataset, [4, 1])
    pictures = shown(drawing)
    assert len(pictures) == 4
    for place, index in enumerate([4, 1]):
        np.testing.assert_array_equal(pictures[2 * place], dataset[index].image)
        np.testing.assert_array_equal(pictures[2 * place + 1], colorize(dataset[index].labels, dataset.palette))
    assert drawing.caption == "Samples streets-train-00004, streets-train-00001."


def test_a_picture_of_a_comparison_has_the_stored_predictions_of_the_first_run_of_each_method(trained):
    comparison, wanted = open_comparison(trained), ["streets-test-00005", "streets-test-00002"]
    drawing = comparison.picture(wanted)
    pictures = shown(drawing)
    assert [axes.get_title() for axes in drawing.figure.axes[:4]] == ["image", "label", "fcn32s", "fcn8s"]
    for place, name in enumerate(wanted):
        for column, path in ((2, trained[0]), (3, trained[2])):
            with Image.open(path / f"predictions/test/{name}.png") as file:
                np.testing.assert_array_equal(pictures[4 * place + column], np.asarray(file.convert("RGB")))


def test_an_image_that_is_not_in_the_test_split_is_named(trained):
    with pytest.raises(InputError) as error:
        open_comparison(trained).picture(["streets-test-00001", "streets-test-0002"])
    assert str(error.value) == (
        "no test image is called 'streets-test-0002'. Did you mean 'streets-test-00002'? "
        "Expected ids such as 'streets-test-00000'."
    )


def test_a_comparison_has_the_figures_of_its_report(trained):
    cost, *others = open_comparison(trained).figures()
    assert [cost.name, *(drawing.name for drawing in others)] == ["cost", "learning", "class_iou", "confusion"]
    labels = [axes.get_xlabel() for axes in cost.figure.axes]
    assert labels[2:] == ["multiplications (G)", "memory kept for the decoder (MB)"]


def test_the_history_of_a_run_is_what_its_records_say(trained):
    lines = (trained[2] / "metrics.jsonl").read_text().splitlines()
    steps = [record for record in map(json.loads, lines) if record["kind"] == "train"]
    assert 2 <= len(steps) < LOSS_POINTS  # each stretch of the loss is one record
    panels = {axes.get_ylabel(): axes for axes in training_history(read_methods(trained[2:])).figure.axes}
    assert list(panels) == ["training loss", "validation mean IoU (%)", "learning rate", "gradient norm"]
    for label, key in (("training loss", "loss"), ("learning rate", "lr"), ("gradient norm", "gradient_norm")):
        (line,) = panels[label].get_lines()
        np.testing.assert_allclose(line.get_xydata(), [(record["step"], record[key]) for record in steps])


def test_a_notebook_shows_the_figure_at_its_size_in_inches():
    first, second = (confusion({"a": np.eye(2, dtype=int)}, ["sky", "car"]) for _ in range(2))
    data, size = Drawing("confusion", first, "")._repr_png_()
    assert data == png(second)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width == pytest.approx(144 / 96 * size["width"], abs=2)
        assert picture.height == pytest.approx(144 / 96 * size["height"], abs=2)
