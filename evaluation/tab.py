"""The second tab: a benchmark, a model, the methods to compare, one button; progress, a live table, and the report."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Literal, Protocol

import gradio as gr

from evaluation import METHODS, judges, judging, metrics, plots, report, runner
from evaluation.benchmarks import streambench
from evaluation.records import RUN, RunFolder, digest
from evaluation.samples import Benchmark, Choice
from evaluation.tables import Cell, Number, Table, table_html
from streamchat import plugin
from streamchat.checkpoints.hub import size_text
from streamchat.clock import timestamp
from streamchat.embedding import minilm
from streamchat.errors import InputError, StreamChatError
from streamchat.models import load_model
from streamchat.models.base import Model
from streamchat.options import PRESETS, Options

log = logging.getLogger(__name__)

OWN_JUDGES = ("exact", "semantic")  # that need no model
RUNS = Path("runs")  # below the folder that the app was started in
DATA = Path("data")
VISITORS_SUBSET = 24  # questions at most of a run that a visitor begins, as the machine belongs to all of them
YIELD_SECONDS = 1.0
LIVE_COLUMNS = ("method", "answered", "failed", "RPD s (to the first token)", "retrieval s", "FPS")
IDLE = "Choose a benchmark and press Run. What was answered is kept, and the same settings go on from there."


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the page asks for."""

    benchmark: str
    root: str
    model: str
    preset: str
    methods: Sequence[str]
    judge: str
    subset: int  # 0: all
    seed: int
    memory_bytes: int | None = None  # that the app was started with


class AppModel(Protocol):
    """The model that the app has loaded, or will load."""

    spec: str  # as it was asked for

    def get(self) -> Model:
        """The model; waits until it is loaded."""
        ...


class EvaluationTab:
    """Layout and events of the tab; made inside a `gr.Blocks`. One evaluation runs at a time, whoever started it."""

    def __init__(self, model: AppModel, memory_bytes: int | None = None, *, public: bool = False) -> None:
        self._model = model
        self._public = public  # others than the owner may reach it: they name no model, no folder and no server
        self._memory_bytes = memory_bytes
        self._running = threading.Lock()
        self._stop = threading.Event()
        self._layout()
        self._events()

    def _layout(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                self._choices()
                with gr.Row():
                    self.run = gr.Button("Run", variant="primary", elem_id="run")
                    self.cancel = gr.Button("Cancel", interactive=False, elem_id="cancel")
            with gr.Column(scale=7, min_width=320):
                self.status = gr.HTML(_status(IDLE), elem_id="eval-status")
                self.live = gr.HTML(elem_id="eval-live")
                self.tables = gr.HTML(elem_id="eval-report")
                self.files = gr.File(label="Report and answers", file_count="multiple", visible=False, elem_id="files")
                with gr.Accordion("Past runs", open=False):
                    self.past = gr.Dropdown(_past(), label="Runs", multiselect=True, elem_id="past")
                    self.again = gr.Button("Report of these", size="sm", elem_id="again")

    def _choices(self) -> None:
        self.benchmark = gr.Dropdown(
            list(plugin.names("evaluation.benchmarks")), value="needle", label="Benchmark", elem_id="benchmark"
        )
        self.root = gr.Textbox(
            value=str(DATA),
            interactive=not self._public,
            label="Folder of the data",
            info="What StreamBench lacks in it is fetched. Needles need none.",
            elem_id="root",
        )
        self.methods = gr.CheckboxGroup(
            list(METHODS),
            value=["memory", "recent"],
            label="Methods",
            info="memory: StreamChat; recent: the newest frames; uniform: frames of all of it; blind: no frame at all",
            elem_id="methods",
        )
        with gr.Row():
            self.subset = gr.Number(
                value=VISITORS_SUBSET if self._public else 0,
                label="Questions",
                info="at most; 0: all",
                precision=0,
                minimum=0,
                elem_id="subset",
            )
            self.seed = gr.Number(
                value=0, label="Seed", info="of all that is drawn", precision=0, minimum=0, elem_id="seed"
            )
        with gr.Row():
            self.model = gr.Textbox(
                value=self._model.spec, label="Model", interactive=not self._public, elem_id="eval-model"
            )
            self.preset = gr.Dropdown(list(PRESETS), value="base", label="Preset")
        self.judge = gr.Dropdown(
            list(OWN_JUDGES) if self._public else [*OWN_JUDGES, "llama3"],
            value="exact",
            label="Judge",
            info="exact: the same words, for needles; semantic: like in meaning, a stand-in for a model"
            + ("" if self._public else "; llama3: the paper's, which is fetched; or write openai:URL#NAME"),
            allow_custom_value=not self._public,
            elem_id="judge",
        )

    def _events(self) -> None:
        shown = [self.status, self.live, self.tables, self.files, self.past, self.run, self.cancel]
        asked = [
            self.benchmark,
            self.root,
            self.model,
            self.preset,
            self.methods,
            self.judge,
            self.subset,
            self.seed,
        ]
        self.run.click(
            self._run,
            asked,
            shown,
            concurrency_limit=None,
            trigger_mode="once",
            show_progress="hidden",
            api_visibility="private",
        )
        gr.on(
            None, lambda: gr.update(choices=_past()), None, self.past, show_progress="hidden", api_visibility="private"
        )
        self.benchmark.input(_suiting, self.benchmark, self.judge, show_progress="hidden", api_visibility="private")
        self.cancel.click(self._stop.set, None, None, show_progress="hidden", api_visibility="private")
        self.again.click(
            self._report, self.past, [self.tables, self.files], show_progress="hidden", api_visibility="private"
        )

    def _run(self, *asked: Any) -> Iterator[Any]:
        """Everything from the data to the report; gives what the page shows."""
        names = ("benchmark", "root", "model", "preset", "methods", "judge", "subset", "seed")
        settings = Settings(**dict(zip(names, asked, strict=True)), memory_bytes=self._memory_bytes)
        if self._public:  # whatever a call that was made by hand says
            judge = settings.judge if settings.judge in OWN_JUDGES else OWN_JUDGES[0]
            subset = min(settings.subset or VISITORS_SUBSET, VISITORS_SUBSET)
            settings = replace(settings, model=self._model.spec, root=str(DATA), judge=judge, subset=subset)
        if not self._running.acquire(blocking=False):
            gr.Warning("An evaluation is running already: wait for it, or cancel it.")
            yield (gr.skip(),) * 7
            return
        self._stop.clear()
        folders: list[RunFolder] = []
        text, failed = "Stopped. Run goes on from here.", False
        nothing = gr.update(value=None, visible=False)
        yield _shown(status=_status("Loading …", "busy"), live="", tables="", files=nothing, running=True)
        try:
            for line, live, judged in self._work(settings, folders):
                tables, files = _written(folders) if judged else (None, None)
                yield _shown(status=_status(line, "busy"), live=live, tables=tables, files=files, running=True)
            if not self._stop.is_set():
                count = sum(row["error"] is not None for folder in folders for row in folder.rows())
                text = f"Done. {count} questions failed; Run tries them again." if count else "Done."
        except Exception as error:
            log.error("evaluation failed", exc_info=None if isinstance(error, StreamChatError) else error)
            text, failed = f"It stopped: {error}. What was answered is kept.", True
        finally:
            self._running.release()
        tables, files = _written(folders)
        yield _shown(status=_status(text, "failed" if failed else "ready"), tables=tables, files=files, past=_past())

    def _work(self, settings: Settings, folders: list[RunFolder]) -> Iterator[tuple[str, str | None, bool]]:
        """What is going on, the live table, and whether a method was just judged, so that the report has grown.

        The folders of the runs that were begun are put into `folders`.
        """
        if not settings.methods:
            raise InputError("no method is chosen: tick at least one")
        judge = judges.build(settings.judge)
        yield from self._fetched(settings)
        benchmark = plugin.load("evaluation.benchmarks", settings.benchmark).build(_choice(settings))
        model = self._model.get() if settings.model == self._model.spec else load_model(settings.model)
        begun, work = time.monotonic(), _Work(len(settings.methods))
        for method in settings.methods:
            run, folder = _planned(settings, method, model, benchmark)
            folders.append(folder)
            for progress in runner.answers(run, benchmark, folder, stopped=self._stop.is_set):
                if work.note(method, progress):
                    yield f"{method}: {work.line(progress, time.monotonic() - begun)}", work.shown(), False
            if self._stop.is_set():
                return
            for done, total in judging.judge(folder, judge):
                yield f"{method}: judged {done} of {total}", work.shown(), done == total
                if self._stop.is_set():
                    return

    def _fetched(self, settings: Settings) -> Iterator[tuple[str, str | None, bool]]:
        """Fetch StreamBench if its questions are not there, or any video of those that were chosen."""
        if settings.benchmark != "streambench" or not lacks_data(settings):
            return
        root = Path(settings.root)
        root = root.parent if root.is_file() else root
        remote = streambench.look_up(root)
        yield f"Fetching StreamBench into {root}: {size_text(remote.bytes_missing)} …", None, False
        streambench.download(root, self._or_stop, settings.subset or None, settings.seed)

    def _or_stop(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise StreamChatError(f"the download was stopped at {size_text(done)} of {size_text(total)}")

    def _report(self, names: list[str] | None) -> tuple[Any, Any]:
        """The report of past runs."""
        if not names:
            gr.Warning("No run is chosen: choose at least one above.")
            return gr.skip(), gr.skip()
        past = set(_past())  # a name that is none of these would be a path
        tables, files = _written([RunFolder(RUNS / name) for name in names if name in past])
        return tables, files


class _Work:
    """What the page shows while runs are on their way."""

    def __init__(self, methods: int) -> None:
        self._methods = methods
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._last: dict[str, runner.Progress] = {}
        self._updated_seconds = 0.0
        self._plotted = 0  # answers
        self._plot = ""

    def note(self, method: str, progress: runner.Progress) -> bool:
        """Note how far a method is; True if the page should be updated, at most once a second and at the end."""
        self._last[method] = progress
        if progress.row is not None:
            self._rows.setdefault(method, []).append(progress.row)
        at_the_end = progress.answered == progress.questions
        if time.monotonic() - self._updated_seconds < YIELD_SECONDS and not at_the_end:
            return False
        self._updated_seconds = time.monotonic()
        return True

    def line(self, progress: runner.Progress, elapsed: float) -> str:
        """How far it is, and the time left if all goes on as so far."""
        whole = self._methods * progress.questions
        done = sum(last.answered for last in self._last.values())
        left = f", about {timestamp(elapsed / done * (whole - done))} left" if done else ""
        where = f"{progress.video} at {timestamp(progress.seconds)}"
        return f"{progress.answered} of {progress.questions} answered, {where}{left}"

    def shown(self) -> str:
        """The live table, and the delays of the answers so far, which are drawn anew only when others have come."""
        rows: list[list[Cell]] = []
        for method, last in self._last.items():
            speed = metrics.speed(self._rows.get(method, []))
            values = ((speed.rpd_median, 3), (speed.retrieval_median, 3), (speed.fps, 1))
            numbers = [Number(value=value, digits=digits) for value, digits in values]
            rows.append([method, f"{last.answered} of {last.questions}", str(last.failed), *numbers])
        table = Table(title="So far", columns=LIVE_COLUMNS, rows=rows, note="Medians, idle.")
        return table_html(table) + self._drawn()

    def _drawn(self) -> str:
        delays = {
            method: [row["timing"]["first_token_seconds"] for row in rows if row["error"] is None]
            for method, rows in self._rows.items()
        }
        answers = sum(map(len, delays.values()))
        if answers != self._plotted:
            self._plotted, self._plot = answers, f"<figure>{plots.live(delays)}</figure>"
        return self._plot


def lacks_data(settings: Settings) -> bool:
    """Whether a folder lacks StreamBench's questions, or videos of those chosen: it was cut, or fetched for fewer."""
    root = Path(settings.root)
    if not root.is_file() and not any(root.glob(streambench.QUESTIONS)):
        return True
    return bool(streambench.StreamBench(_choice(settings)).missing())


def _suiting(benchmark: str) -> str:
    """The judge that suits a benchmark, of those that need no model."""
    return "exact" if benchmark == "needle" else "semantic"


def _choice(settings: Settings) -> Choice:
    needs_data = settings.benchmark != "needle"
    root = Path(settings.root) if needs_data else None
    return Choice(root=root, subset=settings.subset or None, seed=settings.seed)


def _planned(settings: Settings, method: str, model: Model, benchmark: Benchmark) -> tuple[runner.Run, RunFolder]:
    """A run and its folder, whose name is the same for the same settings, so that it goes on."""
    run = runner.Run(
        model=model,
        model_spec=settings.model,
        method=method,
        options=Options.preset(settings.preset, seed=settings.seed, memory_bytes=settings.memory_bytes),
        embedder=minilm(),
    )
    return run, RunFolder(RUNS / f"{settings.benchmark}-{method}-{digest(run.identity(benchmark))[:8]}")


def _past() -> list[str]:
    """The runs of earlier, the newest first."""
    found = sorted(RUNS.glob(f"*/{RUN}"), key=lambda path: -path.stat().st_mtime)
    return [path.parent.name for path in found]


def _written(folders: Sequence[RunFolder]) -> tuple[Any, Any]:
    """The report of runs as HTML for the page, and its files with the raw answers."""
    answered = [folder for folder in folders if (folder.path / RUN).exists() and folder.rows()]
    if not answered:
        return gr.skip(), gr.skip()
    try:
        files = report.write(answered, RUNS / "report")
        runs = report.load(answered)
    except Exception as error:  # whatever it is, the answers are there, and the page goes on
        log.error("the report failed", exc_info=None if isinstance(error, StreamChatError) else error)
        gr.Warning(escape(f"The report cannot be written: {error}", quote=False))
        return gr.skip(), gr.skip()
    raw = [path for folder in answered for path in sorted(folder.path.glob("answers.*.jsonl"))]
    return report.inner_html(runs), gr.update(value=[str(path) for path in (*files, *raw)], visible=True)


def _shown(
    *,
    status: Any,
    live: Any = None,
    tables: Any = None,
    files: Any = None,
    past: list[str] | None = None,
    running: bool = False,
) -> tuple[Any, ...]:
    """Everything that the page shows, in the order of the event's outputs."""
    return (
        status,
        gr.skip() if live is None else live,
        gr.skip() if tables is None else tables,
        gr.skip() if files is None else files,
        gr.skip() if past is None else gr.update(choices=past),
        gr.update(interactive=not running),
        gr.update(interactive=running),
    )


def _status(text: str, state: Literal["ready", "busy", "failed"] = "ready") -> str:
    return (
        f'<div class="sc-model" role="status"><span class="sc-dot sc-{state}"></span><span>{escape(text)}</span></div>'
    )
