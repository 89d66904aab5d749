"""Commands that make runs and compare them. `segkit.cli` joins them to the others."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from segkit.schema import Experiment

experiments = typer.Typer(help="Runs that belong together, from one file.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(help="Config file (YAML).", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(help="Changes to the config: a.b=c ...", show_default=False)]


def train(
    config: Config,
    overrides: Overrides = None,
    run: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/NAME.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run in that folder first.")] = False,
) -> None:
    """Train, keep the best weights by validation mean IoU, and score them on the test split.

    The same command goes on with an interrupted run.
    """
    from segkit.build import load_experiment

    experiment, _ = load_experiment(config, overrides or [])
    train_and_print(experiment, run or Path("runs") / experiment.name, overwrite)


def train_and_print(experiment: "Experiment", path: Path, overwrite: bool) -> None:
    """Trains in a run folder, or says that it is finished, and prints the test scores."""
    from segkit.run import check_folder, train_run
    from segkit.tracking.console import print_scores
    from segkit.tracking.run_dir import RunDir

    folder = RunDir(path)
    if not overwrite:
        check_folder(experiment, folder)
    if folder.finished and not overwrite:
        print(f"{folder.path} is finished; nothing was trained. --overwrite starts it again.")
        result = folder.result()
    else:
        print(f"{experiment.name}: {experiment.model.decoder.name} on {experiment.data.name}, run folder {folder.path}", flush=True)
        try:
            result = train_run(experiment, folder, overwrite=overwrite)
        except KeyboardInterrupt:
            again = "without --overwrite " if overwrite else ""
            print(f"segkit: interrupted; the same command {again}goes on from the last finished epoch.", file=sys.stderr)
            raise typer.Exit(130) from None
    print_scores(f"test, best weights (step {result['best_step']})", result["test"], result["class_names"])


@experiments.command(name="run")
def run_experiment(
    file: Annotated[Path, typer.Argument(help="Experiment file (YAML).", show_default=False)],
    overrides: Overrides = None,
    runs: Annotated[Path, typer.Option(help="Where the run folders go: RUNS/NAME/STAGE.")] = Path("runs"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete its runs first.")] = False,
) -> None:
    """Train the stages of an experiment, each from the best weights of the one before.

    The same command goes on with an interrupted stage and skips finished ones.
    """
    from segkit.experiment import prepare, read_stages

    members = read_stages(file, overrides or [], runs=runs)
    prepare(members, overwrite=overwrite)
    for member in members:
        train_and_print(member.experiment, member.run.path, overwrite=False)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Finished run folders of one dataset.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder for tables, figures and a page (index.html).")] = None,
    images: Annotated[int, typer.Option(min=1, help="Test images in the picture of predictions.")] = 4,
    browser_images: Annotated[int, typer.Option(min=1, help="Test images in the page, at most.")] = 240,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change to the runs' configs, such as data.root=PATH.")] = None,
) -> None:
    """Put finished runs into one table; with --out, also into figures and a page that shows where they differ, image by image.

    No model runs again: the page needs the dataset, and the predictions that training and 'segkit evaluate' store.
    """
    from segkit.compare.collect import read_methods
    from segkit.compare.tables import class_table, score_table
    from segkit.tracking.console import print_table

    methods = read_methods(runs)
    for table in (score_table(methods), class_table(methods)):
        print_table(table.title, table.columns, table.rows)
    if out is None:
        return
    from segkit.report import write_report

    report = write_report(methods, out, overrides or [], pictures=images, browser_images=browser_images)
    print(*report.left_out, *report.files, sep="\n")
    print("Open the last one in a browser: it holds everything, and needs no network.")
