"""The methods of the finished runs, and a report of them."""

import pytest

from segkit.compare.collect import read_methods
from segkit.compare.report import write_report
from segkit.compare.tables import class_table, score_table
from segkit.experiments.comparison import open_test_split


@pytest.fixture(scope="session")
def methods(trained):
    """The two methods of these runs."""
    return read_methods(trained)


@pytest.fixture(scope="session")
def write():
    """Writes a report of some methods: their scores and classes, and what is given besides."""

    def written(methods, out, tables=None, verdicts=(), **options):
        tables = {"scores": score_table(methods), "classes": class_table(methods), **(tables or {})}
        options |= {"tables": tables, "verdicts": verdicts, "costs": {}}
        return write_report(methods, out, open_dataset=lambda: open_test_split(methods), **options)

    return written


@pytest.fixture(scope="session")
def report(methods, write, tmp_path_factory):
    """The folder of their report."""
    out = tmp_path_factory.mktemp("report") / "out"
    write(methods, out)
    return out
