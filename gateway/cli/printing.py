"""Printing: one JSON document, or sheets for people; errors go to stderr in the same form.

On a terminal sheets are drawn by rich; elsewhere they are plain columns that no width cuts off.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Sheet:
    """A small table. Without rows `empty` is said instead."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "none"


Page = Sequence[Sheet | str]
"""Sheets and lines, in order."""


def tell(view: object, page: Page, *, as_json: bool) -> None:
    """Print a view: itself as JSON, or as the page that shows it to people."""
    if as_json:
        write_json(view)
        return
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for part in page:
        if isinstance(part, str):
            console.print(Text(part))
        elif not part.rows:
            console.print(Text(part.empty))
        elif console.is_terminal:
            console.print(_drawn(part))
        else:
            console.print(Text(_plain(part)))


def tell_error(
    code: str, message: str, *, as_json: bool, more: Mapping[str, Any] | None = None
) -> None:
    if as_json:
        document = {"error": {"code": code, "message": message, **(more or {})}}
        sys.stderr.write(orjson.dumps(document).decode() + "\n")
    else:
        sys.stderr.write(f"error: {message}\n")


def write_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def _drawn(sheet: Sheet) -> Table:
    table = Table(*sheet.columns, box=box.SIMPLE)
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _plain(sheet: Sheet) -> str:
    lines = (sheet.columns, *sheet.rows)
    widths = [max(len(line[at]) for line in lines) for at in range(len(sheet.columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
