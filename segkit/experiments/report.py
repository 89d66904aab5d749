"""Reports of finished runs, with the dataset that they were scored on."""

from collections.abc import Sequence
from pathlib import Path

from segkit import build
from segkit.compare import report
from segkit.compare.collect import Method
from segkit.compare.report import Additions, Report
from segkit.data.dataset import Dataset
from segkit.errors import InputError
from segkit.tracking.run_dir import CONFIG


def write_report(
    methods: Sequence[Method],
    out: Path,
    overrides: Sequence[str] = (),
    *,
    additions: Additions | None = None,
    pictures: int = 4,
    browser_images: int = 240,
) -> Report:
    """Writes tables, figures and index.html into a folder; see `segkit.compare.report.write_report`.

    Args:
        overrides: changes to the configs of the runs, such as data.root on this machine.
    """
    return report.write_report(
        methods,
        out,
        open_dataset=lambda: open_test_split(methods, overrides),
        additions=additions,
        pictures=pictures,
        browser_images=browser_images,
    )


def open_test_split(methods: Sequence[Method], overrides: Sequence[str] = ()) -> Dataset:
    """The test split of the first run whose config leads to it: runs from several machines may each have their own
    data.root.

    Raises:
        InputError: that of the first run, if no run's does.
    """
    problems = []
    for run in (run for method in methods for run in method.runs):
        try:
            config, _ = build.load_config(run.folder.path / CONFIG, overrides)
            return build.build_dataset(config, "test")
        except InputError as error:
            problems.append(error)
    raise problems[0]
