"""Tables of numbers, as Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NONE = "–"
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # with which spreadsheets have formulas begin
TAG = re.compile("<(?=[A-Za-z/!?])")  # the begin of a tag of HTML, in Markdown too


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number that is shown rounded, with the interval that it was measured to lie in, if there is one."""

    value: float | None
    digits: int
    low: float | None = None
    high: float | None = None
    why_alone: str = ""  # said where an interval would stand
    sign: bool = False  # shown also when it is positive

    def __str__(self) -> str:
        mark = f"{'+' if self.sign else ''}.{self.digits}f"
        if self.value is None:
            return NONE
        if self.low is not None and self.high is not None:
            return f"{self.value:{mark}} [{self.low:{mark}}, {self.high:{mark}}]"
        return f"{self.value:{mark}}" + (f" [{NONE}; {self.why_alone}]" if self.why_alone else "")


Cell = str | Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a report; every row has as many cells as there are columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def markdown(tables: Sequence[Table]) -> str:
    """The tables as Markdown."""
    parts = ["# StreamChat: report\n"]
    for table in tables:
        parts.append(f"## {_text(table.title)}\n")
        lines = [table.columns, ["---"] * len(table.columns), *table.rows]
        parts.append("\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n")
        if table.note:
            parts.append(f"{_text(table.note)}\n")
    return "\n".join(parts)


def _cell(cell: Cell) -> str:
    return _text(str(cell)).replace("|", "\\|")


def _text(text: str) -> str:
    """One line of Markdown in which no tag of HTML begins."""
    return TAG.sub("&lt;", text.replace("\n", " "))


def as_csv(tables: Sequence[Table]) -> str:
    """Every cell of every table on a line; numbers unrounded, with the ends of their intervals."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["table", "row", "column", "value", "low", "high"])
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns[1:], row[1:], strict=True):
                values = (cell.value, cell.low, cell.high) if isinstance(cell, Number) else (cell, None, None)
                writer.writerow(map(_plain, [table.title, row[0], column, *values]))
    return file.getvalue()


def _plain(value: Any) -> Any:
    """A value of a CSV file that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) and value not in FORMULAS else value


def page(tables: Sequence[Table], pictures: Sequence[str]) -> str:
    """A page that needs nothing else: plots as SVG, and tables."""
    return PAGE.format(body=inner_html(tables, pictures))


def inner_html(tables: Sequence[Table], pictures: Sequence[str]) -> str:
    """The same as a part of a page."""
    figures = "".join(f"<figure>{picture}</figure>" for picture in pictures)
    return figures + "".join(map(table_html, tables))


def table_html(table: Table) -> str:
    """A table with its title and note."""
    head = "".join(f"<th scope='col'>{html.escape(column)}</th>" for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    return (
        f"<section><h2>{html.escape(table.title)}</h2><div class='wide'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{note}</section>"
    )


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>StreamChat: report</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1e293b; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem; }} p {{ color: #64748b; font-size: .85rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }}
th, td {{ text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #e2e8f0; white-space: nowrap; }}
figure {{ margin: 1rem 0; }} figure svg {{ max-width: 100%; height: auto; }}
</style></head><body><h1>StreamChat: report</h1>{body}</body></html>
"""
