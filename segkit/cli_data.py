"""Commands about datasets. `segkit.cli` joins them to the others."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from segkit.cli_runs import Config, Overrides

data = typer.Typer(help="Datasets: fetch, check, count, look.", no_args_is_help=True)

Split = Literal["train", "val", "test"]


@data.command()
def stats(
    config: Config,
    overrides: Overrides = None,
    splits: Annotated[Literal["train", "val", "test", "all"], typer.Option("--split", help="Split to read.")] = "all",
    out: Annotated[Path | None, typer.Option(help="Folder for stats.json, stats.png and stats.pdf.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Count a dataset: pixels and images of each class, image sizes, mean and deviation of pixel values, variants of class weights.

    Every image of the splits is read.
    """
    import json

    from segkit.build import load_experiment
    from segkit.data_stats import read_splits, stats_tables, stats_values, write_stats
    from segkit.machine import require_writable
    from segkit.tracking.console import print_table

    if out is not None:
        require_writable(out, "--out")
    experiment, _ = load_experiment(config, overrides or [])
    found = read_splits(experiment, ["train", "val", "test"] if splits == "all" else [splits])
    values = stats_values(experiment, found)
    files = [] if out is None else write_stats(values, out)
    if as_json:
        print(json.dumps(values, indent=2))
        return
    for title, columns, rows in stats_tables(experiment, found):
        print_table(title, columns, rows)
    print(*files, sep="\n", end="\n" if files else "")
