"""Commands that make runs and compare them. `segkit.cli` joins them to the others."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from segkit.schema import Experiment

experiments = typer.Typer(help="Runs that belong together, from one file.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(help="Config file (YAML).", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(help="Changes to the config: a.b=c ...", show_default=False)]
SetOverrides = Annotated[list[str] | None, typer.Option("--set", help="Change to the config: a.b=c. Repeatable.")]


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


def sync(
    run: Annotated[Path, typer.Argument(help="Run folder that 'segkit train' wrote.", show_default=False)],
    mode: Annotated[Literal["online", "offline"], typer.Option(help="offline: into RUN/wandb, for a later 'wandb sync'.")] = "online",
    overrides: SetOverrides = None,
) -> None:
    """Send a run to Weights & Biases: curves, scores, pictures and best weights. Sending it again changes nothing there.

    A run that was tracked during training stays the same W&B run. The id is in RUN/wandb.json.
    """
    from segkit.sync import sync as send

    print(send(run, mode, overrides or []))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Finished run folders of one dataset.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder for the table (CSV, Markdown) and the picture.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Test images in the picture.")] = 4,
) -> None:
    """Put finished runs into one table, and their predictions side by side into one picture."""
    from segkit.compare.collect import read_methods
    from segkit.compare.tables import class_table, score_table, write_tables
    from segkit.predict import write_side_by_side
    from segkit.tracking.console import print_table

    methods = read_methods(runs)
    tables = [("scores", score_table(methods)), ("classes", class_table(methods))]
    for _, table in tables:
        print_table(table.title, table.columns, table.rows)
    if out is not None:
        for path in [*write_tables(tables, out), write_side_by_side(methods, out / "predictions.png", images)]:
            print(path)
