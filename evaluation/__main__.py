"""The command line: python -m evaluation run streambench --root DIR --out RUN --model M --method memory"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from evaluation import METHODS, reach, speed
from streamchat import plugin
from streamchat.clock import timestamp
from streamchat.errors import InputError, exit_code
from streamchat.options import AS_IN_PAPER, MEBIBYTE, PRESETS, RETRIEVALS, Options, mebibytes

if TYPE_CHECKING:
    from evaluation import processes, runner
    from evaluation.samples import Benchmark

STOPPED = dict.fromkeys(("download", "run", "judge"), "stopped; the same command goes on from here")
EPILOG = """\
from nothing to a report:
  %(prog)s download streambench --root data --subset 100
  %(prog)s run streambench --root data --subset 100 --model embedded --method memory --out runs/memory
  %(prog)s run streambench --root data --subset 100 --model embedded --method recent --out runs/recent
  %(prog)s judge runs/memory --judge semantic      (and runs/recent)
  %(prog)s report runs/memory runs/recent --out report

A run that was ended goes on where it was with the same command, which also asks again what failed. Many processes
share one run, each with a GPU of its own, or on CPUs (where `accelerate launch` would start only one):
  torchrun --nproc-per-node 4 -m evaluation run ...
Exit codes: 0 done, 1 done with recorded failures, or failed on the way, 2 bad input.
"""


def parser(prog: str) -> argparse.ArgumentParser:
    """The arguments of the command line."""
    arguments = argparse.ArgumentParser(
        prog=prog,
        description="Score StreamChat on a benchmark, beside the baselines that it has to beat.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = arguments.add_subparsers(dest="command", required=True, metavar="COMMAND")

    download = commands.add_parser("download", help="fetch StreamBench from the Hugging Face Hub")
    download.add_argument("benchmark", choices=["streambench"])
    download.add_argument("--root", type=Path, required=True, help="folder to put it into")
    _choice(download)

    validate = commands.add_parser("validate", help="list what is wrong with a benchmark's data")
    validate.add_argument("benchmark", help="streambench or jsonl")
    validate.add_argument("--root", type=Path, required=True, help="folder of the data")

    _run_arguments(commands.add_parser("run", help="answer a benchmark's questions"))

    _judge_arguments(commands.add_parser("judge", help="grade a run's answers"))

    report = commands.add_parser("report", help="tables and plots of one or more runs")
    report.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    report.add_argument("--out", type=Path, required=True, help="folder for report.md, report.html and report.csv")

    reach.add_arguments(
        commands.add_parser("reach", help="measure whether what the memory holds reaches the prompt of a model")
    )
    speed.add_arguments(commands.add_parser("speed", help="measure how fast StreamChat is on this machine"))
    return arguments


def _judge_arguments(judge: argparse.ArgumentParser) -> None:
    judge.add_argument("run", type=Path, help="folder of the run")
    judge.add_argument("--judge", default="semantic", help="exact, semantic, llama3[:FOLDER], openai:URL#NAME")
    judge.add_argument(
        "--prompt",
        type=Path,
        default=None,
        metavar="FILE",
        help="what llama3 and openai are asked instead: text with {question}, {reference} and {answer}",
    )


def _run_arguments(run: argparse.ArgumentParser) -> None:
    run.add_argument("benchmark", help=", ".join(plugin.names("evaluation.benchmarks")))
    run.add_argument("--root", type=Path, default=None, help="folder of the data")
    run.add_argument("--out", type=Path, required=True, help="folder of the run; an interrupted one goes on")
    run.add_argument("--model", default="embedded", help="as of `python -m streamchat` (default: embedded)")
    run.add_argument("--device", default=None, help="cpu, cuda:0, or cuda:0,cuda:1")
    run.add_argument("--method", default="memory", help=f"{', '.join(METHODS)} (default: memory)")
    run.add_argument(
        "--frames", type=int, default=None, metavar="N", help="newest frames that `recent` takes (default: 32)"
    )
    run.add_argument("--preset", default="base", help=f"{', '.join(PRESETS)} (default: base)")
    selectors, retrievals = ", ".join(plugin.names("streamchat.selectors")), ", ".join(RETRIEVALS)
    run.add_argument("--selector", default=None, help=f"{selectors} (default: {Options().selector})")
    run.add_argument("--retrieval", default=None, help=f"{retrievals} (default: {Options().retrieval})")
    run.add_argument("--context", default=Options().context, help="full, two-step (default: %(default)s)")
    run.add_argument(
        "--max-pictures", type=int, default=Options().max_pictures, help="in a prompt (default: %(default)s)"
    )
    run.add_argument("--show-prompt", action="store_true", help="print what the model is given for each question")
    run.add_argument(
        "--as-in-paper",
        action="store_true",
        help="the paper's method instead of the product's: optical_flow, its numbers, and one way down the tree",
    )
    run.add_argument(
        "--memory-mib", type=int, default=None, metavar="N", help="most that a memory may take (default: chosen)"
    )
    run.add_argument(
        "--no-repeats", action="store_true", help="leave out questions that stand there twice; needles do not"
    )
    _choice(run)


def _choice(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--subset", type=int, default=None, metavar="N", help="only N questions (and their repeats), shared out by type"
    )
    command.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")


def command() -> int:
    """The command `streamchat-eval`."""
    return main(prog="streamchat-eval")


def main(argv: Sequence[str] | None = None, prog: str = "python -m evaluation") -> int:
    """Run the command line, which was called as `prog`, and return its exit code."""
    arguments = parser(prog).parse_args(argv)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "download": _download,
        "validate": _validate,
        "run": _run,
        "judge": _judge,
        "report": _report,
        "reach": reach.run,
        "speed": speed.run,
    }
    return exit_code(lambda: commands[arguments.command](arguments), stopped=STOPPED.get(arguments.command, "stopped"))


def _download(arguments: argparse.Namespace) -> int:
    from evaluation.benchmarks import streambench
    from streamchat.checkpoints.hub import size_text

    remote = streambench.look_up(arguments.root)
    here = remote.bytes_total - remote.bytes_missing
    print(
        f"{remote.repo}: {size_text(remote.bytes_total)}, of which {size_text(here)} are here; "
        f"licence: {remote.licence or 'see its page'}; revision {remote.revision[:12]}",
        file=sys.stderr,
    )
    with tqdm(total=remote.bytes_total, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        streambench.download(arguments.root, show, arguments.subset, arguments.seed)
    print(arguments.root)
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    from evaluation.benchmarks import streambench
    from evaluation.samples import Choice

    bench = plugin.load("evaluation.benchmarks", arguments.benchmark).build(Choice(root=arguments.root))
    if not isinstance(bench, streambench.StreamBench):
        raise InputError(f"the benchmark {arguments.benchmark} is made on the spot: there is nothing to validate")
    counts, wrong = streambench.validate(bench)
    for name, value in counts.items():
        text = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else str(value)
        print(f"{name.replace('_', ' '):28} {text}")
    for line in wrong:
        print(f"  {line}")
    return 1 if bench.annotations.problems or counts["missing_or_unreadable_videos"] else 0


def _run(arguments: argparse.Namespace) -> int:
    from evaluation import processes, runner
    from evaluation.records import RunFolder

    team, folder = processes.join(), RunFolder(arguments.out)
    run, benchmark = _prepared(arguments, team)

    def work() -> int:
        failed = 0
        with tqdm(unit="question", disable=not sys.stderr.isatty()) as bar:
            for progress in runner.answers(run, benchmark, folder, share=team.share):
                failed = progress.failed
                bar.total = progress.questions
                bar.set_description(f"{Path(progress.video).name[:24]} {timestamp(progress.seconds)}", refresh=False)
                bar.update(progress.answered - bar.n)
        return failed

    failed = sum(team.together(work))
    team.leave()
    if failed:
        print(
            f"{failed} questions failed; {arguments.out} says why, and the same command tries them again",
            file=sys.stderr,
        )
    print(arguments.out)
    return 1 if failed else 0


def _prepared(arguments: argparse.Namespace, team: processes.Alone | processes.Team) -> tuple[runner.Run, Benchmark]:
    """What is run over what, the same in all processes; the first has made the folder, or found it to be this run's."""
    from evaluation import runner
    from evaluation.methods import check_method, with_frames
    from evaluation.records import RunFolder
    from evaluation.samples import Choice
    from streamchat.embedding import minilm
    from streamchat.models import load_model

    first = team.share.rank == 0
    choice = Choice(root=arguments.root, subset=arguments.subset, repeats=not arguments.no_repeats, seed=arguments.seed)
    prepared: list[tuple[runner.Run, Benchmark]] = []

    def prepare() -> int | None:
        check_method(arguments.method)
        options = with_frames(_options(arguments), arguments.method, arguments.frames)
        benchmark = plugin.load("evaluation.benchmarks", arguments.benchmark).build(choice)
        run = runner.Run(
            model=load_model(arguments.model, device=team.device(arguments.device)),
            model_spec=arguments.model,
            method=arguments.method,
            options=options,
            embedder=minilm(),
            show_prompt=(lambda text: tqdm.write(f"{text}\n", file=sys.stderr)) if arguments.show_prompt else None,
        )
        budget = run.budget(team.share.of)
        if first:
            runner.begin_folder(run, benchmark, RunFolder(arguments.out))
        prepared.append((run, benchmark))
        return budget

    budgets = [one for one in team.together(prepare) if one is not None]
    run, benchmark = prepared[0]
    run = replace(run, budget_bytes=min(budgets, default=None))  # what each has free may differ; one is recorded
    if first and run.budget_bytes and run.options.memory_bytes is None:
        budget = f"{run.budget_bytes // MEBIBYTE:,} MiB"
        print(f"memory: at most {budget} a session, chosen here; --memory-mib fixes it", file=sys.stderr)
    if first and benchmark.problems:
        print(f"problems in the questions: {len(benchmark.problems)}; `validate` lists them", file=sys.stderr)
    return run, benchmark


def _options(arguments: argparse.Namespace) -> Options:
    """The options of a run; InputError for flags that contradict each other, or that its method has no use for."""
    flags = ("selector", "retrieval")
    asked = {name: getattr(arguments, name) for name in flags if getattr(arguments, name) is not None}
    memory_bytes = mebibytes(arguments.memory_mib)
    if arguments.method != "memory" and (asked or arguments.as_in_paper or memory_bytes is not None):
        raise InputError(
            "--selector, --retrieval, --as-in-paper and --memory-mib are of the method memory, got the method "
            f"{arguments.method}, which has no memory: leave them out"
        )
    if "selector" in asked:
        plugin.load("streamchat.selectors", asked["selector"])
    if arguments.as_in_paper:
        for name, value in asked.items():
            if value != AS_IN_PAPER[name]:
                raise InputError(
                    f"--as-in-paper means --{name} {AS_IN_PAPER[name]}, got {value}: leave one of them out"
                )
        asked = AS_IN_PAPER
    return Options.preset(
        arguments.preset,
        seed=arguments.seed,
        memory_bytes=memory_bytes,
        context=arguments.context,
        max_pictures=arguments.max_pictures,
        **asked,
    )


def _judge(arguments: argparse.Namespace) -> int:
    from evaluation import judges, judging
    from evaluation.records import RunFolder

    folder = RunFolder(arguments.run)
    folder.described()
    prompt = None if arguments.prompt is None else judges.read_prompt(arguments.prompt)
    judge = judges.build(arguments.judge, prompt)
    with tqdm(unit="answer", disable=not sys.stderr.isatty()) as bar:
        for done, total in judging.judge(folder, judge):
            bar.total = total
            bar.update(done - bar.n)
    ungraded = sum(grade["ungraded"] is not None for grade in judging.grades_of(folder)[judge.name].values())
    print(judging.grades_file(folder, judge.name))
    if ungraded:
        print(f"{ungraded} answers are ungraded, and in no mean", file=sys.stderr)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from evaluation import report
    from evaluation.records import RunFolder

    for path in report.write([RunFolder(path) for path in arguments.runs], arguments.out):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
