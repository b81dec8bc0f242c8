"""How fast the product is: one command, one report. Each file here that has a `measure` is one part of it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

PARTS = ("decoding", "selecting", "clustering", "retrieving", "answering", "soaking", "saving")
SOAK_HOURS = 24.0
OUT = Path("runs/speed")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the subcommand."""
    command.add_argument("--json", action="store_true", help="print one flat JSON object, and nothing else")
    command.add_argument("--video", type=Path, default=None, metavar="FILE", help="a film (default: made ones)")
    command.add_argument("--model", default="embedded", help="that takes in and answers (default: embedded)")
    command.add_argument("--soak", type=float, default=None, metavar="HOURS", help="only the soak, of so many hours")
    command.add_argument("--only", choices=PARTS, default=None, metavar="PART", help=f"only one of {', '.join(PARTS)}")
    command.add_argument("--out", type=Path, default=OUT, help=f"folder for the report (default: {OUT})")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the report, and print its table or the JSON."""
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print must not get between the JSON
        figures = _measured(arguments)
    from evaluation.speed import report

    print(json.dumps(figures, indent=2) if arguments.json else report.table_text(figures))
    return 0


def _measured(arguments: argparse.Namespace) -> dict[str, float | str]:
    from evaluation.speed import report
    from evaluation.speed.measuring import Settings
    from streamchat.embedding import limit_torch_threads
    from streamchat.video import open_video

    if arguments.video is not None:
        open_video(arguments.video)  # a bad file is said now
    limit_torch_threads()
    names = PARTS if arguments.only is None else (arguments.only,)
    if arguments.soak is not None:
        names = ("soaking",)
    started = time.perf_counter()
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            folder=Path(folder),
            say=lambda text: print(f"[{time.perf_counter() - started:4.0f} s] {text}", file=sys.stderr, flush=True),
            video=arguments.video,
            model=arguments.model,
            soak_hours=arguments.soak or SOAK_HOURS,
        )
        for name in names:
            parts.append(importlib.import_module(f"{__name__}.{name}").measure(settings))
    figures: dict[str, float | str] = {key: value for part in parts for key, value in part.figures.items()}
    figures |= {"measured_seconds": time.perf_counter() - started, **report.machine()}
    for path in report.write(figures, [one for part in parts for one in part.series], arguments.out):
        print(path, file=sys.stderr)
    return figures
