"""The command line: parses, calls, prints. Everything heavy is imported inside the commands."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from segkit import __version__
from segkit.cli import data as cli_data
from segkit.cli import runs as cli_runs
from segkit.cli.runs import Config, Overrides, SetOverrides
from segkit.errors import InputError

app = typer.Typer(
    name="segkit",
    help="Train and compare semantic-segmentation decoders.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[Path, Argument(help="Run folder that 'segkit train' wrote, or a config together with --weights.")]
Weights = Annotated[Path | None, Option(help="Weight file to use instead of the run's best.")]
Split = Literal["train", "val", "test"]
Competition = Literal["comp5", "comp6"]
Convention = Literal["fcn", "segnet", "voc", "detectron2", "paddleseg", "all"]


app.command()(cli_runs.train)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"segkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, Option("--version", callback=_version, is_eager=True)] = False,
    trust_plugins: Annotated[
        bool, Option("--trust-plugins", help="Run the Python files of run folders that were trained elsewhere.")
    ] = False,
) -> None:
    if trust_plugins:
        os.environ["SEGKIT_TRUST_PLUGINS"] = "1"  # for the processes that this one starts, too


@app.command()
def evaluate(
    run: Run,
    split: Annotated[Split, Option(help="Split to score.")] = "test",
    convention: Annotated[
        Convention,
        Option(help="Also score as another toolkit does, or as all; they differ for classes that no label has."),
    ] = "fcn",
    boundary: Annotated[bool, Option("--boundary", help="Also report BF, boundary IoU and trimaps.")] = False,
    weights: Weights = None,
    overrides: SetOverrides = None,
) -> None:
    """Score the best weights of a run on a split, at the labels' own resolution."""
    from dataclasses import asdict

    from segkit.diagnostics.printed_tables import BoundaryMeasures, convention_rows
    from segkit.metrics.confusion import scores
    from segkit.metrics.conventions import CONVENTIONS, explain
    from segkit.runs.trained import evaluate_trained, open_trained
    from segkit.tracking.console import print_scores, print_table

    trained = open_trained(run, overrides or [], weights=weights)
    names = trained.class_names
    measures = BoundaryMeasures(len(names))
    found = evaluate_trained(trained, split, observe=measures.add if boundary else None)
    name = run if weights is None else f"{run} with {weights}"
    print_scores(f"{name}: {split}, {len(found.ids)} images", asdict(scores(found.matrix)), names)
    if convention != "fcn":
        wanted = CONVENTIONS if convention == "all" else ["fcn", convention]
        print_table("conventions, per cent", *convention_rows(found.matrix, wanted))
        print("\n".join(explain(found.matrix, names)))
    if boundary:
        print_table("boundaries, per cent", ["measure", "value"], measures.rows())


@app.command()
def predict(
    run: Run,
    out: Annotated[Path, Option(help="Folder for NAME.png (class ids), NAME_overlay.png, or results.")],
    images: Annotated[list[Path] | None, Argument(help="PNG or JPEG files.")] = None,
    samples: Annotated[
        int | None, Option(min=2, help="Average so many passes with dropout on, and write NAME_uncertainty.png.")
    ] = None,
    voc_submission: Annotated[
        str | None, Option(metavar="LIST", help="Instead of files, label a list of VOC, such as test, for its server.")
    ] = None,
    competition: Annotated[Competition, Option(help="Of VOC: comp5 if nothing but its own data was used.")] = "comp6",
    weights: Weights = None,
    overrides: SetOverrides = None,
) -> None:
    """Label images with the best weights of a run.

    Files of an earlier call are replaced; nothing is written unless every image can be read.
    """
    from segkit.runs.predict import Predictor, prediction_files

    if voc_submission is not None:
        from segkit.runs.voc_submission import write_submission

        if images or samples:
            raise InputError("--voc-submission: expected neither image files nor --samples beside it. Leave them out.")
        predictor = Predictor(run, overrides or [], weights=weights)
        print(write_submission(predictor, voc_submission, out, competition=competition))
        return
    if not images:
        raise InputError("no image was given; expected PNG or JPEG files, or --voc-submission LIST. Add the files.")
    files = prediction_files(images, out, uncertainty=samples is not None)
    predictor = Predictor(run, overrides or [], weights=weights, samples=samples)
    for image, written in zip(images, files, strict=True):
        predictor.write(image, written)
        print(*written, sep="  ")


@app.command(name="bn-statistics")
def bn_statistics(
    run: Run,
    out: Annotated[Path, Option(help="Weight file to write (.safetensors), for evaluate and predict --weights.")],
    authors: Annotated[bool, Option("--authors", help="Count as SegNet's script does, slips included.")] = False,
    weights: Weights = None,
    overrides: SetOverrides = None,
) -> None:
    """Replace the running averages of batch norm by averages over batches of the training split, as SegNet's authors do
    before testing.

    Every image counts once, in batches of training.batch_size.
    """
    from segkit.runs.trained import compute_statistics, open_trained

    compute_statistics(open_trained(run, overrides or [], weights=weights), out, authors=authors)
    print(out)


@app.command(name="import-caffe")
def import_caffe(
    file: Annotated[Path, Argument(help="Weights of a Caffe net (.caffemodel).")],
    config: Annotated[Path, Option(help="Config of the same net here.")],
    out: Annotated[Path, Option(help="Weight file to write (.safetensors).")],
    backbone_only: Annotated[
        bool,
        Option("--backbone-only", help="The file is a classification net: what it lacks keeps its initial values."),
    ] = False,
    overrides: SetOverrides = None,
) -> None:
    """Turn original Caffe weights into a weight file, for evaluate and predict --weights or model.initialize_from.

    Batch norm of a SegNet snapshot must hold statistics already (compute_bn_statistics.py), as in the released files.
    """
    from segkit.build import load_config
    from segkit.runs.trained import import_weights

    found = import_weights(load_config(config, overrides or [])[0], file, out, backbone_only=backbone_only)
    print(f"{out}: {len(found.tensors)} tensors")
    listed = {"kept initial values": found.kept_initial, "not needed, or equal already": found.dropped}
    for what, names in (listed | {"warnings": found.warnings}).items():
        if names:
            print(f"{what}: {', '.join(names)}")


@app.command()
def show(config: Config, overrides: Overrides = None) -> None:
    """Print the resolved config, and where each value came from."""
    from segkit.build import load_config
    from segkit.diagnostics.printed_tables import shown_values

    run_config, resolved = load_config(config, overrides or [])
    print(*shown_values(run_config, resolved.sources), sep="\n")


@app.command()
def configs(out: Annotated[Path, Argument(help="Folder to write; it must not exist yet.")] = Path("configs")) -> None:
    """Copy the configs that come with segkit into a folder of yours, to train and to change them."""
    import shutil

    from segkit.system.machine import require_writable

    if out.exists():
        raise InputError(f"{out} exists; nothing was written. Choose another folder: segkit configs FOLDER")
    require_writable(out.parent, "FOLDER")
    shutil.copytree(Path(__file__).parents[1] / "configs", out)
    print(f"{out}: try 'segkit train {out}/streets/fcn8s.yaml', which needs no data.")


@app.command(name="class-weights")
def class_weights(config: Config, overrides: Overrides = None) -> None:
    """Count the pixels of each class in the training labels, and print variants of class weights.

    Counts are kept for the next time; 'segkit data stats' shows them, and reads the images too.
    """
    from segkit.build import load_config
    from segkit.diagnostics.stats import weight_table
    from segkit.tracking.console import print_table

    print_table(*weight_table(load_config(config, overrides or [])[0]))


@app.command()
def doctor(
    config: Annotated[Path | None, Argument(help="Config file (YAML) to look at too.")] = None,
    overrides: Overrides = None,
    runs: Annotated[Path, Option(help="Where run folders go.")] = Path("runs"),
    step: Annotated[bool, Option("--step/--no-step", help="Also do one training step.")] = True,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look whether training would work here: versions, devices, memory, folders, and a config's data, weights and first
    step.

    Exit code 0: it would; 2: it would not. Paste what it prints into a report of a problem.
    """
    import json
    import shlex
    from dataclasses import asdict

    from segkit.diagnostics.doctor import advice, examine

    found = []
    for finding in examine(config, overrides or [], runs=runs, step=step):
        found.append(finding)
        if not as_json:
            print(f"{finding.level:<9}{finding.topic:<15}{finding.text}", flush=True)
    works = not any(finding.level == "problem" for finding in found)
    line = advice(found, shlex.join(["segkit", "train", str(config), *(overrides or [])]) if config else None)
    told = {"works": works, "findings": list(map(asdict, found)), "next": line}
    print(json.dumps(told, indent=2) if as_json else line)
    if not works:
        raise typer.Exit(2)


for command in (cli_runs.compare, cli_runs.costs, cli_runs.runs, cli_runs.sync):
    app.command()(command)
app.add_typer(cli_runs.experiments, name="experiment")
app.add_typer(cli_data.data, name="data")


def main() -> None:
    """Run the command line; wrong input ends in one message and exit code 2, an outside failure in exit code 1."""
    try:
        app()
    except Exception as error:
        from segkit.system.failures import explain

        found = explain(error)
        if found is None:
            raise
        sys.stderr.write(f"segkit: {found[1]}\n")  # one write: processes that train together share the terminal
        sys.exit(found[0])
