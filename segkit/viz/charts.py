"""Charts of a comparison, as matplotlib figures; `write_figure` saves them.

A method has the same colour, marker and line style in every chart, by its place in the mappings. Colour-blind readers
can tell the colours apart, and markers and line styles remain in grey print. The first axis of a method's arrays,
[S, ...], holds its repetitions; charts show their mean and spread. Scores are per cent.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from segkit.system.files import write_atomically

# Source: Okabe and Ito 2008, Color Universal Design; without yellow, which is too pale for a line on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", ":")
LARGEST_SIDE, MOST_NAMES = 8.0, 40  # of a confusion matrix: side in inches, and names along an axis
DPI = 144
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "figure.constrained_layout.h_pad": 0.08,  # inches
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
    "errorbar.capsize": 2.5,
    "text.parse_math": False,  # a name may hold a dollar sign
    "pdf.fonttype": 42,  # embed TrueType fonts: publishers reject Type 3 fonts
}
Curve = tuple[Sequence[float] | np.ndarray, np.ndarray]  # [T] steps, and values [S, T]


def write_figure(figure: Figure, path: Path) -> list[Path]:
    """Write PATH.png and PATH.pdf, with equal bytes for equal figures, and return these paths."""
    files = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf")]
    for file in files:
        write_atomically(file, lambda partial, kind=file.suffix[1:]: _save(figure, partial, kind))
    return files


def png(figure: Figure) -> bytes:
    """Return the bytes that `write_figure` writes into PATH.png."""
    file = io.BytesIO()
    _save(figure, file, "png")
    return file.getvalue()


def _save(figure: Figure, file: Path | IO[bytes], kind: str) -> None:
    stamp = {"CreationDate": None} if kind == "pdf" else {}
    with rc_context(STYLE), warnings.catch_warnings(action="ignore", category=UserWarning):  # missing letters
        figure.savefig(file, format=kind, dpi=DPI, metadata=stamp)


@rc_context(STYLE)
def accuracy_against_cost(mean_iou: Mapping[str, np.ndarray], costs: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw mean IoU over each cost: a panel per cost, a point per method with the std over its repetitions.

    Args:
        mean_iou: name -> [S].
        costs: label of the axis with its unit -> name -> cost. A method without a cost is left out of that panel. An
            axis is logarithmic if costs differ tenfold.
    """
    columns = 2 if len(costs) == 4 else 3
    figure, panels = _panels(len(costs), columns=columns, size=(2.9, 2.7))
    for axes, (label, of_method) in zip(panels, costs.items(), strict=True):
        for index, (name, values) in enumerate(mean_iou.items()):
            if name in of_method:
                mean, std = mean_and_std(values[:, None])
                axes.errorbar([of_method[name]], mean, std, **_marks(index, line=False))
        drawn = list(of_method.values())
        if drawn and min(drawn) > 0 and max(drawn) >= 10 * min(drawn):
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        axes.margins(0.15)
        axes.set_xlabel(label)
    _label_left(panels, columns, "mean IoU (%)")
    _legend(figure, list(mean_iou), line=False)
    return figure


@rc_context(STYLE)
def class_iou(iou: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Draw the IoU of each class: a row per class, a point per method with the std over its repetitions.

    Args:
        iou: name -> [S, K], NaN where a class is in neither labels nor predictions of a repetition.
    """
    step = 0.8 / len(iou)
    figure = Figure(figsize=(6.4, 1 + len(class_names) * (0.12 + 0.09 * len(iou))), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(class_names))
    for index, values in enumerate(iou.values()):
        mean, std = mean_and_std(values)
        axes.errorbar(mean, rows + (index - (len(iou) - 1) / 2) * step, xerr=std, **_marks(index, line=False, size=4.5))
    for edge in rows[:-1] + 0.5:
        axes.axhline(edge, color="#dddddd", linewidth=0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(rows, [short(name) for name in class_names])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="IoU (%)")
    axes.set_xlim(left=0)
    _legend(figure, list(iou), line=False)
    return figure


@rc_context(STYLE)
def accuracy_near_boundaries(panels: Mapping[str, Mapping[str, np.ndarray]], widths: Sequence[int]) -> Figure:
    """Draw scores of the pixels near label boundaries over the distance: a panel per score, a line per method.

    Args:
        panels: label of the axis -> name -> [S, D + 1]: scores within each of the D widths, and of all pixels.
        widths: pixels on one side of a boundary, [D], ascending.
    """
    figure, axes_of = _panels(len(panels), columns=2, size=(3.3, 2.8))
    places = np.log2(widths)
    everywhere = places[-1] + 1.3
    for axes, (label, of_method) in zip(axes_of, panels.items(), strict=True):
        for index, values in enumerate(of_method.values()):
            mean, std = mean_and_std(values)
            bars = None if std is None else (std[:-1], std[-1:])
            axes.errorbar(places, mean[:-1], bars and bars[0], **_marks(index))
            axes.errorbar([everywhere], mean[-1:], bars and bars[1], **_marks(index, line=False))
        axes.axvline((places[-1] + everywhere) / 2, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_xticks([*places, everywhere], [*map(str, widths), "all"])
        axes.set(xlabel="pixels within this distance of a label boundary", ylabel=label)
    _legend(figure, list(next(iter(panels.values()))))
    return figure


@rc_context(STYLE)
def learning_curves(panels: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Draw values over training steps: a panel per kind, a line per method in a band from lowest to highest repetition.

    Args:
        panels: label of the axis -> name -> (steps [T], values [S, T]). A method without steps is left out.
    """
    figure, axes_of = _panels(len(panels), columns=2, size=(3.3, 2.8))
    for axes, (label, of_method) in zip(axes_of, panels.items(), strict=True):
        for index, (steps, values) in enumerate(of_method.values()):
            if not len(steps):
                continue
            marks = _marks(index)
            marks["marker"] = marks["marker"] if len(steps) <= 30 else ""
            axes.plot(steps, values.mean(0), **marks)
            if len(values) > 1:
                axes.fill_between(steps, values.min(0), values.max(0), color=marks["color"], alpha=0.18, linewidth=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set(xlabel="training step", ylabel=label)
    _legend(figure, list(next(iter(panels.values()))))
    return figure


@rc_context(STYLE)
def confusion(matrices: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Draw confusion matrices: a panel per method, rows = label, each row in per cent of its labelled pixels.

    Numbers are printed for up to 15 classes. All names are printed for up to 40 classes; for more, every second, third,
    and so on. The row of a class without labelled pixels stays white.

    Args:
        matrices: name -> int [K, K].
    """
    count, names = len(class_names), [short(name) for name in class_names]
    side = min(max(2.6, 0.27 * count + 0.5), LARGEST_SIDE)
    named = range(0, count, -(-count // MOST_NAMES))
    columns = min(len(matrices), 2 if count > 12 else 3)
    figure, panels = _panels(len(matrices), columns=columns, size=(side, side))
    picture = None
    for index, (axes, (method, matrix)) in enumerate(zip(panels, matrices.items(), strict=True)):
        labelled = matrix.sum(1, keepdims=True)
        share = np.divide(100 * matrix, labelled, out=np.full(matrix.shape, np.nan), where=labelled > 0)
        picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        axes.grid(visible=False)
        axes.tick_params(length=0, labelsize=7)
        axes.set_xticks(named, [names[place] for place in named], rotation=90)
        axes.set_yticks(named, [names[place] if index % columns == 0 else "" for place in named])
        axes.set_title(short(method, 40))
        if count <= 15:
            for (row, column), value in np.ndenumerate(share):
                if value >= 0.5:
                    color = "white" if value > 55 else "black"
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6, color=color)
    _label_left(panels, columns, "label")
    figure.supxlabel("prediction", fontsize=9)
    if picture is not None:
        figure.colorbar(picture, ax=panels, shrink=0.6, fraction=0.03, aspect=30, label="pixels of the label (%)")
    return figure


def mean_and_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return mean and std (n - 1) over the first axis without NaN; std is 0 of one value, None for one repetition."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # a class that occurs in no repetition
        mean, std = np.nanmean(values, 0), np.nanstd(values, 0, ddof=1)
    return mean, None if len(values) == 1 else np.nan_to_num(std)


def _panels(count: int, *, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels, row by row; `size` is (width, height) of a panel in inches."""
    columns = min(columns, max(count, 1))
    rows = -(-max(count, 1) // columns)
    figure = Figure(figsize=(size[0] * columns + 0.3, size[1] * rows + 0.4), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def _marks(index: int, *, line: bool = True, size: float = 5) -> dict:
    """Return the style of the method at this index."""
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": size,
        "linestyle": LINES[index % len(LINES)] if line else "none",
    }


def _legend(figure: Figure, names: Sequence[str], *, line: bool = True) -> None:
    handles = [Line2D([], [], **_marks(index, line=line)) for index in range(len(names))]
    labels = [f" {short(name, 40)}" for name in names]  # matplotlib leaves out labels that begin with _
    length = 2.8 if line else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)), handlelength=length)


def _label_left(panels: Sequence[Axes], columns: int, label: str) -> None:
    for axes in panels[::columns]:
        axes.set_ylabel(label)


def short(name: str, length: int = 20) -> str:
    """Return the name on one line, truncated to `length` characters."""
    line = " ".join(name.split())
    return line if len(line) <= length else line[: length - 1] + "…"
