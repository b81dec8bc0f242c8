"""How fast the product is: one command, one report. Each file here that has a `measure` is one part of it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import tempfile
import time
from pathlib import Path

from streamchat.errors import InputError
from streamchat.terminal import print_json

PARTS = ("decoding", "selecting", "clustering", "retrieving", "answering", "visitors", "soak", "saving", "models")
SOAK_HOURS = 24
OUT = Path("runs/speed")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the subcommand."""
    command.add_argument("--json", action="store_true", help="print one flat JSON object, and nothing else")
    command.add_argument(
        "--video",
        type=Path,
        default=None,
        metavar="FILE",
        help="measure with its first 20 seconds, brought to 720 and 360 lines (default: a made video)",
    )
    command.add_argument("--model", default="embedded", help="that ingests and answers (default: embedded)")
    command.add_argument("--soak", type=int, default=None, metavar="HOURS", help="only the soak, of so many hours")
    command.add_argument("--only", choices=PARTS, default=None, metavar="PART", help=f"only one of {', '.join(PARTS)}")
    command.add_argument(
        "--runs",
        type=int,
        default=1,
        metavar="N",
        help="measure everything N times, and report the medians (default: 1)",
    )
    command.add_argument("--out", type=Path, default=OUT, help=f"folder for the report (default: {OUT})")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the report, and print its table or the JSON; InputError for what cannot be measured."""
    if arguments.runs < 1:
        raise InputError(f"--runs must be 1 or more, got {arguments.runs}")
    if arguments.soak is not None and arguments.soak < 1:
        raise InputError(f"--soak must be 1 hour or more, got {arguments.soak}")
    if arguments.soak is not None and arguments.only is not None:
        raise InputError(f"--soak measures only the soak: leave out --only {arguments.only}")
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print must not get between the JSON
        figures = _measured(arguments)
    report = arguments.out / "report.md"
    if arguments.json:
        print_json(figures)
    else:
        print(report.read_text(encoding="utf-8"))
    return 0


def _measured(arguments: argparse.Namespace) -> dict[str, float | str]:
    from evaluation.records import make_folder
    from evaluation.speed import report
    from evaluation.speed.measuring import Part, Settings, median
    from streamchat.models import check_model_name
    from streamchat.threads import limit_torch_threads

    make_folder(arguments.out)
    check_model_name(arguments.model)
    if arguments.video is not None:
        from streamchat.video.file import open_video

        open_video(arguments.video)  # a bad file is said now
    limit_torch_threads()
    names = PARTS if arguments.only is None else (arguments.only,)
    if arguments.soak is not None:
        names = ("soak",)
    started = time.perf_counter()
    runs: list[list[Part]] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            folder=Path(folder),
            say=lambda text: print(f"[{time.perf_counter() - started:4.0f} s] {text}", file=sys.stderr, flush=True),
            video=arguments.video,
            model=arguments.model,
            soak_hours=SOAK_HOURS if arguments.soak is None else arguments.soak,
        )
        for _ in range(arguments.runs):
            runs.append([importlib.import_module(f"{__name__}.{name}").measure(settings) for name in names])
            found = [{key: value for part in parts for key, value in part.figures.items()} for parts in runs]
            measured = {key: [one[key] for one in found] for key in found[0]}
            figures: dict[str, float | str] = {key: median(values) for key, values in measured.items()}
            figures |= {"runs": float(len(runs)), "measured_seconds": time.perf_counter() - started}
            figures |= {"video": "made" if arguments.video is None else arguments.video.name, "model": arguments.model}
            figures |= report.machine()
            series = [one for part in runs[-1] for one in part.series]
            written = report.write(figures, measured, series, arguments.out)  # what is there stays, if it is stopped
    for path in written:
        print(path, file=sys.stderr)
    return figures
