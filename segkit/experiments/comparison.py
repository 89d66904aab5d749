"""A comparison of finished runs: their scores, their costs, and the significance of the differences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segkit import build
from segkit.compare import report
from segkit.compare.collect import Method, read_methods
from segkit.compare.figures import Drawing, draw, predictions_picture
from segkit.compare.ledger import Costs, cost_tables
from segkit.compare.listing import find_runs
from segkit.compare.report import Report
from segkit.compare.significance import Statistics, compare_methods, least_resamples
from segkit.compare.stored import read_predictions
from segkit.compare.tables import Table, class_table, difference_table, score_table
from segkit.config.identity import recipe
from segkit.config.resolve import differing
from segkit.data.dataset import Dataset
from segkit.errors import InputError
from segkit.experiments.costs import SIZE_HINT, costs_of
from segkit.experiments.experiment import read_experiment
from segkit.tracking.run_dir import CONFIG, RunDir


@dataclass(frozen=True)
class Comparison:
    """Some methods, their statistics and their costs.

    The `overrides` of its functions are changes to the configs, such as data.root on this machine.

    Attributes:
        costs: a row per method; none where they could not be counted.
        notes: what was left out, and why.
    """

    methods: list[Method]
    statistics: Statistics
    costs: list[Costs]
    notes: tuple[str, ...] = ()

    def tables(self) -> dict[str, Table]:
        """Name of a file -> table: scores, classes, differences, settings and costs."""
        tables = {"scores": score_table(self.methods, self.statistics), "classes": class_table(self.methods)}
        if len(self.methods) > 1:
            tables |= {"differences": difference_table(self.statistics), "settings": self._settings()}
        costs = cost_tables(self.costs) if self.costs else []
        return tables | dict(zip(("costs_counted", "costs_measured"), costs, strict=False))

    def verdicts(self) -> list[str]:
        """A sentence about each pair of methods: if they differ significantly, and the evidence."""
        return [pair.sentence for pair in self.statistics.pairs]

    def figures(self) -> list[Drawing]:
        """Figures of cost, learning, IoU of each class, and confusion."""
        return draw(self.methods, costs=self._cost_axes(), near=None)

    def picture(self, images: Sequence[str], overrides: Sequence[str] = ()) -> Drawing:
        """Some test images, given by their ids, their labels, and what the first run of each method predicted.

        Raises:
            InputError: if the dataset, a stored prediction or an image is missing.
        """
        dataset = open_test_split(self.methods, overrides)
        first = [method.runs[0] for method in self.methods]
        return predictions_picture(self.methods, list(read_predictions(first, dataset, images)), dataset)

    def write(
        self, out: Path, overrides: Sequence[str] = (), *, pictures: int = 4, browser_images: int = 240
    ) -> Report:
        """Write tables, figures and index.html into a folder; see `segkit.compare.report.write_report`."""
        return report.write_report(
            self.methods,
            out,
            tables=self.tables(),
            verdicts=[*self.verdicts(), *self.notes],
            costs=self._cost_axes(),
            open_dataset=lambda: open_test_split(self.methods, overrides),
            pictures=pictures,
            browser_images=browser_images,
        )

    def _settings(self) -> Table:
        found = differing([recipe(method.runs[0].values) for method in self.methods])
        names = (method.name for method in self.methods)
        rows = tuple((key, *values) for key, values in found.items())
        return Table("settings in which the methods differ", ("key", *names), rows)

    def _cost_axes(self) -> dict[str, dict[str, float]]:
        """Axes of the figure of accuracy against cost."""
        values = {
            "multiplications (G)": lambda c: c.macs / 1e9,
            "memory kept for the decoder (MB)": lambda c: c.kept_bytes and c.kept_bytes / 1e6,
            "inference (ms)": lambda c: c.forward_seconds and 1e3 * c.forward_seconds.median,
            "training step (ms)": lambda c: c.step_seconds and 1e3 * c.step_seconds.median,
            "inference memory (MB)": lambda c: c.peak_inference_bytes and c.peak_inference_bytes / 1e6,
        }
        axes = {
            label: {c.name: cost for c in self.costs if (cost := of(c)) is not None} for label, of in values.items()
        }
        return {label: costs for label, costs in axes.items() if costs}


def open_comparison(
    paths: Sequence[Path], overrides: Sequence[str] = (), *, block: int = 1, measure: bool = False
) -> Comparison:
    """Compare finished runs.

    Args:
        paths: run folders, as `finished_runs` gives them.
        overrides: changes to their configs, such as data.root on this machine.
        block: consecutive test images that are drawn together; see `compare_methods`.
        measure: also measure time and memory on this machine.
    Raises:
        InputError: if they cannot be compared.
    """
    methods = read_methods(paths)
    resamples = max(10_000, least_resamples(len(methods)))
    matrices, seeds = {m.name: m.matrices for m in methods}, {m.name: m.seeds for m in methods}
    statistics = compare_methods(matrices, seeds, block=block, resamples=resamples)
    try:
        costs = costs_of([method.runs[0].folder.path for method in methods], measure=measure, overrides=overrides)
    except InputError as error:
        return Comparison(methods, statistics, [], (f"Left out: costs: {str(error).removesuffix(SIZE_HINT)}",))
    named = [replace(each, name=method.name) for each, method in zip(costs, methods, strict=True)]
    return Comparison(methods, statistics, named)


def open_test_split(methods: Sequence[Method], overrides: Sequence[str] = ()) -> Dataset:
    """The test split of the first run whose dataset can be opened here (runs may come from several machines).

    Raises:
        InputError: that of the first run, if no run's does.
    """
    problems = []
    for run in (run for method in methods for run in method.runs):
        try:
            return build.build_dataset(build.load_config(run.folder.path / CONFIG, overrides)[0], "test")
        except InputError as error:
            problems.append(error)
    raise problems[0]


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
            found[path] = None  # where it is missing, `read_methods` says so
        else:
            found |= dict.fromkeys(find_runs([path]))
    finished = [path for path in found if RunDir(path).finished or (path in paths and not path.is_dir())]
    if not finished:
        held = f"{len(found)} unfinished runs" if found else "no run"
        raise InputError(f"{', '.join(map(str, paths))}: {held}; expected finished ones. Train them first.")
    return finished, [path for path in found if path not in finished]
