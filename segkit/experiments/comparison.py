"""A comparison of finished runs: who scores what, what it costs, and which differences are real."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.compare.collect import Method, read_methods, what_counts
from segkit.compare.figures import Drawing, draw
from segkit.compare.ledger import Costs, cost_tables
from segkit.compare.listing import find_runs
from segkit.compare.pictures import predictions_picture
from segkit.compare.report import Additions, Report
from segkit.compare.statistics import LEVEL, PairComparison, Statistics, compare_methods, least_resamples
from segkit.compare.stored import read_predictions
from segkit.compare.tables import Table, class_table, difference_table, score_table
from segkit.config.resolve import flat
from segkit.config.signatures import show
from segkit.errors import InputError
from segkit.experiments.costs import SIZE_HINT, costs_of
from segkit.experiments.experiment import read_experiment
from segkit.experiments.report import open_test_split, write_report
from segkit.tracking.run_dir import RunDir


@dataclass(frozen=True)
class Comparison:
    """Some methods, their statistics and their costs.

    Attributes:
        costs: a row per method; none where they could not be counted.
        notes: what was left out, and why.
    """

    methods: list[Method]
    statistics: Statistics
    costs: list[Costs]
    notes: tuple[str, ...] = ()

    def tables(self) -> list[tuple[str, Table]]:
        """(file name, table) of scores, classes, differences, settings and costs."""
        return [
            ("scores", score_table(self.methods, self.statistics)),
            ("classes", class_table(self.methods)),
            *self._additional(),
        ]

    def verdicts(self) -> list[str]:
        """A sentence about each pair of methods: whether they differ, and what that rests on."""
        return [f"{pair.verdict}; {pair.rests_on}{_why_not(pair)}" for pair in self.statistics.pairs]

    def figures(self) -> list[Drawing]:
        """Figures of cost, learning, IoU of each class, and confusion."""
        return draw(self.methods, costs=self._axes(), near=None)

    def picture(self, images: Sequence[str], overrides: Sequence[str] = ()) -> Drawing:
        """Some test images, given by their ids, their labels, and what the first run of each method predicted.

        Args:
            overrides: changes to the configs, such as data.root on this machine.
        Raises:
            InputError: if the dataset, a stored prediction or an image is missing.
        """
        dataset = open_test_split(self.methods, overrides)
        first = [method.runs[0] for method in self.methods]
        return predictions_picture(self.methods, list(read_predictions(first, dataset, images)), dataset)

    def write(
        self, out: Path, overrides: Sequence[str] = (), *, pictures: int = 4, browser_images: int = 240
    ) -> Report:
        """Writes tables, figures and index.html into a folder; see `segkit.compare.report.write_report`."""
        additions = Additions(self._additional(), [*self.verdicts(), *self.notes], self._axes(), self.statistics)
        return write_report(
            self.methods, out, overrides, additions=additions, pictures=pictures, browser_images=browser_images
        )

    def _additional(self) -> list[tuple[str, Table]]:
        differences = [("differences", difference_table(self.statistics))] if self.statistics.pairs else []
        settings = [("settings", self._settings())] if len(self.methods) > 1 else []
        names = ("costs_counted", "costs_measured")
        return differences + settings + list(zip(names, cost_tables(self.costs) if self.costs else [], strict=False))

    def _settings(self) -> Table:
        """Settings in which the runs of the methods differ: what was compared. `-`: a component has no such option."""
        values = [flat(what_counts(method.runs[0].values)) for method in self.methods]
        keys = dict.fromkeys(key for each in values for key in each)
        shown = {key: tuple(show(each[key]) if key in each else "-" for each in values) for key in keys}
        rows = tuple((key, *line) for key, line in shown.items() if len(set(line)) > 1)
        return Table("settings in which the methods differ", ("key", *(method.title for method in self.methods)), rows)

    def _axes(self) -> dict[str, dict[str, float]]:
        """Axes of the figure of accuracy against cost."""
        axes = {
            "multiplications (G)": {c.title: c.macs / 1e9 for c in self.costs},
            "memory kept for the decoder (MB)": {
                c.title: c.kept_bytes / 1e6 for c in self.costs if c.kept_bytes is not None
            },
            "inference (ms)": {c.title: 1e3 * c.forward_seconds.median for c in self.costs if c.forward_seconds},
            "training step (ms)": {c.title: 1e3 * c.step_seconds.median for c in self.costs if c.step_seconds},
            "inference memory (MB)": {
                c.title: c.peak_inference_bytes / 1e6 for c in self.costs if c.peak_inference_bytes is not None
            },
        }
        return {label: values for label, values in axes.items() if values}


def _why_not(pair: PairComparison) -> str:
    """Why a pair is not distinguishable although its interval leaves out 0."""
    if pair.distinguishable or pair.p_images >= LEVEL:
        return ""
    if pair.p_seeds is not None and pair.p_seeds >= LEVEL:
        return f": it holds for other images, but other seeds may turn it round (p {pair.p_seeds:.2f})"
    return f": taken alone it would be (p {pair.p:.3f}), but not among so many pairs (corrected {pair.p_corrected:.3f})"


def open_comparison(
    paths: Sequence[Path], overrides: Sequence[str] = (), *, block: int = 1, measure: bool = False
) -> Comparison:
    """Compares finished runs.

    Args:
        paths: run folders, as `finished_runs` gives them.
        overrides: changes to their configs, such as data.root on this machine.
        block: test images in a row that are drawn together; see `compare_methods`.
        measure: also measure time and memory on this machine.
    Raises:
        InputError: if they cannot be compared.
    """
    methods = read_methods(paths)
    resamples = max(10_000, least_resamples(len(methods)))
    matrices, seeds = {m.title: m.matrices for m in methods}, {m.title: m.seeds for m in methods}
    statistics = compare_methods(matrices, seeds, block=block, resamples=resamples)
    try:
        found = costs_of([method.runs[0].folder.path for method in methods], measure=measure, overrides=overrides)
    except InputError as error:
        reason = str(error).removesuffix(SIZE_HINT)
        return Comparison(methods, statistics, [], (f"Left out: costs: {reason}",))
    return Comparison(
        methods, statistics, [replace(each, title=m.title) for each, m in zip(found, methods, strict=True)]
    )


def finished_runs(
    paths: Sequence[Path], overrides: Sequence[str] = (), *, runs: Path = Path("runs")
) -> tuple[list[Path], list[Path]]:
    """Finished and other run folders of some run folders, folders of run folders, and experiment files.

    Args:
        overrides: changes to the configs of experiments.
        runs: where the runs of experiments are.
    Raises:
        InputError: if there is nothing, or nothing is finished.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_file():
            found |= dict.fromkeys(member.run.path for member in read_experiment(path, overrides, runs=runs))
        elif RunDir(path).exists or not path.is_dir():
            found[path] = None
        else:
            found |= dict.fromkeys(find_runs([path]))
    finished = [
        path for path in found if RunDir(path).finished or (path in paths and not path.is_dir())
    ]  # a missing one is named later
    if not finished:
        held = f"{len(found)} unfinished runs" if found else "no run"
        raise InputError(f"{', '.join(map(str, paths))}: {held}; expected finished ones. Train them first.")
    return finished, [path for path in found if path not in finished]
