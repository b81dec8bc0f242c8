"""The figures as a table with their targets, and as a page with plots."""

from __future__ import annotations

import importlib.metadata
import json
import operator
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from matplotlib.figure import Figure

from evaluation import tracing
from evaluation.plots import COLORS, HEIGHT, WIDTH, svg
from evaluation.report import Table, markdown, table_html
from evaluation.speed.measuring import FULL_SIZE, Series
from streamchat.threads import compute_threads

PACKAGES = ("torch", "numpy", "opencv-python-headless", "av", "decord", "onnxruntime", "transformers")


class Line(NamedTuple):
    """A line of the table."""

    key: str
    said: str
    digits: int
    target: str = ""  # such as ">= 40"


LINES = (
    Line(
        "ingest_fps_720p",
        "ingested, 720p: frames a second; captions are made beside it and not waited for",
        0,
        ">= 120",
    ),
    Line("ingest_fps_360p", "ingested, 360p", 0),
    Line("ingest_and_caption_fps_720p", "ingested and captioned to the last, 720p", 0),
    Line("decode_fps_720p", "decoded alone, 720p", 0),
    Line("decode_fps_360p", "decoded alone, 360p", 0),
    Line("selection_of_decode", "decoded and selected, 720p, in shares of decoded alone", 2, ">= 0.7"),
    Line(
        "optical_flow_of_decode_720p",
        "decoded and selected with the paper's selector, 720p, in shares of decoded alone",
        2,
    ),
    Line(
        "selection_speedup",
        "paper's flow: plain over fast (same formula, float64, both from the grey picture)",
        1,
        ">= 40",
    ),
    Line("selection_speedup_float32", "paper's flow, the plain one in float32", 1),
    Line(
        "selection_speedup_with_scaling",
        "paper's flow with scaling of the picture, which is the same on both sides: plain over fast",
        1,
    ),
    Line("selection_agreement", "decisions alike, over the presets' thresholds", 3, ">= 0.99"),
    Line("kmeans_speedup", "k-means of 40 x 144 x 3584 into 5: plain Lloyd over fast", 1, ">= 10"),
    Line("kmeans_speedup_one_buffer", "k-means, the plain one writing into memory that it has: plain over fast", 1),
    Line(
        "kmeans_inertia_ratio",
        "k-means, inertia over the best of 20 plain starts, worst of 20 chunks 40 x 64",
        3,
        "<= 1.01",
    ),
    Line("retrieval_ms_100", "retrieval beyond the embedding, 100 nodes, the built-in model's tokens, ms", 1),
    Line("retrieval_ms_1000", "retrieval, 1,000 nodes, ms", 1),
    Line("retrieval_ms_10000", "retrieval, 10,000 nodes, ms", 1, "<= 5"),
    Line("retrieval_ms_large_tokens", "retrieval, 100 nodes, frames of 144 x 3584 (clusters the open chunk), ms", 1),
    Line("rpd_seconds_p95", "RPD while ingesting and captioning, p95, s", 3, "<= 0.1"),
    Line("rpd_seconds_idle_median", "RPD idle, median, s", 3),
    Line("first_token_seconds_p95", "first token while ingesting and captioning, p95, s", 3, "<= 0.2"),
    Line("answer_seconds_busy_p95", "whole answer while ingesting and captioning, p95, s", 3),
    Line("first_token_seconds_playing_p95", "first token while the video plays, p95, s", 3),
    Line("first_token_seconds_idle_median", "first token idle, median, s", 3),
    Line("first_token_ratio", "first token, busy over idle", 2),
    Line("first_token_busy_over_idle", "first token of a small ChatModel, busy over idle", 2, "<= 1.2"),
    Line("captions_while_busy", "captions made while busy, before and between the questions", 0, ">= 1"),
    Line("threads_left", "threads left when the sessions are closed", 0, "<= 0"),
    Line("visitors_first_word_seconds_of_one", "first word, one visitor alone, who watches 360p, median, s", 3),
    Line("visitors_first_word_seconds_median", "first word of 20 visitors who watch and all ask at once, median, s", 3),
    Line("visitors_first_word_seconds_p95", "the same, p95, s", 3),
    Line("visitors_behind_seconds", "the slowest of their readers behind its player after 20 s, s", 1),
    Line("visitors_mib_grown", "memory that all of them took, MiB", 0),
    Line("visitors_threads_left", "threads left when they are gone", 0, "<= 0"),
    Line("soak_last_hour_growth", "bytes of the memory in a long stream, growth in its last hour", 4, "<= 0.01"),
    Line("soak_bytes", "bytes of the memory after it", 0),
    Line("soak_timeline_gaps", "gaps in the timeline", 0, "<= 0"),
    Line("question_24h_over_10min", "a question after 24 hours, over one after 10 minutes", 2, "<= 1.1"),
    Line("question_beyond_embedding_24h_over_10min", "the same question beyond the embedding of texts", 2),
    Line("snapshot_ms_10000", "snapshot, 10,000 nodes, ms", 2),
    Line("save_ms_10000", "save to a file, 10,000 nodes, ms", 0),
    Line("load_ms_10000", "load from a file, 10,000 nodes, ms", 0),
)
MODELS = (
    Line("seconds_to_make", "random weights made, s", 1),
    Line("frames_per_second", "encoded, 8 frames of 768 x 432 at once: frames a second", 0),
    Line("first_token_seconds", "first token, 20 frames in the prompt, s", 3),
    Line("tokens_per_second", "answer after it: pieces a second", 1),
    Line("caption_seconds", "a caption of 96 tokens from 5 frames, s", 2),
    Line("peak_gib", "memory of the GPU at most, GiB", 1),
)  # of each model in turn
WIDE = 10  # times the least value, from which on a logarithmic axis shows more
COMPARED = {">=": operator.ge, "<=": operator.le}


def machine() -> dict[str, float | str]:
    """What the figures were measured on."""
    versions = {f"version_{name}": _version(name) for name in PACKAGES}
    return {
        "commit": tracing.commit() or "unknown",
        "machine_cpu": tracing.processor(),
        "machine_cores": float(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ),
        "machine_memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "machine_load": round(os.getloadavg()[0], 1),  # at the end; more than the cores: others work here too
        "machine_system": platform.platform(),
        "torch_threads": float(compute_threads()),
        "version_python": platform.python_version(),
        **versions,
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def write(
    figures: Mapping[str, float | str], measured: Mapping[str, Sequence[float]], series: Sequence[Series], out: Path
) -> list[Path]:
    """Write report.md, report.html and speed.json into a folder, and return their paths.

    `measured` has each figure of every run, of which `figures` has the median.
    """
    tables = _tables(figures, measured)
    whole = {
        "report.md": markdown(tables),
        "report.html": PAGE.format(body="".join([table_html(tables[0]), *_plots(series), table_html(tables[1])])),
        "speed.json": json.dumps(figures, indent=2),
    }
    for name, text in whole.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in whole]


def _tables(figures: Mapping[str, float | str], measured: Mapping[str, Sequence[float]]) -> list[Table]:
    of_models = [
        line._replace(key=f"{name}_{line.key}", said=f"{name}, random weights, on a GPU: {line.said}")
        for name in FULL_SIZE
        for line in MODELS
    ]
    known = [line for line in (*LINES, *of_models) if line.key in figures]
    rows = [
        [
            line.said,
            _of_runs(figures[line.key], measured[line.key], line.digits),
            line.target,
            met(line, measured[line.key]),
        ]
        for line in known
    ]
    shown = {line.key for line in known}
    others = [[key, _of_runs(value, measured.get(key, ()), 4)] for key, value in figures.items() if key not in shown]
    return [
        Table(title="Speed", columns=["what", "measured", "target", "met"], rows=rows),
        Table(title="Everything measured, and the machine", columns=["key", "value"], rows=others),
    ]


def _of_runs(value: float | str, values: Sequence[float], digits: int) -> str:
    """A figure, and of several runs the least and the most."""
    if len(values) < 2:
        return _number(value, digits)
    return f"{_number(value, digits)} ({_number(min(values), digits)} to {_number(max(values), digits)})"


def met(line: Line, values: Sequence[float]) -> str:
    """Whether the figures of all runs reach their target: "yes", "no", "in 1 of 3 runs", or "" if there is none."""
    if not line.target:
        return ""
    sign, _, limit = line.target.partition(" ")
    times = sum(COMPARED[sign](value, float(limit)) for value in values)
    if 0 < times < len(values):
        return f"in {times} of {len(values)} runs"
    return "yes" if times else "no"


def _number(value: float | str, digits: int) -> str:
    return value if isinstance(value, str) else f"{value:,.{digits}f}"


def _plots(series: Sequence[Series]) -> list[str]:
    """A plot for each group of lines, as SVG in a figure."""
    groups: dict[str, list[Series]] = {}
    for one in series:
        groups.setdefault(one.plot, []).append(one)
    return [f"<figure>{_plot(title, lines)}</figure>" for title, lines in groups.items()]


def _plot(title: str, lines: Sequence[Series]) -> str:
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    for number, line in enumerate(lines):
        axes.plot(*zip(*line.points, strict=True), "o-", label=line.line, color=COLORS[number % len(COLORS)], ms=3)
    axes.set_title(title, loc="left")
    axes.set_xlabel(lines[0].x_label)
    axes.set_ylabel(lines[0].y_label)
    if lines[0].log:
        axes.set_xscale("log")
    values = [y for line in lines for _, y in line.points]
    if lines[0].log and max(values) > WIDE * min(values):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.1 * max(values))
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>StreamChat: speed</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1e293b; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem; }} .wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }}
th, td {{ text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #e2e8f0; }}
figure {{ margin: 1rem 0; }}
</style></head><body>{body}</body></html>
"""
