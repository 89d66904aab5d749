"""Figures of a comparison, drawn from the records, confusion matrices and predictions of the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from segkit.compare.collect import Method
from segkit.compare.stored import Predicted
from segkit.data.dataset import Dataset
from segkit.metrics.boundary import TRIMAP_WIDTHS
from segkit.metrics.confusion import global_accuracy, mean_iou
from segkit.viz import charts
from segkit.viz.side_by_side import side_by_side

LOSS_POINTS = 40  # of a curve of the training loss
CSS_DPI = 96  # pixels per inch on a web page


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its files, and its caption. A notebook shows the figure."""

    name: str
    figure: Figure
    caption: str

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.figure.get_size_inches()
        return charts.png(self.figure), {"width": round(CSS_DPI * width), "height": round(CSS_DPI * height)}


def draw(
    methods: Sequence[Method],
    *,
    costs: Mapping[str, Mapping[str, float]],
    near: Sequence[np.ndarray] | None,
) -> list[Drawing]:
    """The figures of some methods.

    Args:
        costs: costs besides parameters and training time: axis label with its unit -> name of a method -> cost.
        near: for each method int64 [S, D, K, K], confusion matrices of its runs within TRIMAP_WIDTHS pixels of a label
            boundary, summed over images. None: no figure of boundaries.
    """
    names, class_names = [method.name for method in methods], methods[0].class_names
    repeated = any(len(method.runs) > 1 for method in methods)
    bars = " Bars: one standard deviation over runs." if repeated else ""
    bands = " Bands: lowest to highest run." if repeated else ""
    axes: dict[str, Mapping[str, float]] = {
        "parameters (millions)": {m.name: m.runs[0].result["parameters"] / 1e6 for m in methods},
        "training time (minutes)": {
            m.name: float(np.mean([run.result["seconds"] for run in m.runs])) / 60 for m in methods
        },
        **costs,
    }
    scores = {m.name: np.array([100 * run.scores.mean_iou for run in m.runs]) for m in methods}
    found = [Drawing("cost", charts.accuracy_against_cost(scores, axes), f"Accuracy against cost.{bars}")]
    if near is not None:
        # [S, D + 1, K, K]: near boundaries, then of all pixels
        matrices = [np.concatenate([n, m.matrices.sum(1)[:, None]], axis=1) for n, m in zip(near, methods, strict=True)]
        panels = {
            label: {name: 100 * score(each) for name, each in zip(names, matrices, strict=True)}
            for label, score in (("global accuracy (%)", global_accuracy), ("mean IoU (%)", mean_iou))
        }
        about = "Scores of the pixels within some distance of a boundary in the labels (trimap), and of all pixels."
        found.append(Drawing("boundary", charts.accuracy_near_boundaries(panels, TRIMAP_WIDTHS), about + bars))
    panels = {"validation mean IoU (%)": _validation(methods), "training loss": _training_loss(methods)}
    about = f"Learning curves. The loss is averaged over up to {LOSS_POINTS} sections of the training."
    found.append(Drawing("learning", charts.learning_curves(panels), about + bands))
    figure = charts.class_iou({method.name: 100 * method.class_iou for method in methods}, class_names)
    found.append(Drawing("class_iou", figure, f"IoU of each class.{bars}"))
    figure = charts.confusion({method.name: method.matrices.sum((0, 1)) for method in methods}, class_names)
    about = "Confusion matrices of all runs together: where the pixels of each labelled class (row) went, in per cent."
    return [*found, Drawing("confusion", figure, about)]


def training_history(methods: Sequence[Method]) -> Drawing:
    """Loss, learning rate and gradient norm of the steps that were recorded, and validation mean IoU."""
    panels = {
        "training loss": _training_loss(methods),
        "validation mean IoU (%)": _validation(methods),
        "learning rate": {method.name: _curve(method, "train", "lr") for method in methods},
        "gradient norm": {method.name: _curve(method, "train", "gradient_norm") for method in methods},
    }
    about = (
        f"The loss is averaged over up to {LOSS_POINTS} sections of the training; the gradient norm is before clipping."
    )
    return Drawing("history", charts.learning_curves(panels), about)


def samples_picture(dataset: Dataset, indices: Sequence[int]) -> Drawing:
    """Some samples as they are on disk: image and labels."""
    samples = [dataset[index] for index in indices]
    rows = [(sample.image, sample.labels, {}) for sample in samples]
    figure = side_by_side(rows, class_names=dataset.class_names, palette=dataset.palette)
    return Drawing("samples", figure, f"Samples {', '.join(sample.id for sample in samples)}.")


def predictions_picture(methods: Sequence[Method], rows: Sequence[Predicted], dataset: Dataset) -> Drawing:
    """Test images, their labels, and what the first run of each method predicted: `rows` with one per method."""
    names = [method.name for method in methods]
    shown = [(row.sample.image, row.sample.labels, dict(zip(names, row.predictions, strict=True))) for row in rows]
    figure = side_by_side(shown, class_names=dataset.class_names, palette=dataset.palette)
    return Drawing("predictions", figure, f"Test images {', '.join(row.sample.id for row in rows)}.")


def _validation(methods: Sequence[Method]) -> dict[str, charts.Curve]:
    curves = {method.name: _curve(method, "validation", "mean_iou") for method in methods}
    return {name: (steps, 100 * values) for name, (steps, values) in curves.items()}


def _training_loss(methods: Sequence[Method]) -> dict[str, charts.Curve]:
    """Smoothed training loss: a point is the mean of one of equal sections of the records, at its middle."""
    found = {}
    for method in methods:
        steps, values = _curve(method, "train", "loss")
        if len(steps):
            sections = np.array_split(np.arange(len(steps)), min(LOSS_POINTS, len(steps)))
            values = np.stack([values[:, section].mean(1) for section in sections], axis=1)
            steps = np.array([steps[section].mean() for section in sections])
        found[method.name] = steps, values
    return found


def _curve(method: Method, kind: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [T] that every run has a record of, and the values there, [S, T]."""
    runs = [
        {record["step"]: record[key] for record in run.folder.records(kind) if record[key] is not None}
        for run in method.runs
    ]
    steps = sorted(set.intersection(*map(set, runs)))
    return np.array(steps, int), np.array([[records[step] for step in steps] for records in runs], float)
