"""Does what the memory holds reach the prompt, at any size of a model? Measured without weights, in one command."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from evaluation.tables import Cell, Number, Table, markdown
from streamchat.terminal import print_json

if TYPE_CHECKING:
    from evaluation.reach.needles import Settings

TOKENS = 576  # LLaVA-1.5's
CONTEXT = 4096
PICTURES_CONTEXT = 32768


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the subcommand."""
    command.add_argument("--json", action="store_true", help="print one JSON object, and nothing else")
    command.add_argument(
        "--tokens", type=int, default=TOKENS, help=f"that a frame takes in the prompt (default: {TOKENS})"
    )
    command.add_argument(
        "--context",
        type=int,
        default=None,
        help=f"tokens of the model, answer included (default: {CONTEXT}; with --pictures {PICTURES_CONTEXT})",
    )
    command.add_argument(
        "--pictures", type=int, default=None, metavar="N", help="a model that takes JPEGs, N at most, as a server does"
    )
    command.add_argument(
        "--frames", type=int, default=None, metavar="N", help="newest frames that `recent` takes (default: 32)"
    )
    command.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    command.add_argument(
        "--out", type=Path, default=None, help="folder to keep the runs in, for `report`; they go on there"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print a table or the JSON; InputError for what cannot be measured."""
    from evaluation.reach.needles import Settings

    usual = CONTEXT if arguments.pictures is None else PICTURES_CONTEXT
    settings = Settings(
        tokens=arguments.tokens,
        context=usual if arguments.context is None else arguments.context,
        pictures=arguments.pictures,
        frames=arguments.frames,
        seed=arguments.seed,
    )
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print must not get between the JSON
        if arguments.out is None:
            with tempfile.TemporaryDirectory() as folder:
                figures = measured(settings, Path(folder))
        else:
            figures = measured(settings, arguments.out)
    if arguments.json:
        print_json(figures)
    else:
        print(markdown(tables_of(figures)))
    return 0


def measured(settings: Settings, out: Path) -> dict[str, Any]:
    """All figures, as plain values; the runs are kept below `out`."""
    from evaluation.reach import moments, needles
    from streamchat.embedding import minilm

    figures: dict[str, Any] = {
        "tokens": settings.tokens,
        "context": settings.context,
        "pictures": settings.pictures,
        "frames": settings.recent_frames,
        "seed": settings.seed,
    }
    right: dict[str, Any] = {}
    embedder = needles.EmbeddedOnce(minilm())
    with tqdm(unit="", disable=not sys.stderr.isatty()) as bar:

        def show(what: str, done: int, of: int) -> None:
            bar.set_description(what, refresh=False)
            bar.total = of
            bar.update(done - bar.n)

        for result in needles.measure(settings, out, embedder, show):
            figures[result.name] = result.reached
            right[result.name] = result.right
        figures["answered_right"] = right
        figures["captions_480"] = moments.measure(settings, embedder, show)
    return figures


def tables_of(figures: dict[str, Any]) -> list[Table]:
    """The figures as tables."""
    from evaluation.methods import label_of

    recent = label_of("recent", figures["frames"])
    names = {"memory": "memory", "recent": recent, "memory_clips": "memory, clips", "recent_clips": f"{recent}, clips"}
    given = "tokens" if figures["pictures"] is None else f"pictures, {figures['pictures']} at most"
    size = (
        f"A model that takes {given}, {figures['tokens']} tokens each, with a context of {figures['context']} tokens."
    )
    tables = []
    for title, shares in (("Reached the prompt, %", figures), ("Answered right, %", figures["answered_right"])):
        seconds = list(shares["memory"])
        rows: list[list[Cell]] = [
            [label, *(Number(value=100 * shares[name][one], digits=0) for one in seconds)]
            for name, label in names.items()
        ]
        columns = ["seconds since the needle", *seconds]
        tables.append(Table(title=title, columns=columns, rows=rows, note=size))
    moments = figures["captions_480"]
    tables.append(
        Table(
            title="The caption asked about is given, of 480",
            columns=["summaries", "questions"],
            rows=[[name, f"{moments[name]} of {moments['of']}"] for name in ("lossy", "general")],
        )
    )
    return tables
