"""Commands about datasets. `segkit.cli` joins them to the others."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from segkit.cli_runs import Config, Overrides

data = typer.Typer(help="Datasets: fetch, check, count, look.", no_args_is_help=True)


@data.command()
def verify(
    config: Config,
    overrides: Overrides = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Files that are read at a time. Default: one a core, at most 8.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write all findings into this file (JSON).", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON, and nothing else.")] = False,
) -> None:
    """Decode every image and label of a dataset, and report all that is wrong or suspicious with it.

    Exit code 0: training would be right; 2: it would be refused or wrong.
    """
    from segkit.build import build_layout, load_experiment
    from segkit.data.verify import verify
    from segkit.data.verify_lists import distinct
    from segkit.data.verify_report import class_rows, report_json, report_lines
    from segkit.files import write_text
    from segkit.machine import cores, require_writable
    from segkit.tracking.console import print_table, progress_bar

    experiment, _ = load_experiment(config, overrides or [])
    layout = build_layout(experiment)
    if layout is None:
        print(f"{experiment.data.name} is drawn, not read: there are no files to verify.")
        return
    if out is not None:
        require_writable(out.parent, "--out")
    try:
        with progress_bar("looking at images and labels", sum(len(layout.splits[split].pairs) for split in distinct(layout))) as advance:
            report = verify(layout, workers=workers or min(8, cores()), progress=advance)
    except KeyboardInterrupt:
        print("segkit: Ctrl-C: stopped before all was looked at; nothing was written.", file=sys.stderr)
        raise typer.Exit(130) from None
    text = report_json(report)
    if out is not None:
        write_text(out, text + "\n")
    if as_json:
        print(text)
    else:
        lines = report_lines(report, experiment.data.options["root"])
        print("\n".join(lines[:-2]))
        print_table("share of labelled pixels, per cent", *class_rows(report))
        print("\n".join(lines[-2:]))
    if not report.right:
        raise typer.Exit(2)


@data.command()
def init(
    root: Annotated[Path, typer.Argument(help="Folder with images/NAME.png|jpg and labels/NAME.png.", show_default=False)],
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of the images for validation.")] = 0.15,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of the images for the test.")] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
) -> None:
    """Make a folder of images and masks ready: write a class file with what the masks hold, and lists of the splits.

    Files that are there are kept. Frames of one video belong in one split: move their lines.
    """
    from segkit.data.labelled_folder import start
    from segkit.tracking.console import progress_bar

    with progress_bar("masks", 0) as progress:
        found = start(root, val=val, test=test, seed=seed, progress=progress)
    if found.classes is not None:
        print(f"{found.classes}: {len(found.entries)} classes, named by what the masks hold. Give them their names:")
        print("\n".join(f"  - {entry}" for entry in found.entries[:20]))
    for split, size in found.sizes.items():
        print(f"{root / split}.txt: {size} images")
    if found.unlabelled:
        print(f"{found.unlabelled} images have no mask; they are in no list.")
    print(f"Next: segkit data verify configs/own/fcn8s.yaml data.root={root}")
