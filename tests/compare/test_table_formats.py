"""Tables say the same in every format, whatever the names are."""

import csv
import re
import subprocess
from shutil import which
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


def test_every_table_is_a_csv_file_and_in_the_markdown_and_the_latex_file(methods, tmp_path):
    other = Table("another", ("class",), (("sky",),))
    files = write_tables({"scores": TABLE, "classes": TABLE, "other": other}, methods, tmp_path)
    assert [path.name for path in files] == ["scores.csv", "classes.csv", "other.csv", "table.md", "table.tex"]
    with files[0].open(newline="", encoding="utf-8") as file:
        assert [tuple(row) for row in csv.reader(file)] == [TABLE.columns, *TABLE.rows]
    assert files[3].read_text() == f"{markdown(TABLE)}\n\n{markdown(TABLE)}\n\n{markdown(other)}\n"
    assert files[4].read_text() == latex(methods, [other])


def made_up(**runs):
    """Methods with runs of these confusion matrices: 2 classes, the first of them called HOSTILE."""
    about = {
        "result": {"class_names": [HOSTILE, "sky"], "parameters": 1_250_000},
        "values": {"data": {"name": "camvid"}},
    }

    def run(matrix):
        return SimpleNamespace(scores=scores(np.array(matrix)), **about)

    return [Method(name, tuple(map(run, matrices))) for name, matrices in runs.items()]


def latex_rows(text):
    """The cells of every row, table by table."""
    tables = re.findall(r"\\toprule\n(.*?)\n\\bottomrule", text, re.DOTALL)
    lines = [[line for line in table.splitlines() if " & " in line] for table in tables]
    return [[line.removesuffix(r" \\").split(" & ") for line in table] for table in lines]


def test_a_papers_tables_have_means_deviations_and_the_best_in_bold():
    methods = made_up(ours=[[[40, 10], [10, 20]], [[50, 5], [5, 30]]], theirs=[[[44, 6], [10, 20]]])
    text = latex(methods)
    by_score, by_class = latex_rows(text)
    assert by_score[0] == ["Method", "Params (M)", "Global acc.", "Class avg. acc.", "Mean IoU"]
    runs = [[100 * run.scores.mean_iou for run in method.runs] for method in methods]
    mean, std = np.mean(runs[0]), np.std(runs[0], ddof=1)
    assert by_score[1][:2] == ["ours", "1.2"]
    assert by_score[1][4] == rf"\textbf{{{mean:.1f}}} $\pm$ {std:.1f}"
    assert by_score[2][4] == f"{runs[1][0]:.1f}"
    assert by_class[0] == ["Class", "ours", "theirs"]
    assert by_class[2][0] == "sky"
    assert by_class[3] == ["Mean", by_score[1][4], by_score[2][4]]
    assert "over 1 to 2 seeds" in text
    assert "seeds" not in latex(methods[1:])


def test_methods_that_print_as_equal_are_both_the_best_and_one_alone_is_not():
    equal = made_up(a=[[[40, 10], [10, 20]]], b=[[[40_001, 10_000], [10_000, 20_000]]])
    assert [row[4] for row in latex_rows(latex(equal))[0][1:]] == [r"\textbf{58.3}", r"\textbf{58.3}"]
    assert latex_rows(latex(equal[:1]))[0][1][4] == "58.3"


def test_latex_escapes_what_is_special_and_a_class_that_is_nowhere_has_a_dash():
    name, *cells = latex_rows(latex(made_up(a=[[[0, 0], [0, 5]]], b=[[[0, 0], [0, 5]]])))[1][1]
    assert cells == ["--", "--"]
    special = r"\textasciitilde{}\textasciicircum{}\textbackslash{} \textless{}i\textgreater{}`{*}"
    assert name == r"a\textbar{}b \& 50\%\_\#\{x\}" + special


@pytest.mark.parametrize(("name", "shown"), [("[2]", "{[}2]"), ("*", "{*}"), ("a\nb", "a b")])
def test_a_name_cannot_become_an_argument_of_the_row_before_nor_end_the_row(name, shown):
    others = [Table("t\nu", ("class", "c"), (("sky", "-"), (name, "1 +- 2")))]
    text = latex(made_up(a=[[[1, 0], [0, 1]]]), others)
    assert latex_rows(text)[2][1:] == [["sky", "--"], [shown, r"1 $\pm$ 2"]]
    assert r"\caption{T u.}" in text


@pytest.mark.skipif(not (TEX := which("pdflatex") or which("tectonic")), reason="no TeX: install pdflatex or tectonic")
def test_latex_compiles(tmp_path):
    hostile = f"{HOSTILE} [2] ü \" ' -- ?` ~ <<"
    methods = made_up(fcn8s=[[[40, 10], [10, 20]], [[50, 5], [5, 30]]], b=[[[45, 5], [10, 25]]])
    methods[1] = Method(hostile, methods[1].runs)
    text = latex(methods, [Table(hostile, (hostile, "a"), ((hostile, "-"), ("[2]", "1 +- 2"), ("*", "")))])
    (tmp_path / "table.tex").write_text(text, encoding="utf-8")
    begin, end = "\\documentclass{article}\\usepackage{booktabs, graphicx}\\begin{document}", "\\end{document}"
    (tmp_path / "paper.tex").write_text(rf"{begin}\input{{table}}{end}")
    options = ["-interaction=nonstopmode", "-halt-on-error"] if TEX.endswith("pdflatex") else []
    done = subprocess.run([TEX, *options, "paper.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")


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
