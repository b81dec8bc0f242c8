"""The plots of a report, as SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation import metrics
from evaluation.loaded import Loaded
from evaluation.records import Row

COLORS = ("#4f46e5", "#94a3b8", "#0ea5e9", "#f59e0b", "#10b981", "#ef4444")
WIDTH, HEIGHT = 9.0, 3.2  # inches
LIVE_HEIGHT = 1.8

# Names come out of the data: a dollar sign in them begins no mathematics.
matplotlib.rcParams.update(
    {"svg.hashsalt": "streamchat", "svg.fonttype": "none", "font.size": 9, "text.parse_math": False}
)


def _printable(text: str) -> str:
    """A name without what no font has a sign for, such as control characters."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def natural(name: str) -> tuple[bool, float, str]:
    """A key that sorts names that begin with a number by it, those under a number first, before the others."""
    found = re.match(r"(under )?(\d+(?:\.\d+)?)", name)
    if found is None:
        return (True, 0.0, name)
    number = float(found[2]) * (60.0 if " min" in name else 1.0)
    return (False, -number if found[1] else number, name)


def of(runs: Sequence[Loaded], judges: Sequence[str]) -> list[str]:
    """Accuracy by type for each judge, and the delays, of some runs."""
    pictures = [_accuracy(runs, judge, lambda row: row["kind"]) for judge in judges]
    return [*pictures, _delay(runs)]


def _accuracy(runs: Sequence[Loaded], judge: str, key: Callable[[Row], str]) -> str:
    """Bars of accuracy with their intervals, a color for each run."""
    names = sorted({key(row) for run in runs for row in run.rows}, key=natural)
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(runs)
    for number, run in enumerate(runs):
        found = metrics.groups(run.graded(judge), key)
        values = [metrics.scores(found.get(name, [])).accuracy for name in names]
        places = [place + number * width for place in range(len(names))]
        heights = [figure.value or 0.0 for figure in values]
        known = [one if one.low is not None else None for one in values]
        spread = [
            [(one.value or 0) - (one.low or 0) if one else 0.0 for one in known],
            [(one.high or 0) - (one.value or 0) if one else 0.0 for one in known],
        ]
        axes.bar(places, heights, width, label=_printable(run.label), color=COLORS[number % len(COLORS)])
        axes.errorbar(places, heights, yerr=spread, fmt="none", ecolor="#334155", elinewidth=0.8)
    middles = [place + width * (len(runs) - 1) / 2 for place in range(len(names))]
    axes.set_xticks(middles, [_printable(name) for name in names])
    axes.set_ylim(0, 100)
    axes.set_ylabel("Acc. %")
    axes.set_title(f"Accuracy by type, judged by {_printable(judge)}", loc="left")
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def _delay(runs: Sequence[Loaded]) -> str:
    """Bars of the median time to the first token, and of its 95th percentile."""
    figure = Figure(figsize=(WIDTH, 0.9 + 0.4 * len(runs)), layout="constrained")
    axes = figure.subplots()
    for number, run in enumerate(runs):
        speed = metrics.speed(run.rows)
        color = COLORS[number % len(COLORS)]
        axes.barh(number, speed.rpd_p95 or 0.0, color=color, alpha=0.35)
        axes.barh(number, speed.rpd_median or 0.0, color=color)
    axes.set_yticks(range(len(runs)), [_printable(run.label) for run in runs])
    axes.invert_yaxis()
    axes.set_xlabel("RPD: seconds to the first token, idle: median, and 95th percentile (pale)")
    return svg(figure)


def live(delays: Mapping[str, Sequence[float]]) -> str:
    """The delay of every answer so far, in the order in which they came, a line for each method."""
    figure = Figure(figsize=(WIDTH, LIVE_HEIGHT), layout="constrained")
    axes = figure.subplots()
    for number, (method, seconds) in enumerate(delays.items()):
        color = COLORS[number % len(COLORS)]
        axes.plot(
            range(1, len(seconds) + 1),
            seconds,
            ".-",
            label=_printable(method),
            color=color,
            linewidth=0.8,
            markersize=3,
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("answers")
    axes.set_ylabel("RPD s")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def svg(figure: Figure) -> str:
    """A figure as an SVG element, as wide as there is room for."""
    file = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of signs that a font here lacks: the texts stay texts
        figure.savefig(file, format="svg", metadata={"Date": None})
    _, _, drawing = file.getvalue().partition("<svg")
    return f'<svg style="max-width: 100%; height: auto"{drawing}'
