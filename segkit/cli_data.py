"""Commands about datasets. `segkit.cli` joins them to the others."""

from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(help="Datasets: fetch, check, count, look.", no_args_is_help=True)


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
