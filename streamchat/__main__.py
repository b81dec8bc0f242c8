"""The command line: python -m streamchat VIDEO --ask 10 "What is shown?" """

from __future__ import annotations

import argparse
import contextlib
import math
import re
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from streamchat import plugin
from streamchat.clock import time_range, timestamp
from streamchat.errors import InputError, StreamChatError, exit_code
from streamchat.options import MEBIBYTE, PRESETS, RETRIEVALS, THINKING, Options, mebibytes
from streamchat.terminal import print_json
from streamchat.video import READERS

if TYPE_CHECKING:
    from streamchat.session.engine import StreamChat
    from streamchat.video.source import Source

CLOCK_TIME = re.compile(r"\d+(:\d\d){1,2}(\.\d+)?")  # before a typed question; a bare number may be its first word
EPILOG = """\
examples:
  %(prog)s video.mp4 --ask 10 "What is shown?" --ask 1:20 "How many people are there now?"
  %(prog)s video.mp4 --ask 30 "What is written on the screen?" --json > answers.json

The video is ingested as fast as possible; each question is asked when the stream reaches its time, and its answer uses
nothing later. The same command gives the same answers. Without --ask, in a terminal, you can ask once it was seen. Exit
codes: 0 done, 1 failed on the way, 2 bad input.
The app is another command: `streamchat app` once StreamChat is installed, `python app.py` in a checkout.
"""


def stream_time(text: str) -> float:
    """Seconds of a time given as 90, 90.5, 1:30 or 1:02:03; raises InputError for anything else."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    good = 1 <= len(parts) <= 3 and all(math.isfinite(part) and part >= 0 for part in parts)
    if not good:
        raise InputError(f"{text!r} is not a time: give seconds (90, 90.5) or a clock time (1:30), 0 or later")
    return sum(part * 60.0**power for power, part in enumerate(reversed(parts)))


def parser(prog: str) -> argparse.ArgumentParser:
    """The arguments of the command line."""
    arguments = argparse.ArgumentParser(
        prog=prog,
        description="Play a video into StreamChat and ask about it on the way.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("video", nargs="?", metavar="VIDEO", help="the video to play")
    arguments.add_argument(
        "--ask",
        nargs=2,
        action="append",
        default=[],
        metavar=("TIME", "QUESTION"),
        help="ask QUESTION when the stream reaches TIME (seconds, or 1:30); may be given many times",
    )
    models = arguments.add_argument_group("models")
    models.add_argument(
        "--model",
        default="embedded",
        help="embedded (default), auto, a checkpoint's folder, a name on the Hugging Face Hub, or openai:URL#NAME",
    )
    models.add_argument("--device", default=None, help="cpu, cuda:0, or cuda:0,cuda:1 for a copy each")
    models.add_argument("--thinking", **THINKING)
    models.add_argument(
        "--random-weights", default=None, metavar="NAME", help="measure speed with a full-size model that says nothing"
    )
    models.add_argument("--list-models", action="store_true", help="list models, what they need and their licences")
    models.add_argument("--download", default=None, metavar="NAME", help="fetch a model from the Hugging Face Hub")
    _engine_arguments(arguments)
    arguments.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return arguments


def _engine_arguments(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument("--preset", default="base", help=f"{', '.join(PRESETS)} (default: base)")
    selectors = ", ".join(plugin.names("streamchat.selectors"))
    arguments.add_argument(
        "--selector", default=Options().selector, help=f"{selectors} (default: {Options().selector})"
    )
    arguments.add_argument(
        "--retrieval", default=Options().retrieval, help=f"{', '.join(RETRIEVALS)} (default: {Options().retrieval})"
    )
    arguments.add_argument(
        "--context",
        default=Options().context,
        help="full (default), or two-step: the last seconds first, the memory only if the model says it needs it",
    )
    arguments.add_argument(
        "--max-pictures", type=int, default=Options().max_pictures, help="in a prompt (default: %(default)s)"
    )
    arguments.add_argument(
        "--stream", type=int, default=None, metavar="N", help="read the N-th of a file's video streams (from 1 on)"
    )
    arguments.add_argument(
        "--reader", default=READERS[0], help=f"{', '.join(READERS)}: what decodes a file (default: {READERS[0]})"
    )
    arguments.add_argument(
        "--allow-urls", action="store_true", help="VIDEO may be a URL, or a playlist that names other files and URLs"
    )
    arguments.add_argument("--show-prompt", action="store_true", help="print what the model is given for each question")
    arguments.add_argument(
        "--memory-mib", type=int, default=None, metavar="N", help="most that the memory may take (default: chosen)"
    )
    arguments.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")


def main(argv: Sequence[str] | None = None, prog: str = "python -m streamchat") -> int:
    """Run the command line, which was called as `prog`, and return its exit code."""
    arguments = parser(prog).parse_args(argv)
    return exit_code(lambda: _command(arguments), stopped="stopped")


def _command(arguments: argparse.Namespace) -> int:
    if arguments.list_models:
        return _list_models(arguments.device)
    if arguments.download:
        return _download(arguments.download)
    return _run(arguments)


def _list_models(device: str | None) -> int:
    from streamchat.checkpoints.choosing import listing
    from streamchat.checkpoints.machine import this_machine
    from streamchat.checkpoints.stored import cached
    from streamchat.models import model_names

    for name in model_names():
        description = (plugin.load("streamchat.models", name).__doc__ or "").splitlines()[0]
        print(f"{name:12} {description}")
    print(f"\n{listing(this_machine(device), cached)}")
    return 0


def _download(name: str) -> int:
    """Fetch a checkpoint; its size is said before, and a bar shows the bytes."""
    from streamchat.checkpoints.hub import size_text
    from streamchat.checkpoints.stored import download, look_up

    remote = look_up(name)
    done = remote.bytes_total - remote.bytes_missing
    kept = f", of which {size_text(done)} are here already" if done else ""
    print(
        f"{name}: {size_text(remote.bytes_total)}{kept}; licence: {remote.licence or 'see its page'}", file=sys.stderr
    )
    with tqdm(total=remote.bytes_total, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        folder = download(name, lambda so_far, _: bar.update(so_far - bar.n))
    print(folder)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from streamchat.session.questions import check_question

    if not arguments.video:
        raise InputError("no video was given: python -m streamchat VIDEO --ask TIME QUESTION (see --help)")
    asks = sorted(((stream_time(time), question) for time, question in arguments.ask), key=lambda ask: ask[0])
    for _, question in asks:
        check_question(question)
    options = Options.preset(
        arguments.preset,
        selector=arguments.selector,
        retrieval=arguments.retrieval,
        context=arguments.context,
        max_pictures=arguments.max_pictures,
        memory_bytes=mebibytes(arguments.memory_mib),
        seed=arguments.seed,
    )
    # What libraries print while they load must not get between the lines of the JSON.
    with contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext():
        report = _play(arguments, options, asks)
    if arguments.json:
        print_json(report)
    return 0


def _model(arguments: argparse.Namespace) -> Any:
    from streamchat.models import AUTO, load_best, load_model, load_random_model

    if arguments.random_weights:
        return load_random_model(arguments.random_weights, device=arguments.device)
    if arguments.model != AUTO:
        return load_model(arguments.model, device=arguments.device, thinking=arguments.thinking == "on")
    model, choice = load_best(arguments.device)
    print(f"model: {choice.reason}", file=sys.stderr)
    if choice.better is not None:
        print(f"better: python -m streamchat --download {choice.better.repo}", file=sys.stderr)
    return model


def _play(arguments: argparse.Namespace, options: Options, asks: list[tuple[float, str]]) -> dict[str, Any]:
    from streamchat.session.engine import StreamChat
    from streamchat.video.source import RecordedSource

    video = _source(arguments, options)
    duration_seconds = video.duration_seconds if isinstance(video, RecordedSource) else None
    chat = StreamChat(_model(arguments), options)
    _report_budget(chat)
    answers: list[dict[str, Any]] = []
    remaining = list(asks)
    started = time.perf_counter()
    answering = 0.0
    with tqdm(total=duration_seconds, unit="s", disable=not sys.stderr.isatty(), bar_format=_BAR) as bar:
        for frame in video:
            while remaining and remaining[0][0] < frame.pts_seconds:
                before = time.perf_counter()
                answers.append(_ask(chat, *remaining.pop(0), arguments, bar))
                answering += time.perf_counter() - before
            chat.push(frame)
            bar.update(frame.pts_seconds - bar.n)
    ingesting = time.perf_counter() - started - answering
    end = chat.newest.pts_seconds if chat.newest is not None else 0.0
    if isinstance(video, RecordedSource):
        duration_seconds = video.duration_seconds  # less than it said if the file is cut off
        for note in video.notes:
            print(f"warning: {note}", file=sys.stderr)
    for at_seconds, question in remaining:
        if at_seconds > (duration_seconds or end):
            print(
                f"warning: the video ends at {end:.1f} s; the question for {at_seconds:g} s is asked there",
                file=sys.stderr,
            )
        answers.append(_ask(chat, min(at_seconds, end), question, arguments, None))
    if not asks and not arguments.json and sys.stdin is not None and sys.stdin.isatty():
        answers += _converse(chat, end, arguments)
    counts = chat.counts()
    return {
        "video": str(arguments.video),
        "model": chat.model.name,
        "preset": arguments.preset,
        "selector": options.selector,
        "answers": answers,
        **asdict(counts),
        "memory_budget_bytes": chat.memory_budget_bytes,
        "frames_per_second": round(counts.frames_seen / ingesting, 1),
    }


def _converse(chat: StreamChat, end_seconds: float, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Answer what a person types, until they enter nothing; bad questions are explained."""
    print(f"Seen until {timestamp(end_seconds)}. Ask about it; a time before a question, as in `1:20 What is shown?`,")
    print("is the moment that it is about. An empty line ends.")
    answers: list[dict[str, Any]] = []
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            line = ""
        if not line:
            return answers
        try:
            at_seconds, question = _typed(line, end_seconds)
            answers.append(_ask(chat, min(at_seconds, end_seconds), question, arguments, None))
        except StreamChatError as error:
            print(f"error: {error}", file=sys.stderr)


def _typed(line: str, end_seconds: float) -> tuple[float, str]:
    """The moment and the question of a typed line: a clock time before it, or the end of what was seen."""
    first, _, rest = line.partition(" ")
    if CLOCK_TIME.fullmatch(first):
        return stream_time(first), rest
    return end_seconds, line


def _source(arguments: argparse.Namespace, options: Options) -> Source:
    """What is to be played."""
    from streamchat.video.source import open_source

    return open_source(
        arguments.video,
        max_side=options.max_side,
        per_second=options.read_per_second,
        stream=arguments.stream,
        reader=arguments.reader,
        allow_urls=arguments.allow_urls,
    )


def _report_budget(chat: StreamChat) -> None:
    """Print what the memory may take, unless it was asked for."""
    if chat.options.memory_bytes is None:
        budget = f"{chat.memory_budget_bytes // MEBIBYTE:,} MiB"
        print(f"memory: at most {budget}, chosen for this machine and model; --memory-mib fixes it", file=sys.stderr)


_BAR = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"


def _ask(
    chat: Any, at_seconds: float, question: str, arguments: argparse.Namespace, bar: tqdm[Any] | None
) -> dict[str, Any]:
    """Ask one question, show it unless JSON is wanted, and return its part of the report."""
    if bar is not None and not bar.disable:
        bar.clear()
    stream = chat.stream_answer(question, at_seconds)
    if not arguments.json:
        print(f"[{timestamp(at_seconds)}] {question}", flush=True)
    indent = "  "
    for piece in stream:
        if not arguments.json:
            print(indent + piece, end="", flush=True)
            indent = ""
    answer = stream.answer
    if not arguments.json:
        print()
        for moment in answer.evidence:
            print(f"    {time_range(moment.span)}  {moment.caption}")
    if arguments.show_prompt:
        print(textwrap.indent(stream.shown_prompt, "    | ", lambda _: True), file=sys.stderr)
    return {
        "question": question,
        "asked_at_seconds": answer.asked_at_seconds,
        "text": answer.text,
        "evidence": [
            {"start": moment.span.start, "end": moment.span.end, "caption": moment.caption}
            for moment in answer.evidence
        ],
        "given": answer.given.as_json(),
        "timing": {name: round(value, 4) for name, value in asdict(answer.timing).items()},
    }


if __name__ == "__main__":
    sys.exit(main())
