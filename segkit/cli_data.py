"""Commands about datasets. `segkit.cli` joins them to the others."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from segkit.data.sources import Source

data = typer.Typer(help="Datasets: fetch, check, count, look.", no_args_is_help=True)


@data.command()
def get(
    name: Annotated[str | None, typer.Argument(help="Dataset; without one, they are listed.", show_default=False)] = None,
    root: Annotated[Path, typer.Option(help="Folder that the dataset's folder goes into.")] = Path("data"),
    archives: Annotated[
        list[Path] | None, typer.Option("--from-archive", help="File that was fetched otherwise. Repeatable.", show_default=False)
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the datasets.")] = False,
) -> None:
    """Fetch a public dataset from its publisher: checked, unpacked, and there whole or not at all.

    The same command goes on with what was cut off. Mind the publisher's terms.
    """
    from segkit.data.fetch import is_there
    from segkit.data.sources import find_source

    if show or name is None:
        _list_sources()
        return
    source = find_source(name)
    folder = root / source.folder
    if is_there(source, root):
        print(f"{folder} is there already; nothing was fetched.")
    else:
        print(f"{source.name}: {source.title}. Terms: {source.terms}; see {source.page}", flush=True)
        _fetch(source, root, archives or [])
        print(f"{folder} is complete.")
    print(source.use.format(shlex.quote(str(root))))


def _list_sources() -> None:
    from segkit.data.sources import SOURCES

    for each in SOURCES.values():
        print(f"{each.name:<13}{each.title}\n{'':13}{each.sizes}; terms: {each.terms}\n{'':13}{each.page}")
    print("Fetch one: segkit data get NAME --root DIR")


def _fetch(source: "Source", root: Path, archives: list[Path]) -> None:
    from segkit.data.download import Show
    from segkit.data.fetch import fetch
    from segkit.interruption import Interrupted, stoppable
    from segkit.machine import require_writable
    from segkit.tracking.console import byte_bar
    from segkit.tracking.lock import locked

    require_writable(root, "--root")
    try:
        with stoppable(quiet=True), locked(root / source.name):
            fetch(source, root, archives=archives, show=Show(lambda line: print(line, flush=True), byte_bar))
    except Interrupted as stop:
        command = shlex.join(["segkit", *sys.argv[1:]])
        print(f"segkit: {stop.name}: stopped; what has come is kept, and this goes on: {command}", file=sys.stderr)
        raise typer.Exit(stop.exit_code) from None
