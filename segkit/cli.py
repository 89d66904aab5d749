"""The command line: parses, calls, prints. Everything heavy is imported inside the commands."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segkit import __version__
from segkit.errors import InputError

if TYPE_CHECKING:
    from segkit.schema import Experiment

app = typer.Typer(
    name="segkit",
    help="Train and compare semantic-segmentation decoders.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

experiments = typer.Typer(help="Runs that belong together, from one file.", no_args_is_help=True)
app.add_typer(experiments, name="experiment")

Config = Annotated[Path, typer.Argument(help="Config file (YAML).", show_default=False)]
Run = Annotated[Path, typer.Argument(help="Run folder that 'segkit train' wrote, or a config together with --weights.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(help="Changes to the config: a.b=c ...", show_default=False)]
Weights = Annotated[Path | None, typer.Option(help="Weight file to use instead of the run's best.", show_default=False)]
SetOverrides = Annotated[list[str] | None, typer.Option("--set", help="Change to the config: a.b=c. Repeatable.")]
Split = Literal["train", "val", "test"]
Convention = Literal["fcn", "segnet", "voc", "detectron2", "paddleseg", "all"]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"segkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    pass


@app.command()
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
    _train(experiment, run or Path("runs") / experiment.name, overwrite)


def _train(experiment: "Experiment", path: Path, overwrite: bool) -> None:
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
        _train(member.experiment, member.run.path, overwrite=False)


@app.command()
def evaluate(
    run: Run,
    split: Annotated[Split, typer.Option(help="Split to score.")] = "test",
    convention: Annotated[
        Convention,
        typer.Option(help="Also score as another system does, which differs in classes that the labels lack; all: side by side."),
    ] = "fcn",
    boundary: Annotated[
        bool, typer.Option("--boundary", help="Also measure boundaries: BF (tolerance 0.75% of the diagonal), boundary IoU, trimaps.")
    ] = False,
    weights: Weights = None,
    overrides: SetOverrides = None,
) -> None:
    """Score the best weights of a run on a split, at the labels' own resolution."""
    from dataclasses import asdict

    from segkit.metrics.confusion import scores
    from segkit.metrics.conventions import CONVENTIONS, explain
    from segkit.tables import BoundaryMeasures, convention_rows
    from segkit.tracking.console import print_scores, print_table
    from segkit.trained import evaluate_trained, open_trained

    trained = open_trained(run, overrides or [], weights=weights)
    names = trained.class_names
    measures = BoundaryMeasures(len(names))
    found = evaluate_trained(trained, split, observe=measures.add if boundary else None)
    name = run if weights is None else f"{run} with {weights}"
    print_scores(f"{name}: {split}, {len(found.ids)} images", asdict(scores(found.matrix)), names)
    if convention != "fcn":
        print_table("conventions, per cent", *convention_rows(found.matrix, CONVENTIONS if convention == "all" else ["fcn", convention]))
        print("\n".join(explain(found.matrix, names)))
    if boundary:
        print_table("boundaries, per cent", ["measure", "value"], measures.rows())


@app.command()
def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for NAME.png (class ids with palette) and NAME_overlay.png.")],
    samples: Annotated[
        int | None, typer.Option(min=2, help="Average so many passes with dropout on, and write NAME_uncertainty.png.", show_default=False)
    ] = None,
    weights: Weights = None,
    overrides: SetOverrides = None,
) -> None:
    """Label images with the best weights of a run."""
    from segkit.predict import Predictor, prediction_files

    files = prediction_files(images, out, uncertainty=samples is not None)
    predictor = Predictor(run, overrides or [], weights=weights, samples=samples)
    for image, pair in zip(images, files, strict=True):
        predictor.write(image, pair)
        print(*pair, sep="  ")


@app.command(name="bn-statistics")
def bn_statistics(
    run: Run,
    out: Annotated[Path, typer.Option(help="Weight file to write (.safetensors), for evaluate and predict --weights.")],
    authors: Annotated[bool, typer.Option("--authors", help="Count as SegNet's released script does, slips included.")] = False,
    weights: Weights = None,
    overrides: SetOverrides = None,
) -> None:
    """Replace the running averages of batch norm by averages over batches of the training split, as SegNet's authors do before testing.

    Every image counts once, in batches of training.batch_size.
    """
    from segkit.trained import compute_statistics, open_trained

    compute_statistics(open_trained(run, overrides or [], weights=weights), out, authors=authors)
    print(out)


@app.command(name="import-caffe")
def import_caffe(
    file: Annotated[Path, typer.Argument(help="Weights of a Caffe net (.caffemodel).", show_default=False)],
    config: Annotated[Path, typer.Option(help="Config of the same net here.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Weight file to write (.safetensors).", show_default=False)],
    backbone_only: Annotated[
        bool, typer.Option("--backbone-only", help="The file is a classification net: what it lacks of the decoder keeps its start.")
    ] = False,
    overrides: SetOverrides = None,
) -> None:
    """Turn original Caffe weights into a weight file, for evaluate and predict --weights or model.initialize_from.

    Batch norm of a SegNet snapshot must hold statistics already (compute_bn_statistics.py), as in the released files.
    """
    from segkit.build import load_experiment
    from segkit.trained import import_weights

    found = import_weights(load_experiment(config, overrides or [])[0], file, out, backbone_only=backbone_only)
    print(f"{out}: {len(found.tensors)} tensors")
    for title, names in (
        ("kept their start", found.kept_initial),
        ("not needed, or equal already", found.dropped),
        ("look out", found.warnings),
    ):
        if names:
            print(f"{title}: {', '.join(names)}")


@app.command()
def show(config: Config, overrides: Overrides = None) -> None:
    """Print the resolved config, and where each value came from."""
    from segkit.build import load_experiment
    from segkit.tables import shown_values

    experiment, resolved = load_experiment(config, overrides or [])
    for line in shown_values(experiment, resolved.sources):
        print(line)


@app.command(name="class-weights")
def class_weights(config: Config, overrides: Overrides = None) -> None:
    """Count the pixels of each class in the training labels and print variants of class weights."""
    from segkit.build import load_experiment
    from segkit.tables import class_weight_rows
    from segkit.tracking.console import print_table

    experiment, _ = load_experiment(config, overrides or [])
    columns, rows = class_weight_rows(experiment)
    print_table("training labels", columns, rows)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Finished run folders of one dataset.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder for the table (CSV, Markdown) and the picture.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Test images in the picture.")] = 4,
) -> None:
    """Put finished runs into one table, and their predictions side by side into one picture."""
    from segkit.compare.collect import collect, write_tables
    from segkit.predict import write_side_by_side
    from segkit.tracking.console import print_table

    tables = collect(runs)
    for table in tables:
        print_table(table.title, table.columns, table.rows)
    if out is not None:
        for path in [*write_tables(tables, out), write_side_by_side(runs, out / "predictions.png", images)]:
            print(path)


def main() -> None:
    """Runs the command line; bad input ends in one message and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"segkit: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(
            f"segkit: {error.filename or 'a file'}: {error.strerror or error}. Check the path, its rights and the free space.",
            file=sys.stderr,
        )
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search("out of memory|can't allocate memory", str(error)):
            raise
        print("segkit: out of memory. Lower training.batch_size, or raise training.accumulation.", file=sys.stderr)
        sys.exit(1)
    except FloatingPointError as error:
        print(f"segkit: training stopped: {error}. Lower optimizer.lr, or set training.gradient_clip.", file=sys.stderr)
        sys.exit(1)
