"""One or more runs as a report: Markdown, a self-contained HTML page with plots, and CSV, all from the same tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from evaluation import metrics, plots, tables
from evaluation.judges.base import OWN_PROMPT, PAPERS_MODEL
from evaluation.loaded import Loaded, judges_of, load
from evaluation.metrics import Figure
from evaluation.records import BUDGET, STARTS, Row, RunFolder, make_folder, unwritable
from evaluation.tables import NONE, Cell, Number, Table, as_csv, markdown, page, table_html
from streamchat.options import MEBIBYTE

__all__ = ["Table", "as_csv", "inner_html", "load", "markdown", "page", "table_html", "write"]

RPD = "RPD s (to the first token)"
NOTE_ON_RUNS = (
    "Past the end: questions timed after their video's end, which are asked there. Left out: problems in the file of "
    "questions, which `validate` lists. Memory at most: of one session, as asked, or chosen for the machine, on which "
    "scores then depend. The run.json of a run has the machine and versions of each start."
)
PUBLISHED = (  # of the paper (table 1), judged by LLaMA-3-8B-Instruct
    ("published: slow, LongVA-7B on two 80 GB GPUs, their own prompt", "3.48", "64.7", "1.76", "15", "0.90"),
    ("published: base, LongVA-7B on two 80 GB GPUs, their own prompt", "3.42", "63.8", "1.79", "20", "0.89"),
    ("published: fast, LongVA-7B on two 80 GB GPUs, their own prompt", "3.28", "61.7", "1.81", "32", "0.85"),
)
OLD_CAVEAT = f"{PAPERS_MODEL} {OWN_PROMPT.origin}"  # of grades that were given before there was one
NOTE_ON_PUBLISHED = (
    " Rows called published are the paper's: judged with another prompt, and answered by another state of the model; "
    "they are not to be compared digit for digit."
)


def write(folders: Sequence[RunFolder], out: Path) -> list[Path]:
    """Write report.md, report.html and report.csv of some runs, and return their paths.

    Raises InputError if a folder is no run, or has no answers yet.
    """
    runs = load(folders)
    found, pictures = tables_of(runs), plots.of(runs, judges_of(runs))
    make_folder(out)
    whole = {"report.md": markdown(found), "report.html": page(found, pictures), "report.csv": as_csv(found)}
    for name, text in whole.items():
        try:
            (out / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise unwritable(out / name, error) from None
    return [out / name for name in whole]


def inner_html(runs: Sequence[Loaded]) -> str:
    """The report as a part of a page: plots as SVG, and tables."""
    return tables.inner_html(tables_of(runs), plots.of(runs, judges_of(runs)))


def tables_of(runs: Sequence[Loaded]) -> list[Table]:
    """All tables of a report."""
    found = []
    for judge in judges_of(runs):
        found.append(_scores(runs, judge))
        for title, key in (
            ("type", lambda row: row["kind"]),
            ("domain", lambda row: row["domain"]),
            ("length of the video", metrics.length_of),
        ):
            found.append(_by(runs, judge, title, key))
        found += [table for table in [_differences(runs, judge)] if table.rows]
    if any(metrics.was_reached(row) is not None for run in runs for row in run.rows):
        found += [
            _reached(runs, "time since the evidence", metrics.distance_of),
            _reached(runs, "type", lambda row: row["kind"]),
        ]
    return [*found, _delays(runs), _runs(runs), *([_failures(runs)] if _failed(runs) else [])]


def _runs(runs: Sequence[Loaded]) -> Table:
    rows = []
    for run in runs:
        identity, data = run.identity, run.identity["data"]
        options = identity.get("options", {})
        rows.append(
            [
                run.label,
                identity["benchmark"],
                identity["model_name"],
                *_memory_of(run),
                str(identity.get("model_revision") or NONE)[:12],
                run.described["hash"],
                str(data.get("revision") or data.get("questions_sha256", NONE))[:12],
                f"{len(run.rows)} of {run.described['questions']}",
                str(sum(row["error"] is not None for row in run.rows)),
                str(sum(row["past_the_end"] for row in run.rows)),
                str(run.described.get("problems", NONE)),
                f"{options.get('max_pictures', NONE)}, {options.get('max_side', NONE)} px",
                str(options.get("seed", NONE)),
                _versions_of(run),
            ]
        )
    columns = ["run", "benchmark", "model", "selector, retrieval", "memory at most", "revision", "configuration"]
    more = ["data", "answered", "failed", "past the end", "left out", "pictures at most", "seed", "StreamChat"]
    return Table(title="Runs", columns=[*columns, *more], rows=rows, note=NOTE_ON_RUNS)


def _memory_of(run: Loaded) -> list[str]:
    """How a run selected and retrieved, and what its memory could take; nothing of a method without a memory."""
    options, starts = run.identity.get("options", {}), run.described.get(STARTS, [])
    if run.identity["method"] != "memory":
        return [NONE, NONE]
    budgets = sorted({start[BUDGET] // MEBIBYTE for start in starts if start.get(BUDGET)})
    how = "" if options.get("memory_bytes") else ", chosen"
    memory = f"{', '.join(map(str, budgets))} MiB{how}" if budgets else NONE
    return [", ".join(options.get(name) or NONE for name in ("selector", "retrieval")), memory]


def _versions_of(run: Loaded) -> str:
    """The versions of StreamChat that a run was begun and gone on with."""
    starts = run.described.get(STARTS, [])
    begun = {f"{start.get('streamchat')} {(start.get('commit') or '')[:12]}".strip() for start in starts}
    return ", ".join(sorted(begun)) or NONE


def _scores(runs: Sequence[Loaded], judge: str) -> Table:
    rows: list[list[Cell]] = []
    for run in runs:
        graded = run.graded(judge)
        whole, fewer = metrics.scores(graded), metrics.scores(metrics.without_repeats(graded))
        rows.append(
            [
                run.label,
                _cell(whole.score, 2),
                _cell(whole.accuracy, 1),
                _cell(whole.coherence, 2),
                f"{whole.graded} + {whole.ungraded}",
                str(whole.accuracy.videos),
                Number(value=metrics.speed(run.rows).pictures_median, digits=0),
                _cell(fewer.score, 2),
                _cell(fewer.accuracy, 1),
                _cell(fewer.coherence, 2),
                str(fewer.questions),
            ]
        )
    caveats = {row.get("caveat") or OLD_CAVEAT for run in runs for row in run.grades.get(judge, {}).values()}
    warning = "".join(map(_warning, sorted(caveats)))
    if all(map(_is_papers_model, caveats)) and any(run.identity["benchmark"] == "streambench" for run in runs):
        rows += [[name, score, accuracy, coherence, *[NONE] * 7] for name, score, accuracy, coherence, *_ in PUBLISHED]
        warning += NOTE_ON_PUBLISHED
    columns = ["run", "Sco.", "Acc. %", "Coh.", "graded + ungraded", "videos", "pictures (median)"]
    return Table(
        title=f"Scores, judged by {judge}",
        columns=[*columns, "Sco.*", "Acc.* %", "Coh.*", "questions*"],
        rows=rows,
        note="In brackets: 95% intervals, from a bootstrap over videos, of which it takes "
        f"{metrics.FEWEST_VIDEOS}. * without repeated questions.{warning}",
    )


def _is_papers_model(caveat: str) -> bool:
    return caveat.startswith(PAPERS_MODEL)


def _warning(caveat: str) -> str:
    """How a judge's figures stand to the published ones."""
    if _is_papers_model(caveat):
        return f" The judge is {caveat}: its figures are near the published ones, and not equal to them in kind."
    return f" The judge is {caveat}: its figures cannot be compared with published ones."


def _by(runs: Sequence[Loaded], judge: str, title: str, key: Callable[[Row], str]) -> Table:
    """Accuracy by something of the questions."""
    names = sorted({key(row) for run in runs for row in run.rows}, key=plots.natural)
    found = [metrics.groups(run.graded(judge), key) for run in runs]
    rows: list[list[Cell]] = [
        [run.label, *(_cell(metrics.scores(groups.get(name, [])).accuracy, 1) for name in names)]
        for run, groups in zip(runs, found, strict=True)
    ]
    counts = {name: sorted({len(groups.get(name, [])) for groups in found}) for name in names}
    columns = [f"{name} ({' to '.join(map(str, {of[0]: 0, of[-1]: 0}))})" for name, of in counts.items()]
    return Table(title=f"Acc. % by {title}, judged by {judge}", columns=["run", *columns], rows=rows)


def _reached(runs: Sequence[Loaded], title: str, key: Callable[[Row], str]) -> Table:
    """Of how many questions the evidence reached the prompt, in all and by something of the questions."""
    measured = [[row for row in run.rows if metrics.was_reached(row) is not None] for run in runs]
    names = sorted({key(row) for rows in measured for row in rows}, key=plots.natural)
    cells: list[list[Cell]] = []
    for run, rows in zip(runs, measured, strict=True):
        of_each = [[row for row in rows if key(row) == name] for name in names]
        cells.append([run.label, str(len(rows)), *(_cell(metrics.reached(of), 1) for of in (rows, *of_each))])
    return Table(
        title=f"Reached % by {title}",
        columns=["run", "questions", "all", *names],
        rows=cells,
        note="Reached: the prompt held a picture of the evidence, or a caption of a moment of it (not a summary). "
        "Of the answered questions of which it is known when their evidence was shown.",
    )


def _differences(runs: Sequence[Loaded], judge: str) -> Table:
    """Every run of the product against every baseline on the same data with the same model."""
    rows: list[list[Cell]] = []
    for run in runs:
        for other in runs:
            same = all(run.identity[name] == other.identity[name] for name in ("benchmark", "data", "model"))
            if same and run.identity["method"] == "memory" and other.identity["method"] != "memory":
                found = metrics.difference(run.graded(judge), other.graded(judge))
                rows.append([run.label, other.label, _cell(found, 1, sign=True)])
    return Table(
        title=f"Memory against the baselines, judged by {judge}",
        columns=["run", "baseline", "Acc., points"],
        rows=rows,
        note="Paired: over the questions that both have graded.",
    )


def _delays(runs: Sequence[Loaded]) -> Table:
    rows: list[list[Cell]] = []
    for run in runs:
        speed = metrics.speed(run.rows)
        values = (speed.rpd_median, speed.rpd_p95, speed.retrieval_median, speed.retrieval_p95)
        delays = [Number(value=value, digits=3) for value in values]
        rows.append(
            [run.label, *delays, Number(value=speed.fps, digits=1), Number(value=speed.pictures_median, digits=0)]
        )
    if any(run.identity["benchmark"] == "streambench" for run in runs):
        rows += [[name, rpd, NONE, NONE, NONE, fps, NONE] for name, *_, fps, rpd in PUBLISHED]
    return Table(
        title="Delay, idle, and speed of ingestion",
        columns=["run", RPD, "RPD p95 s", "retrieval s", "retrieval p95 s", "FPS", "pictures"],
        rows=rows,
        note="Medians unless p95. RPD, request processing delay: from the end of the question to the first piece of "
        "the answer, retrieval and prefill included. Nothing was ingested while an answer was made; under load delays "
        "are longer.",
    )


def _failed(runs: Sequence[Loaded]) -> list[list[str]]:
    return [[run.label, row["id"], row["video"], row["error"]] for run in runs for row in run.rows if row["error"]]


def _failures(runs: Sequence[Loaded]) -> Table:
    return Table(title="Failed questions", columns=["run", "question", "video", "error"], rows=_failed(runs))


def _cell(figure: Figure, digits: int, *, sign: bool = False) -> Number:
    alone = f"{figure.videos} video{'s' if figure.videos != 1 else ''}" if figure.low is None else ""
    return Number(value=figure.value, digits=digits, low=figure.low, high=figure.high, why_alone=alone, sign=sign)
