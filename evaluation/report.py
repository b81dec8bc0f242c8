"""One or more runs as a report: Markdown, a self-contained HTML page with plots, and CSV, all from the same tables."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import metrics, plots
from evaluation.judging import grades_of
from evaluation.metrics import Figure, Graded
from evaluation.records import Row, RunFolder
from streamchat.errors import InputError

NONE = "–"
PUBLISHED = (  # of the paper (table 1): LongVA-7B on two 80 GB GPUs, judged by LLaMA-3-8B-Instruct
    ("published: slow", "3.48", "64.7", "1.76", "15", "0.90"),
    ("published: base", "3.42", "63.8", "1.79", "20", "0.89"),
    ("published: fast", "3.28", "61.7", "1.81", "32", "0.85"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a report; every row has as many cells as there are columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A run with all that was read of it."""

    label: str
    described: dict[str, Any]
    rows: list[Row]
    grades: dict[str, dict[str, Row]]

    @property
    def identity(self) -> dict[str, Any]:
        """What was run."""
        return dict(self.described["identity"])

    def graded(self, judge: str) -> list[Graded]:
        """Its answers with the grades of a judge."""
        return metrics.join(self.rows, self.grades.get(judge, {}))


def write(folders: Sequence[RunFolder], out: Path) -> list[Path]:
    """Write report.md, report.html and report.csv of some runs, and return their paths.

    Raises InputError if a folder is no run, or has no answers yet.
    """
    runs = load(folders)
    tables = tables_of(runs)
    pictures = plots.of(runs, judges_of(runs))
    out.mkdir(parents=True, exist_ok=True)
    whole = {
        "report.md": markdown(tables),
        "report.html": page(tables, pictures),
        "report.csv": as_csv(tables),
    }
    for name, text in whole.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in whole]


def load(folders: Sequence[RunFolder]) -> list[Loaded]:
    """Read runs; each is called by its method and model, and by its folder too where that is not enough."""
    loaded = []
    for folder in folders:
        described, rows = folder.described(), folder.rows()
        if not rows:
            raise InputError(f"{folder.path} has no answers yet: run it first")
        identity = described["identity"]
        label = f"{identity['method']}, {Path(identity['model']).name}, {identity['preset']}"
        loaded.append((folder, label, described, rows))
    labels = [label for _, label, _, _ in loaded]
    return [
        Loaded(
            label if labels.count(label) == 1 else f"{label} ({folder.path.name})", described, rows, grades_of(folder)
        )
        for folder, label, described, rows in loaded
    ]


def judges_of(runs: Sequence[Loaded]) -> list[str]:
    """Every judge that graded any of the runs."""
    return sorted({judge for run in runs for judge in run.grades})


def tables_of(runs: Sequence[Loaded]) -> list[Table]:
    """All tables of a report."""
    tables = []
    for judge in judges_of(runs):
        tables.append(_scores(runs, judge))
        for title, key in (
            ("type", lambda row: row["kind"]),
            ("domain", lambda row: row["domain"]),
            ("length of the video", metrics.length_of),
        ):
            tables.append(_by(runs, judge, title, key))
        tables += [table for table in [_differences(runs, judge)] if table.rows]
    return [*tables, _delays(runs), _runs(runs), *([_failures(runs)] if _failed(runs) else [])]


def _runs(runs: Sequence[Loaded]) -> Table:
    rows = []
    for run in runs:
        identity, data = run.identity, run.identity["data"]
        rows.append(
            [
                run.label,
                identity["benchmark"],
                identity["model_name"],
                run.described["hash"],
                str(data.get("revision") or data.get("questions_sha256", NONE))[:12],
                f"{len(run.rows)} of {run.described['questions']}",
                str(sum(row["error"] is not None for row in run.rows)),
                str(sum(row["past_the_end"] for row in run.rows)),
                f"{identity['options']['max_pictures']}, {identity['options']['max_side']} px",
                str(identity["options"]["seed"]),
            ]
        )
    columns = ["run", "benchmark", "model", "configuration", "data", "answered", "failed", "past the end"]
    return Table(
        title="Runs",
        columns=[*columns, "pictures at most", "seed"],
        rows=rows,
        note="Past the end: questions timed after their video's end, which are asked there.",
    )


def _scores(runs: Sequence[Loaded], judge: str) -> Table:
    rows = []
    for run in runs:
        whole = metrics.scores(run.graded(judge))
        fewer = metrics.scores(metrics.without_repeats(run.graded(judge)))
        rows.append(
            [
                run.label,
                _text(whole.score, 2),
                _text(whole.accuracy, 1),
                _text(whole.coherence, 2),
                f"{whole.graded} + {whole.ungraded}",
                _text(fewer.score, 2),
                _text(fewer.accuracy, 1),
                str(fewer.questions),
            ]
        )
    comparable = all(row["comparable"] for run in runs for row in run.grades.get(judge, {}).values())
    if comparable and any(run.identity["benchmark"] == "streambench" for run in runs):
        rows += [[name, score, accuracy, coherence, *[NONE] * 4] for name, score, accuracy, coherence, *_ in PUBLISHED]
    warning = "" if comparable else " This judge is a stand-in: its figures cannot be compared with published ones."
    return Table(
        title=f"Scores, judged by {judge}",
        columns=["run", "Sco.", "Acc. %", "Coh.", "graded + ungraded", "Sco.*", "Acc.* %", "questions*"],
        rows=rows,
        note=f"In brackets: 95% intervals, from a bootstrap over videos. * without repeated questions.{warning}",
    )


def _by(runs: Sequence[Loaded], judge: str, title: str, key: Callable[[Row], str]) -> Table:
    """Accuracy by something of the questions."""
    names = sorted({key(row) for run in runs for row in run.rows}, key=plots.natural)
    rows = []
    for run in runs:
        found = metrics.groups(run.graded(judge), key)
        rows.append([run.label, *(_text(metrics.scores(found.get(name, [])).accuracy, 1) for name in names)])
    counts = metrics.groups(runs[0].graded(judge), key)
    columns = [f"{name} ({len(counts.get(name, []))})" for name in names]
    return Table(title=f"Acc. % by {title}, judged by {judge}", columns=["run", *columns], rows=rows)


def _differences(runs: Sequence[Loaded], judge: str) -> Table:
    """Every run of the product against every baseline on the same data with the same model."""
    rows = []
    for run in runs:
        for other in runs:
            same = all(run.identity[name] == other.identity[name] for name in ("benchmark", "data", "model"))
            if same and run.identity["method"] == "memory" and other.identity["method"] != "memory":
                found = metrics.difference(run.graded(judge), other.graded(judge))
                rows.append([run.label, other.label, _text(found, 1, sign=True)])
    return Table(
        title=f"Memory against the baselines, judged by {judge}",
        columns=["run", "baseline", "Acc., points"],
        rows=rows,
        note="Paired: over the questions that both have graded.",
    )


def _delays(runs: Sequence[Loaded]) -> Table:
    rows = []
    for run in runs:
        speed = metrics.speed(run.rows)
        values = (speed.rpd_median, speed.rpd_p95, speed.first_token_median, speed.first_token_p95)
        cells = [number(value, 3) for value in values]
        rows.append([run.label, *cells, number(speed.fps, 1), number(speed.pictures_median, 0)])
    if any(run.identity["benchmark"] == "streambench" for run in runs):
        rows += [[name, rpd, NONE, NONE, NONE, fps, NONE] for name, *_, fps, rpd in PUBLISHED]
    return Table(
        title="Delay, idle, and speed of taking in",
        columns=["run", "RPD s", "RPD p95 s", "first token s", "first token p95 s", "FPS", "pictures"],
        rows=rows,
        note="Medians unless p95. Nothing was taken in while an answer was made; under load delays are longer.",
    )


def _failed(runs: Sequence[Loaded]) -> list[list[str]]:
    return [[run.label, row["id"], row["video"], row["error"]] for run in runs for row in run.rows if row["error"]]


def _failures(runs: Sequence[Loaded]) -> Table:
    return Table(title="Failed questions", columns=["run", "question", "video", "error"], rows=_failed(runs))


def _text(figure: Figure, digits: int, *, sign: bool = False) -> str:
    if figure.value is None:
        return NONE
    mark = "+" if sign else ""
    return f"{figure.value:{mark}.{digits}f} [{figure.low:{mark}.{digits}f}, {figure.high:{mark}.{digits}f}]"


def number(value: float | None, digits: int) -> str:
    """A number with so many digits behind the point, or a dash for none."""
    return NONE if value is None else f"{value:.{digits}f}"


def markdown(tables: Sequence[Table]) -> str:
    """The tables as Markdown."""
    parts = ["# StreamChat: report\n"]
    for table in tables:
        parts.append(f"## {table.title}\n")
        lines = [table.columns, ["---"] * len(table.columns), *table.rows]
        parts.append("\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n")
        if table.note:
            parts.append(f"{table.note}\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def as_csv(tables: Sequence[Table]) -> str:
    """Every cell of every table on a line: table, row, column, value."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["table", "row", "column", "value"])
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns[1:], row[1:], strict=True):
                writer.writerow([table.title, row[0], column, cell])
    return file.getvalue()


def inner_html(runs: Sequence[Loaded]) -> str:
    """The report as a part of a page: plots as SVG, and tables."""
    return _figures(plots.of(runs, judges_of(runs))) + "".join(map(table_html, tables_of(runs)))


def page(tables: Sequence[Table], pictures: Sequence[str]) -> str:
    """A page that needs nothing else: plots as SVG, and tables."""
    return PAGE.format(body=_figures(pictures) + "".join(map(table_html, tables)))


def _figures(pictures: Sequence[str]) -> str:
    return "".join(f"<figure>{picture}</figure>" for picture in pictures)


def table_html(table: Table) -> str:
    """A table with its title and note."""
    head = "".join(f"<th scope='col'>{html.escape(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
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
