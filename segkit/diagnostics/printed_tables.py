"""Rows of the tables that the command line prints."""

from collections.abc import Iterable

import numpy as np

from segkit import build
from segkit.config.resolve import flat
from segkit.config.schema import RunConfig, config_values
from segkit.config.signatures import show
from segkit.data.class_weights import ClassCounts, MedianFrequency, SegNetPublished, cached_count
from segkit.metrics import boundary
from segkit.metrics.boundary import TRIMAP_WIDTHS
from segkit.metrics.confusion import scores
from segkit.metrics.conventions import CONVENTIONS, convention_scores
from segkit.tracking.console import percent, progress_bar

PUBLISHED = "SegNet"  # name of the variant with the weights of SegNet's prototxts


def shown_values(config: RunConfig, sources: dict[str, str]) -> list[str]:
    """Return `key = value  # source` for every value of a config."""
    values = flat(config_values(config))
    lines = [f"{key} = {show(value)}" for key, value in values.items()]
    width = min(72, max(map(len, lines)))
    found = [sources.get(key) or sources.get(key.removesuffix(".name")) or "default" for key in values]
    return [f"{line:<{width}}  # {source}" for line, source in zip(lines, found, strict=True)]


def class_weight_variants(config: RunConfig, counts: ClassCounts) -> dict[str, np.ndarray]:
    """Return name -> weights float64 [K], for the config's own class weighting and for others to compare."""
    names = build.build_classes(config).names
    weightings = {
        "this config": build.make(config, "loss.class_weights"),
        "median over classes": MedianFrequency(),
        "median incl. void": MedianFrequency(median_over="classes_and_void"),
        "void left out": MedianFrequency(pixels="labelled"),
        "all images": MedianFrequency(images="all"),
        "all images incl. void": MedianFrequency(images="all", median_over="classes_and_void"),
    }
    if names == tuple(SegNetPublished.weights):
        weightings[PUBLISHED] = SegNetPublished()
    return {variant: weighting(counts, names) for variant, weighting in weightings.items()}


def mean_weight(weights: np.ndarray, counts: ClassCounts) -> float:
    """Return the mean of class weights [K] over labelled pixels: the ratio of `weight_sum` to `valid_pixels`."""
    labelled = np.array(counts.pixels[:-1])
    return float(weights @ labelled / labelled.sum())


def class_weight_rows(config: RunConfig, counts: ClassCounts | None = None) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the table of class weights: a row per class, and one for void.

    Further rows give the largest difference from SegNet's published weights, and, for each other normalizer of the
    loss, the factor (x) or divisor (/) of a learning rate tuned with `valid_pixels` that keeps the length of steps.
    `counts` are those of the training labels; None: they are counted.
    """
    if counts is None:
        training = build.build_dataset(config, "train")
        with progress_bar("reading train labels", len(training)) as advance:
            counts = cached_count(training, advance)
    variants, names = class_weight_variants(config, counts), build.build_classes(config).names
    rows = []
    for index, name in enumerate([*names, "void"]):
        share = f"{100 * counts.pixels[index] / sum(counts.pixels):.2f}"
        shown = (f"{weights[index]:.4f}" if index < len(names) else "-" for weights in variants.values())
        rows.append([name, share, *shown])
    if PUBLISHED in variants:
        off = (np.abs(weights - variants[PUBLISHED]).max() for weights in variants.values())
        rows.append(["off SegNet's", "", *(f"{difference:.2f}" for difference in off)])
    rows.append(["rate, weight_sum", "", *(f"x{mean_weight(weights, counts):.3f}" for weights in variants.values())])
    per_image = sum(counts.pixels[:-1]) / counts.total_images
    divisor = f"/{per_image / 1000:.0f}k" if per_image >= 1e5 else f"/{per_image:.0f}"
    rows.append(["rate, batch", "", *[divisor] * len(variants)])
    return ["class", "% of pixels", *variants], rows


def convention_rows(matrix: np.ndarray, wanted: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the scores of an int64 confusion matrix [K, K] under some conventions."""
    rows = []
    for name in wanted:
        found = convention_scores(matrix, CONVENTIONS[name])
        values = map(percent, (found.global_accuracy, found.class_average_accuracy, found.mean_iou))
        rows.append([name, *values, str(found.classes_averaged), CONVENTIONS[name].source])
    return ["convention", "global accuracy", "class average accuracy", "mean IoU", "classes averaged", "source"], rows


class BoundaryMeasures:
    """Boundary measures, collected image by image; pass `add` to `evaluate_trained` as its observer.

    Attributes:
        trimaps: confusion matrices near boundaries for D widths, int64 [D, K, K], summed over images.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.counts: dict[str, list[np.ndarray]] = {"scripted": [], "exact": [], "fast": [], "bands": []}
        self.trimaps = np.zeros((len(TRIMAP_WIDTHS), num_classes, num_classes), np.int64)

    def add(self, _: str, predicted: np.ndarray, labels: np.ndarray) -> None:
        """Measure one image, given predicted and labelled class ids [H, W]; 255 = ignored in `labels`."""
        maps, classes = (predicted, labels), self.num_classes
        self.counts["scripted"].append(boundary.bf_counts(*maps, num_classes=classes, void="predicted"))
        self.counts["exact"].append(boundary.bf_counts(*maps, num_classes=classes))
        self.counts["fast"].append(boundary.bf_counts(*maps, num_classes=classes, matching="distance"))
        self.counts["bands"].append(boundary.band_counts(*maps, num_classes=classes))
        self.trimaps += boundary.trimap_matrices([predicted], labels, num_classes=classes, widths=TRIMAP_WIDTHS)[0]

    def rows(self) -> list[list[str]]:
        """Return name and value in per cent of each measure."""
        scripted, exact, fast, bands = (  # works without images too
            np.array(counts).reshape(-1, self.num_classes, 2 if name == "bands" else 4)
            for name, counts in self.counts.items()
        )
        rows = [
            ["BF of SegNet's script: what is predicted in void is wrong", percent(boundary.bf(scripted))],
            ["BF, void left out", percent(boundary.bf(exact))],
            ["BF, void left out, classes in the labels (SegNet's paper)", percent(boundary.bf(exact, variant="paper"))],
            ["BF, void left out, by distance alone", percent(boundary.bf(fast))],
            ["boundary IoU", percent(boundary.boundary_iou(bands))],
        ]
        for width, matrix in zip(TRIMAP_WIDTHS, self.trimaps, strict=True):
            near = scores(matrix)
            rows.append([f"global accuracy within {width} pixels of a boundary", percent(near.global_accuracy)])
            rows.append([f"mean IoU within {width} pixels of a boundary", percent(near.mean_iou)])
        return rows
