"""Tables say the same in every format, whatever the names are."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from segkit.compare.collect import Method
from segkit.compare.tables import Table, class_table, image_table, latex, markdown, score_table, write_tables
from segkit.metrics.confusion import scores

HOSTILE = r"a|b & 50%_#{x}~^\ <i>`*"
TABLE = Table("scores, per cent", ("method", "mean IoU"), (("fcn8s", "45.3 +- 0.5"), (HOSTILE, "-")))


def test_scores_are_means_over_the_runs_with_their_standard_deviation(methods):
    rows = {row[0]: row for row in score_table(methods).rows}
    first, second = (100 * run.result["test"]["mean_iou"] for run in methods[0].runs)
    deviation = abs(first - second) / np.sqrt(2)  # of two values, with n - 1
    assert rows["fcn32s"][5] == f"{(first + second) / 2:.1f} +- {deviation:.1f}"
    assert rows["fcn8s"][5] == f"{100 * methods[1].runs[0].result['test']['mean_iou']:.1f}"
    assert [rows[title][1] for title in ("fcn32s", "fcn8s")] == ["2", "1"]


def test_a_class_has_the_mean_iou_of_the_runs(methods):
    rows = class_table(methods).rows
    for index, row in enumerate(rows):
        values = [run.result["test"]["iou"][index] for run in methods[0].runs]
        assert row[1] == ("-" if None in values else f"{50 * sum(values):.1f}")


def test_csv_reads_back_as_the_table(tmp_path):
    write_tables([("scores", TABLE)], tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        assert [tuple(row) for row in csv.reader(file)] == [TABLE.columns, *TABLE.rows]


def test_every_table_is_in_the_markdown_and_the_latex_file(tmp_path):
    files = write_tables([("scores", TABLE), ("other", Table("another", ("class",), (("sky",),)))], tmp_path)
    assert [path.name for path in files] == ["scores.csv", "other.csv", "table.md", "table.tex"]
    assert files[2].read_text() == f"{markdown(TABLE)}\n\n{markdown(Table('another', ('class',), (('sky',),)))}\n"
    assert files[3].read_text().count(r"\begin{tabular}") == files[3].read_text().count(r"\end{tabular}") == 2


def test_latex_is_a_plain_tabular():
    assert latex(Table("t", ("method", "IoU"), (("fcn8s", "45.3 +- 0.5"), ("segnet", "-")))).splitlines() == [
        "% t",
        r"\begin{tabular}{lr}",
        r"\hline",
        r"method & IoU \\",
        r"\hline",
        r"fcn8s & 45.3 $\pm$ 0.5 \\",
        r"segnet & -- \\",
        r"\hline",
        r"\end{tabular}",
    ]


def test_latex_escapes_what_is_special():
    row = latex(TABLE).splitlines()[6]
    assert row == (
        r"a\textbar{}b \& 50\%\_\#\{x\}\textasciitilde{}\textasciicircum{}\textbackslash{} \textless{}i\textgreater{}`{*} & -- \\"
    )


@pytest.mark.parametrize(("name", "shown"), [("[2]", "{[}2]"), ("*", "{*}"), ("a\nb", "a b")])
def test_a_name_cannot_become_an_argument_of_the_row_before_nor_end_the_row(name, shown):
    assert latex(Table("t\nu", ("class",), (("sky",), (name,)))).splitlines()[6] == rf"{shown} \\"
    assert latex(Table("t\nu", ("class",), ())).startswith("% t u\n")


def test_markdown_keeps_its_columns():
    lines = markdown(TABLE).splitlines()
    assert lines[:4] == ["scores, per cent", "", "| method | mean IoU |", "| --- | --: |"]
    assert lines[4] == "| fcn8s | 45.3 ± 0.5 |"
    assert lines[5] == r"| a\|b & 50%_#{x}~^\\ \<i>\`\* | - |"


def test_a_frame_has_the_names_as_index_and_the_cells_as_text():
    frame = TABLE.frame()
    assert (frame.index.name, list(frame.index), list(frame.columns)) == ("method", ["fcn8s", HOSTILE], ["mean IoU"])
    assert frame["mean IoU"].tolist() == ["45.3 ± 0.5", "-"]
    assert "<i>" not in frame.to_html()


def test_images_come_with_the_mean_iou_of_each_method_and_the_worst_first(methods):
    table = image_table(methods)
    values = []
    for name, *cells in table.rows:
        place = methods[0].runs[0].test[0].index(name)
        found = [np.mean([scores(run.test[1][place]).mean_iou for run in method.runs]) for method in methods]
        assert cells == [f"{100 * value:.1f}" for value in found]
        values.append(sum(found))
    assert table.columns == ("image", "fcn32s", "fcn8s")
    assert sorted(row[0] for row in table.rows) == [f"streets-test-{index:05}" for index in range(6)]
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_images_without_a_label_come_last():
    matrix = np.array([[3, 1], [0, 0]])
    run = SimpleNamespace(test=(("void", "poor"), np.stack([0 * matrix, matrix])))
    assert image_table([Method("fcn8s", (run,))]).rows == (("poor", "37.5"), ("void", "-"))
