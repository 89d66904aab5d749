"""Tables of a comparison: text for the terminal, CSV and Markdown, and LaTeX for a paper."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segkit.compare.collect import Method
from segkit.compare.significance import Statistics
from segkit.system.files import write_text
from segkit.tracking.console import percent
from segkit.viz.charts import mean_and_std

if TYPE_CHECKING:
    from pandas import DataFrame

# Characters that LaTeX and Markdown would not print. At the start of a row, LaTeX takes a star or a bracket for an
# option of the end of the row before.
_NAMES = {"\\": "backslash", "<": "less", ">": "greater", "|": "bar", "~": "asciitilde", "^": "asciicircum"}
LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {c: f"{{{c}}}" for c in "[*"}
    | {c: f"\\text{name}{{}}" for c, name in _NAMES.items()}
)
MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*<[|"})
SCORES = {
    "global_accuracy": "global accuracy",
    "class_average_accuracy": "class average accuracy",
    "mean_iou": "mean IoU",
}


@dataclass(frozen=True)
class Table:
    """A table of text: `columns`, and rows whose first cell is a name."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def frame(self) -> "DataFrame":
        """A pandas frame for a notebook: text, with the rows' names as index."""
        from pandas import DataFrame

        rows = [[cell.replace("+-", "±") for cell in row] for row in self.rows]
        return DataFrame(rows, columns=list(self.columns)).set_index(self.columns[0])


def score_table(methods: Sequence[Method], statistics: Statistics | None = None) -> Table:
    """Test scores in per cent, a row per method: mean over its runs, +- standard deviation if there are several.

    Args:
        statistics: of these methods, for the interval of the mean IoU over test images.
    """
    rows = []
    for method in methods:
        row = [method.name, str(len(method.runs)), f"{method.runs[0].result['parameters']:,}"]
        row += [" +- ".join(_mean_and_std(values)) for values in _scores(method).values()]
        if statistics:
            row.append("{:.1f} to {:.1f}".format(*(100 * end for end in statistics.intervals[method.name])))
        rows.append((*row, f"{np.mean([run.result['seconds'] for run in method.runs]):.0f}"))
    interval = ["95% over images"] if statistics else []
    columns = ("method", "runs", "parameters", *SCORES.values(), *interval, "seconds")
    return Table("scores on the test split, per cent", columns, tuple(rows))


def class_table(methods: Sequence[Method]) -> Table:
    """IoU of each class in per cent, mean over a method's runs except those in which the class never occurs."""
    values = [map(percent, mean_and_std(method.class_iou)[0]) for method in methods]
    rows = tuple(zip(methods[0].class_names, *values, strict=True))
    return Table("IoU of each class, per cent", ("class", *(method.name for method in methods)), rows)


def image_table(methods: Sequence[Method]) -> Table:
    """Mean IoU of each test image in per cent, mean over the runs of each method.

    The worst image, by the mean over methods, comes first; images without a labelled pixel come last.
    """
    ids, values = methods[0].runs[0].test[0], np.stack([method.image_mean_iou.mean(0) for method in methods], axis=1)
    rows = tuple((ids[index], *map(percent, values[index])) for index in np.argsort(values.mean(1), kind="stable"))
    title = "mean IoU of each test image, per cent, worst first"
    return Table(title, ("image", *(method.name for method in methods)), rows)


def difference_table(statistics: Statistics) -> Table:
    """Differences of mean IoU in points (per cent), a row per pair of methods, the better one first."""
    rows = []
    for pair in statistics.pairs:
        names, values = pair.better_first()
        p = ["-" if value is None else f"{value:.4f}" for value in (pair.p_images, pair.p_seeds, pair.p_corrected)]
        verdict = "differ" if pair.distinguishable else "not distinguishable"
        rows.append((" - ".join(names), *(f"{value:+z.2f}" for value in values), *p, verdict, pair.rests_on))
    numbers = ("points", "low", "high", "p, images", "p, seeds", "p, corrected")
    together = f", {statistics.block} in a row drawn together" if statistics.block > 1 else ""
    return Table(
        f"differences of mean IoU in points; 95% intervals and p over {statistics.images} test images{together}, "
        f"{statistics.resamples:,} resamples; p corrected by Holm",
        ("difference of mean IoU", *numbers, "verdict", "rests on"),
        tuple(rows),
    )


def _scores(method: Method) -> dict[str, np.ndarray]:
    """Name of a score -> [S], per cent."""
    return {name: 100 * np.array([getattr(run.scores, key) for run in method.runs]) for key, name in SCORES.items()}


def _mean_and_std(values: np.ndarray) -> tuple[str, ...]:
    """Mean of [S] without NaN, and the standard deviation (n - 1) if several values are left; `-` if none is."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return (f"{values[0]:.1f}" if len(values) else "-",)
    return f"{values.mean():.1f}", f"{values.std(ddof=1):.1f}"


def write_tables(tables: Mapping[str, Table], methods: Sequence[Method], out: Path) -> list[Path]:
    """Write OUT/NAME.csv for each table, OUT/table.md with all, and OUT/table.tex for a paper; return the files."""
    texts = {f"{name}.csv": _csv(table) for name, table in tables.items()}
    texts["table.md"] = "\n\n".join(map(markdown, tables.values())) + "\n"
    texts["table.tex"] = latex(methods, [table for name, table in tables.items() if name not in ("scores", "classes")])
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]


def _csv(table: Table) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue()


def markdown(table: Table) -> str:
    """A title and a Markdown table."""

    def as_markdown(text: str) -> str:
        return _line(text).translate(MARKDOWN).replace("+-", "±")

    columns, *rows = [[as_markdown(cell) for cell in row] for row in (table.columns, *table.rows)]
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return f"{as_markdown(table.title)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def latex(methods: Sequence[Method], others: Sequence[Table] = ()) -> str:
    """The tables of a paper, for \\input in a document with the packages booktabs and graphicx.

    The first has the scores of each method, the second the IoU of each class: mean and standard deviation over seeds,
    the best mean of each score and class in bold. `others` follow as they are.
    """
    names = [method.name for method in methods]
    parameters = [f"{method.runs[0].result['parameters'] / 1e6:.1f}" for method in methods]
    values = [_scores(method) for method in methods]
    scores = [_best_in_bold([each[name] for each in values]) for name in SCORES.values()]
    classes = [
        _best_in_bold([100 * method.class_iou[:, index] for method in methods])
        for index in range(len(methods[0].class_names))
    ]
    seeds = {len(method.runs) for method in methods}
    about = f"on the test split of {methods[0].runs[0].values['data']['name']}, in per cent"
    if seeds != {1}:
        count = f"{seeds.pop()}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
        about += f": mean +- standard deviation over {count} seeds"
    rows = [[_escaped(name), *cells] for name, *cells in zip(names, parameters, *scores, strict=True)]
    columns = ["Method", "Params (M)", "Global acc.", "Class avg. acc.", "Mean IoU"]
    text = "% Needs \\usepackage{booktabs, graphicx}\n" + _floating(f"Scores {about}.", "scores", columns, rows)
    rows = [[_escaped(name), *cells] for name, cells in zip(methods[0].class_names, classes, strict=True)]
    text += _floating(f"IoU of each class {about}.", "classes", ["Class", *names], [*rows, [], ["Mean", *scores[-1]]])
    for index, table in enumerate(others):
        rows = [["--" if cell == "-" else _escaped(cell) for cell in row] for row in table.rows]
        text += _floating(f"{table.title[:1].upper()}{table.title[1:]}.", f"more{index + 1}", table.columns, rows)
    return text


def _best_in_bold(values: Sequence[np.ndarray]) -> list[str]:
    """A cell for the values [S] of each method; equal to the last printed digit, several are the best."""
    cells = [_mean_and_std(each) for each in values]
    means = [float(mean) for mean, *_ in cells if mean != "-"]
    best = f"{max(means):.1f}" if len(means) > 1 else None
    return [
        " $\\pm$ ".join((f"\\textbf{{{mean}}}" if mean == best else mean.replace("-", "--"), *std))
        for mean, *std in cells
    ]


def _floating(caption: str, label: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with its caption above, shrunk if it is wider than the text; an empty row is a rule."""
    head = " & ".join(map(_escaped, columns))
    body = "\n".join(" & ".join(row) + r" \\" if row else r"\midrule" for row in rows)
    return rf"""
\begin{{table}}
\centering
\caption{{{_escaped(caption)}}}
\label{{tab:{label}}}
\medskip
\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{%
\begin{{tabular}}{{@{{}}l{"r" * (len(columns) - 1)}@{{}}}}
\toprule
{head} \\
\midrule
{body}
\bottomrule
\end{{tabular}}}}
\end{{table}}
"""


def _escaped(text: str) -> str:
    """Text without special characters; +- is a sign."""
    return _line(text).translate(LATEX).replace("+-", r"$\pm$")


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
