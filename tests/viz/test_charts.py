"""Charts show the numbers they are given."""

import numpy as np
import pytest
from PIL import Image

from segkit.viz import charts

TWO, ONE = np.array([40.0, 44.0]), np.array([50.0])
HOSTILE = "_a $\\frac$ <b> 像\n" + "x" * 60


def errorbars(axes):
    """(x, y, half length of the bar or None) of every point with bars in these axes."""
    found = []
    for line, _, bars in axes.containers:
        lengths = [np.ptp(segment, axis=0).max() / 2 for bar in bars for segment in bar.get_segments()]
        found.append(list(zip(*line.get_data(), lengths or [None] * len(line.get_xdata()), strict=True)))
    return found


def test_a_point_is_the_mean_and_its_bar_the_standard_deviation_over_repetitions():
    costs = {"parameters (millions)": {"a": 2.0, "b": 3.0}, "MB": {"a": 0.0, "b": 90.0}, "ms": {"b": 4.0}}
    first, second, third = charts.accuracy_against_cost({"a": TWO, "b": ONE}, costs).axes
    assert (first.get_xlabel(), first.get_ylabel()) == ("parameters (millions)", "mean IoU (%)")
    assert errorbars(first) == [[(2.0, 42.0, pytest.approx(np.std(TWO, ddof=1)))], [(3.0, 50.0, None)]]
    assert (len(errorbars(second)), len(errorbars(third))) == (2, 1)  # a method that lacks a cost is left out
    assert second.get_xscale() == "linear"  # a cost of 0 has no logarithm


def test_costs_that_differ_tenfold_have_a_logarithmic_axis():
    (axes,) = charts.accuracy_against_cost({"a": ONE, "b": ONE}, {"MB": {"a": 1.0, "b": 10.0}}).axes
    assert axes.get_xscale() == "log"


def test_a_class_has_a_row_with_a_point_per_method():
    iou = {"a": np.array([[10.0, np.nan], [20.0, 30.0]]), "b": np.array([[50.0, np.nan]])}
    (axes,) = charts.class_iou(iou, ["sky", "car"]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sky", "car"]
    of_a, of_b = errorbars(axes)
    assert [(x, round(y)) for x, y, _ in of_a] == [(15.0, 0), (30.0, 1)]
    assert [bar for *_, bar in of_a] == [pytest.approx(np.std([10, 20], ddof=1)), 0]
    assert of_b[0][0] == 50.0
    assert np.isnan(of_b[1][0])


def test_accuracy_near_boundaries_ends_with_all_pixels():
    values = np.array([[30.0, 40.0, 60.0], [32.0, 40.0, 64.0]])
    (axes,) = charts.accuracy_near_boundaries({"accuracy (%)": {"a": values}}, (1, 4)).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4", "all"]
    within, everywhere = errorbars(axes)
    assert [(x, y) for x, y, _ in within] == [(0.0, 31.0), (2.0, 40.0)]
    assert everywhere[0][1] == 62.0
    assert everywhere[0][0] == axes.get_xticks()[-1]


def test_a_learning_curve_is_the_mean_within_a_band_from_the_lowest_to_the_highest_run():
    curves = {"a": ([10, 20], np.array([[1.0, 2.0], [3.0, 4.0]])), "none": ([], np.empty((1, 0)))}
    (axes,) = charts.learning_curves({"loss": curves}).axes
    (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xydata(), [(10, 2), (20, 3)])
    band = axes.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band} == {(10, 1), (20, 2), (10, 3), (20, 4)}


def test_rows_of_a_confusion_matrix_are_shares_of_the_labelled_pixels():
    figure = charts.confusion({"a": np.array([[3, 1], [0, 0]])}, ["sky", "car"])
    axes = figure.axes[0]
    shares = axes.images[0].get_array()
    assert shares[0].tolist() == [75, 25]
    assert np.ma.getmaskarray(shares)[1].all()
    assert [text.get_text() for text in axes.texts] == ["75", "25"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sky", "car"]


def test_a_confusion_matrix_of_many_classes_keeps_its_size_and_names_some_of_them():
    names = [f"class {index}" for index in range(150)]
    figure = charts.confusion({title: np.eye(150, dtype=int) for title in "abcd"}, names)
    assert max(figure.get_size_inches()) < 17  # two panels of 8 inches
    for axes in figure.axes[:4]:
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == [names[round(place)] for place in axes.get_xticks()] == names[::4]
    few = charts.confusion({"a": np.eye(40, dtype=int)}, names[:40])
    assert [label.get_text() for label in few.axes[0].get_yticklabels()] == names[:40]


def test_methods_can_be_told_apart_without_colour():
    marks = [charts._marks(index) for index in range(8)]
    assert len({mark["marker"] for mark in marks}) == 8
    assert len({(mark["color"], mark["linestyle"]) for mark in marks}) == 8


def every_chart(title):
    yield charts.accuracy_against_cost({title: TWO}, {"cost": {title: 1.0}})
    yield charts.class_iou({title: TWO[:, None]}, [title])
    yield charts.accuracy_near_boundaries({"%": {title: TWO[:, None] + np.arange(2)}}, (1,))
    yield charts.learning_curves({"loss": {title: ([1, 2], TWO[:, None] + np.arange(2))}})
    yield charts.confusion({title: np.array([[1]])}, [title])


def test_every_chart_is_written_as_png_and_pdf_whatever_a_name_holds(tmp_path):
    for index, figure in enumerate(every_chart(HOSTILE)):
        png, pdf = charts.write_figure(figure, tmp_path / f"chart_{index}.0")
        assert (png.name, pdf.name) == (f"chart_{index}.0.png", f"chart_{index}.0.pdf")
        with Image.open(png) as picture:
            assert picture.width > 300
            assert len(picture.convert("L").getcolors()) > 10
        assert pdf.read_bytes().startswith(b"%PDF")
    assert len(list(tmp_path.iterdir())) == 10


def test_a_name_that_opens_with_an_underscore_is_in_the_legend():
    figure = charts.class_iou({"_a": TWO[:, None], "b": TWO[:, None]}, ["sky"])
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ["_a", "b"]


def test_the_same_figure_has_the_same_bytes(tmp_path):
    first, second = (charts.write_figure(next(every_chart("a")), tmp_path / name) for name in ("one", "two"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    assert charts.png(next(every_chart("a"))) == first[0].read_bytes()
