"""Commands that make runs and compare them. `segkit.cli.app` joins them to the others."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from segkit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segkit.config.schema import RunConfig
    from segkit.engine.distributed import Processes
    from segkit.experiments.experiment import Member

experiments = typer.Typer(help="Train the runs of an experiment, described in one file.", no_args_is_help=True)

Config = Annotated[Path, Argument(help="Config file (YAML).")]
Overrides = Annotated[list[str] | None, Argument(help="Changes to the config: a.b=c ...")]
SetOverrides = Annotated[list[str] | None, Option("--set", help="Change to the config: a.b=c. Repeatable.")]


def train(
    config: Config,
    overrides: Overrides = None,
    run: Annotated[Path | None, Option(help="Run folder. Default: runs/NAME.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Delete the run in that folder first.")] = False,
) -> None:
    """Train, keep the best weights by validation mean IoU, and score them on the test split.

    Repeat the command to resume an interrupted run.
    """
    from segkit.build import load_config
    from segkit.engine.distributed import joined

    with joined() as processes:
        run_config = processes.lead(lambda: load_config(config, overrides or [])[0])
        train_and_print(run_config, run or Path("runs") / run_config.name, overwrite, processes)


def train_and_print(run_config: "RunConfig", path: Path, overwrite: bool, processes: "Processes | None" = None) -> None:
    """Train in a run folder, or say that it is finished, and print the test scores."""
    from segkit.engine.distributed import ALONE
    from segkit.runs.train import train_run
    from segkit.system.machine import require_writable
    from segkit.system.signals import Interrupted
    from segkit.tracking.console import print_scores
    from segkit.tracking.run_dir import RunDir

    folder, processes = RunDir(path), processes or ALONE
    finished = folder.finished and not overwrite
    if not finished:
        processes.lead(lambda: require_writable(folder.path.parent, "--run"))
        title = f"{run_config.name}: {run_config.model.title} on {run_config.data.name}"
        print(f"{title}, run folder {folder.path}", flush=True)
    try:
        result = train_run(run_config, folder, overwrite=overwrite, processes=processes)
    except Interrupted as stop:
        words = [word for word in sys.argv[1:] if word != "--overwrite" or not folder.was_started]
        if not processes.rank:
            resumes = f"this resumes after step {folder.saved_step or 0}: {processes.command(words)}"
            print(f"segkit: {stop.name}: stopped; {resumes}", file=sys.stderr)
        raise typer.Exit(stop.exit_code) from None
    if finished:
        print(f"{folder.path} is finished; nothing was trained. --overwrite starts it again.")
    print_scores(f"test, best weights (step {result['best_step']})", result["test"], result["class_names"])


Runs = Annotated[Path, Option(help="Where run folders go: RUNS/NAME/MEMBER.")]
ExperimentFile = Annotated[Path, Argument(help="Experiment file (YAML).")]


@experiments.command(name="run")
def run_experiment(
    file: ExperimentFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    only: Annotated[list[str] | None, Option("--only", help="AXIS=VALUE[,VALUE]: only these. Repeatable.")] = None,
    show: Annotated[bool, Option("--list", help="List the members and what they have in common.")] = False,
    jobs: Annotated[int, Option(min=1, help="Parallel processes; they share cores and GPUs.")] = 1,
    launcher: Annotated[
        Literal["processes", "slurm"],
        Option(help="Train on this machine, or submit one Slurm job per chain of stages."),
    ] = "processes",
    slurm: Annotated[list[str] | None, Option("--slurm", help="KEY=VALUE for submitit. Repeatable.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Delete the members' runs first.")] = False,
) -> None:
    """Train the members of an experiment: resume interrupted ones, skip finished ones.

    If a member fails, the others continue; it is named at the end, and the exit code is 1.
    """
    from segkit.experiments.experiment import prepare, read_experiment, select
    from segkit.experiments.launch import run_members, submit_members
    from segkit.system.signals import Interrupted

    if slurm and launcher != "slurm":
        raise InputError("--slurm is for --launcher slurm. Add it, or leave --slurm out.")
    changes = overrides or []
    members = select(read_experiment(file, changes, runs=runs), only or [])
    if show:
        _list_members(members)
        return
    prepare(members, overwrite=overwrite)
    _print_treatment(members)
    if launcher == "slurm":
        submitted = submit_members(members, file, changes, runs, slurm or [])
        for job in submitted:
            print(f"job {job.job_id}: {job.paths.stdout}")
        if not submitted:
            print("All members are finished; no job was submitted.")
        return
    try:
        failures = run_members(members, file, changes, runs, jobs, lambda line: print(line, flush=True))
    except Interrupted as stop:
        message = "interrupted, with all members; repeat the command without --overwrite to resume."
        print(f"segkit: {message}", file=sys.stderr)
        raise typer.Exit(stop.exit_code) from None
    finished = sum(member.run.finished for member in members)
    print("\n".join([*failures, f"{finished} of {len(members)} members are finished."]))
    if finished < len(members):
        raise typer.Exit(1)
    where = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
    print(f"Compare them: segkit compare {shlex.quote(str(file))}{where} --out report/")


def _list_members(members: "Sequence[Member]") -> None:
    """Print the progress of the members, those trained with another config, and what they have in common."""
    from segkit.runs.train import check_folder

    print_runs([each.run.path for each in members])
    for each in members:
        try:
            check_folder(each.config, each.run)
        except InputError as error:
            print(error)
    try:
        _print_treatment(members)
    except InputError as error:
        print(f"Cannot check whether the members are treated alike: {error}")


def _print_treatment(members: "Sequence[Member]") -> None:
    from segkit.experiments.treatment import check_treatment
    from segkit.tracking.console import print_table

    treatment = check_treatment(members)
    if treatment.settings:
        print_table("what differs", ["key", *treatment.methods], treatment.rows())
    if lines := treatment.lines():
        print("\n".join(lines), flush=True)


@experiments.command()
def member(
    file: ExperimentFile,
    choices: Annotated[list[str] | None, Argument(help="AXIS=VALUE for each axis.")] = None,
    runs: Runs = Path("runs"),
    overrides: SetOverrides = None,
) -> None:
    """Train one member of an experiment in this process, stage by stage. 'run', sweeps and cluster jobs call this."""
    from segkit.experiments.experiment import chains, prepare, read_experiment, select

    members = select(read_experiment(file, overrides or [], runs=runs), choices or [])
    found = chains(members)
    if len(found) > 1:
        asked = " and ".join(choices or ["here"])
        raise InputError(f"{len(members)} members are {asked}; expected one. Give AXIS=VALUE for each axis.")
    prepare(members)
    for each in members:
        train_and_print(each.config, each.run.path, overwrite=False)


@experiments.command()
def sweep(file: ExperimentFile, overrides: Overrides = None, runs: Runs = Path("runs")) -> None:
    """Print a Weights & Biases sweep over the axes: save it as sweep.yaml, then 'wandb sweep sweep.yaml' and 'wandb
    agent ID'."""
    from segkit.config.yaml import dump
    from segkit.experiments.experiment import read_experiment
    from segkit.experiments.launch import sweep_values

    changes = ["tracking.wandb=online", *(overrides or [])]
    print(dump(sweep_values(read_experiment(file, changes, runs=runs), file, changes, runs)), end="")


def runs(
    folders: Annotated[list[Path] | None, Argument(help="Folders with run folders below them; default: runs.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """List run folders with their progress, their scores, and when they were last written."""
    import json
    from dataclasses import asdict

    from segkit.compare.listing import find_runs, run_state

    found = find_runs(folders or [Path("runs")])
    if as_json:
        print(json.dumps([asdict(run_state(path)) for path in found], indent=2))
    else:
        print_runs(found)


def print_runs(paths: "Sequence[Path]") -> None:
    """Print a table of run folders; one that does not exist yet is new."""
    from segkit.compare.listing import COLUMNS, run_state
    from segkit.tracking.console import print_table
    from segkit.tracking.run_dir import RunDir

    empty = [""] * (len(COLUMNS) - 4)
    rows = [run_state(path).row() if RunDir(path).exists else (str(path), "", "", "new", *empty) for path in paths]
    print_table(f"{len(paths)} runs, scores in per cent", COLUMNS, rows)


def sync(
    run: Annotated[Path, Argument(help="Run folder that 'segkit train' wrote.")],
    mode: Annotated[Literal["online", "offline"], Option(help="offline: into RUN/wandb.")] = "online",
    overrides: SetOverrides = None,
) -> None:
    """Send a run to Weights & Biases: curves, scores, pictures and best weights. Sending it again changes nothing
    there.

    A run that was tracked during training stays the same W&B run. The id is in RUN/wandb.json.
    """
    from segkit.runs.wandb_sync import sync as send

    print(send(run, mode, overrides or []))


def compare(
    paths: Annotated[list[Path], Argument(help="Run folders, folders of run folders, or an experiment file.")],
    out: Annotated[Path | None, Option(help="Folder to write tables, figures and a page (index.html) to.")] = None,
    images: Annotated[int, Option(min=1, help="Test images in the picture of predictions.")] = 4,
    browser_images: Annotated[int, Option(min=1, help="Most test images in the page.")] = 240,
    block: Annotated[int, Option(min=1, help="Consecutive test images drawn together (for video).")] = 1,
    measure: Annotated[bool, Option("--measure", help="Also measure time and memory on this machine.")] = False,
    runs: Annotated[Path, Option(help="Where the runs of an experiment file are.")] = Path("runs"),
    overrides: SetOverrides = None,
) -> None:
    """Compare finished runs: scores, costs, and which differences are significant; with --out also figures, a page and
    LaTeX tables.

    Runs that differ only in their seed are repetitions of one method. No model is scored again: the page shows the
    predictions that training and 'segkit evaluate' stored, and needs the dataset.
    """
    from segkit.experiments.comparison import finished_runs, open_comparison
    from segkit.system.machine import require_writable
    from segkit.tracking.console import print_table

    changes = overrides or []
    if out is not None:
        require_writable(out, "--out")
    finished, others = finished_runs(paths, changes, runs=runs)
    comparison = open_comparison(finished, changes, block=block, measure=measure)
    for table in comparison.tables().values():
        print_table(table.title, table.columns, table.rows)
    print(*comparison.verdicts(), *comparison.notes, *(f"Not finished, left out: {path}" for path in others), sep="\n")
    if out is None:
        return
    report = comparison.write(out, changes, pictures=images, browser_images=browser_images)
    print(*report.left_out, *report.files, sep="\n")
    print("Open the last one in a browser: it contains everything and works offline.")


def costs(
    paths: Annotated[list[Path], Argument(help="Config files (YAML) or run folders.")],
    measure: Annotated[bool, Option("--measure", help="Also measure time and memory on this machine.")] = False,
    size: Annotated[
        str | None, Option(metavar="HxW", help="Input of the net, in pixels. Default: that of the first test image.")
    ] = None,
    rounds: Annotated[int, Option(min=1, help="With --measure: number of measurements of each time.")] = 10,
    batch_size: Annotated[
        int | None, Option(min=1, help="With --measure: images of a training step. Default: the config's.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON, in bytes and seconds, and nothing else.")] = False,
    overrides: SetOverrides = None,
) -> None:
    """Count the costs of models: parameters, multiplications, memory kept for the decoder, weight file.

    --measure adds time and memory on this machine. With --size no dataset is needed.
    """
    import json
    from dataclasses import asdict

    from segkit.compare.ledger import cost_tables, legend
    from segkit.experiments.costs import costs_of, read_size
    from segkit.tracking.console import print_table

    wanted = None if size is None else read_size(size)
    found = costs_of(
        paths, measure=measure, size=wanted, rounds=rounds, batch_size=batch_size, overrides=overrides or []
    )
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    for table in cost_tables(found):
        print_table(table.title, table.columns, table.rows)
    print("\n".join(legend(measured=measure)))
