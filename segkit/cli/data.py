"""Commands about datasets. `segkit.cli.app` joins them to the others."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from segkit.cli.runs import Config, Overrides
from segkit.errors import InputError

data = typer.Typer(help="Datasets: fetch, check, count, look.", no_args_is_help=True)

Split = Literal["train", "val", "test"]


@data.command()
def get(
    name: Annotated[str | None, Argument(help="Dataset; without one, they are listed.")] = None,
    root: Annotated[Path, Option(help="Folder that the dataset's folder goes into.")] = Path("data"),
    archives: Annotated[
        list[Path] | None, Option("--from-archive", help="File that you downloaded in another way. Repeatable.")
    ] = None,
    show: Annotated[bool, Option("--list", help="List the datasets.")] = False,
) -> None:
    """Download a public dataset from its publisher, check it and unpack it: whole or not at all.

    Repeat the command to resume an interrupted download. Mind the publisher's terms.
    """
    from segkit.data.download.fetch import fetch, is_there
    from segkit.data.download.http import Show
    from segkit.data.download.sources import SOURCES, find_source
    from segkit.system.machine import require_writable
    from segkit.system.signals import Interrupted, stoppable
    from segkit.tracking.console import byte_bar
    from segkit.tracking.lock import locked

    if show or name is None:
        for each in SOURCES.values():
            print(f"{each.name:<13}{each.title}\n{'':13}{each.sizes}; terms: {each.terms}\n{'':13}{each.page}")
        print("Fetch one: segkit data get NAME --root DIR")
        return
    source = find_source(name)
    folder = root / source.folder
    if is_there(source, root):
        print(f"{folder} is there already; nothing was downloaded.")
    else:
        print(f"{source.name}: {source.title}. Terms: {source.terms}; see {source.page}", flush=True)
        require_writable(root, "--root")
        try:
            with stoppable(quiet=True), locked(root / source.name):
                fetch(source, root, archives=archives or [], show=Show(lambda line: print(line, flush=True), byte_bar))
        except Interrupted as stop:
            command = shlex.join(["segkit", *sys.argv[1:]])
            print(f"segkit: {stop.name}: stopped; what was downloaded is kept. Resume: {command}", file=sys.stderr)
            raise typer.Exit(stop.exit_code) from None
        print(f"{folder} is complete.")
    print(source.use.format(shlex.quote(str(root))))


@data.command()
def verify(
    config: Config,
    overrides: Overrides = None,
    workers: Annotated[int | None, Option(min=1, help="Files read at a time; default: one a core, 8 at most.")] = None,
    out: Annotated[Path | None, Option(help="Also write all findings into this file (JSON).")] = None,
    as_json: Annotated[bool, Option("--json", help="Print all findings as JSON, and nothing else.")] = False,
) -> None:
    """Decode every image and label of a dataset, and report all that is wrong or suspicious with it.

    Exit code 0: ready to train; 2: problems that must be fixed first.
    """
    from segkit.build import build_classes, build_layout, load_config
    from segkit.data.verify.report import class_rows, report_json, report_lines
    from segkit.data.verify.verify import Report, verify
    from segkit.system.files import write_text
    from segkit.system.machine import cores, require_writable
    from segkit.tracking.console import print_table, progress_bar

    if out is not None:
        if out.exists() and not out.is_file():
            raise InputError(f"--out {out}: expected a file{', this is a folder' * out.is_dir()}. Choose another name.")
        require_writable(out.parent, "--out")
    run_config, _ = load_config(config, overrides or [])
    layout = build_layout(run_config)
    try:
        if layout is None:
            report = Report({}, {}, build_classes(run_config), images=0, seconds=0)
        else:
            total = sum(len(layout.splits[split].pairs) for split in layout.distinct)
            with progress_bar("looking at images and labels", total) as advance:
                report = verify(layout, workers=workers or min(8, cores()), progress=advance)
    except KeyboardInterrupt:
        print("segkit: Ctrl-C: stopped before all was looked at; nothing was written.", file=sys.stderr)
        raise typer.Exit(130) from None
    text = report_json(report)
    if out is not None:
        write_text(out, text + "\n")
    if as_json:
        print(text)
    elif layout is None:
        print(f"{run_config.data.name} has no files that segkit can verify.")
    else:
        lines = report_lines(report, run_config.data.options["root"])
        print("\n".join(lines[:-2]))
        print_table("share of labelled pixels, per cent", *class_rows(report))
        print("\n".join(lines[-2:]))
    if not report.right:
        raise typer.Exit(2)


@data.command()
def init(
    root: Annotated[Path, Argument(help="Folder with images/NAME.png|jpg and labels/NAME.png.")],
    val: Annotated[float, Option(min=0, max=1, help="Share of the images for validation, one at least.")] = 0.15,
    test: Annotated[float, Option(min=0, max=1, help="Share of the images for the test, one at least.")] = 0.15,
    seed: Annotated[int, Option(min=0, help="Of the random split.")] = 0,
) -> None:
    """Make a folder of images and masks ready: write a class file with what the masks hold, and lists of the splits.

    Files that are there are kept. Frames of one video belong in one split: move their lines.
    """
    from segkit.data.datasets.new_folder import start
    from segkit.tracking.console import progress_bar

    with progress_bar("masks", 0) as progress:
        found = start(root, val=val, test=test, seed=seed, progress=progress)
    if found.classes is None:
        print(f"{root / 'classes.yaml'} is kept.")
    else:
        print(f"{found.classes}: {len(found.entries)} entries, named by what the masks hold. Give them their names:")
        print("\n".join(f"  - {entry}" for entry in found.entries[:20]))
    if found.white:
        remedy = "If it is a class, give every class its id: '- white: 255'."
        print(f"255 ({found.white:.1%} of pixels) is taken as void. {remedy}")
    for split, size in found.sizes.items():
        print(f"{root / split}.txt: {size} image{'' if size == 1 else 's'}")
    if not found.sizes:
        print(f"{root / 'train.txt'}, val.txt and test.txt are kept; --val, --test and --seed change nothing.")
    if found.unlabelled:
        print(f"Images without a mask, which are in no list: {found.unlabelled}")
    print(f"Next: segkit data verify configs/own/fcn8s.yaml data.root={shlex.quote(str(root))}")


@data.command()
def stats(
    config: Config,
    overrides: Overrides = None,
    splits: Annotated[Literal["train", "val", "test", "all"], Option("--split", help="Split to read.")] = "all",
    out: Annotated[Path | None, Option(help="Folder for stats.json, stats.png and stats.pdf.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Count a dataset: pixels and images of each class, image sizes, mean and standard deviation of pixel values,
    variants of class weights.

    Every image of the splits is read, once where test is val.
    """
    import json

    from segkit.build import load_config
    from segkit.diagnostics.stats import read_splits, stats_tables, stats_values, write_stats
    from segkit.system.machine import require_writable
    from segkit.tracking.console import print_table

    if out is not None:
        require_writable(out, "--out")
    run_config, _ = load_config(config, overrides or [])
    found = read_splits(run_config, None if splits == "all" else [splits])
    values = stats_values(run_config, found)
    files = [] if out is None else write_stats(values, out)
    if as_json:
        print(json.dumps(values, indent=2))
        return
    for title, columns, rows in stats_tables(run_config, found):
        print_table(title, columns, rows)
    print(*files, sep="\n", end="\n" if files else "")


@data.command()
def browse(
    config: Config,
    out: Annotated[Path, Option(help="File to write: .html, a page that needs no network, or .png.")],
    overrides: Overrides = None,
    samples: Annotated[int, Option(min=1, help="Samples, evenly spread over the split.")] = 12,
    versions: Annotated[int | None, Option(min=0, help="Augmented epochs of each; default: 4, of train.")] = None,
    split: Annotated[Split, Option(help="Split to show.")] = "train",
    classes: Annotated[list[str] | None, Option(help="Only samples that hold this class. Repeatable.")] = None,
) -> None:
    """Show samples as the network sees them in training: after augmentation, labels overlaid, void and padding marked.

    An earlier file is replaced.
    """
    from segkit.build import load_config
    from segkit.diagnostics.browse import browse as write

    run_config, _ = load_config(config, overrides or [])
    ids = write(run_config, out, split=split, samples=samples, versions=versions, classes=classes or [])
    print(f"{out}: {len(ids)} samples")
