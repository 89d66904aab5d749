"""index.html of a report: one file that needs no network."""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from segkit.compare.figures import Drawing
from segkit.compare.tables import Table


def page(
    title: str,
    *,
    subtitle: str,
    tables: Mapping[str, Table],
    figures: Sequence[tuple[Drawing, bytes]],
    verdicts: Sequence[str],
    notes: Sequence[str],
    browser: dict[str, Any] | None,
) -> str:
    """The text of index.html. Every argument is text, never HTML; notes stand at the end.

    Args:
        figures: each with the bytes of its PNG file.
        browser: the result of `browser_data`; None: no paired browser.
    """
    folder = files("segkit.compare") / "browser"
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")}
    return Template(texts["page.html"]).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        style=texts["page.css"],
        script=texts["page.js"],
        verdicts=_list("Verdicts", verdicts),
        tables="\n".join(_table(name, table) for name, table in tables.items()),
        figures="\n".join(_figure(drawing, content) for drawing, content in figures),
        hidden="" if browser else "hidden",
        notes=_list("Notes", notes),
        data=_json(browser),
    )


def _json(value: object) -> str:
    """JSON that cannot close the script element that contains it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<section id="{title.lower()}"><h2>{title}</h2><ul>{items}</ul></section>'


def _table(name: str, table: Table) -> str:
    head = "".join(f'<th scope="col">{_cell(cell)}</th>' for cell in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{_cell(row[0])}</th>' + "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in table.rows
    )
    caption = f"<caption>{escape(table.title)}</caption>"
    return (
        f'<div class="scroll" id="table-{escape(name)}" tabindex="0"><table>{caption}'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    return escape(text).replace("+-", "±")


def _figure(drawing: Drawing, content: bytes) -> str:
    source, caption = base64.b64encode(content).decode(), escape(drawing.caption)
    return (
        f'<figure id="figure-{escape(drawing.name)}"><div class="scroll" tabindex="0"><img alt="{caption}" '
        f'src="data:image/png;base64,{source}"></div><figcaption>{caption}</figcaption></figure>'
    )
