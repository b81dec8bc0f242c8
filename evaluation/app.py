"""The app, and the command `streamchat` of an installed package.

It lies here because it puts the tabs of both packages together, and `streamchat` may not import `evaluation`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from streamchat.errors import InputError
from streamchat.options import MEBIBYTE, PRESETS, THINKING, Options, mebibytes
from streamchat.proxies import check_proxies, keep_direct
from streamchat.terminal import show_what_can_be_shown

if TYPE_CHECKING:
    import gradio as gr

    from streamchat.ui.session_manager import SessionManager

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing leaves the machine unasked
MOST_UPLOAD_MIB = 500
KEEP_MINUTES, MOST_KEEP_MINUTES = 10.0, 525_600.0
SWEEP_SECONDS = 15.0
ROOT_PATH = re.compile(r"(https?://[^/?#\s]+)?(/[\w.~%-]+)*/?", re.ASCII)


def parser(prog: str) -> argparse.ArgumentParser:
    """The arguments of the app; `prog` is how it was called."""
    arguments = argparse.ArgumentParser(prog=prog, description="Chat with a video while it plays.")
    arguments.add_argument(
        "--model",
        default="auto",
        help="auto (default: the best that is on this machine), embedded, a checkpoint's folder, a name on the "
        "Hugging Face Hub, or openai:URL#NAME",
    )
    arguments.add_argument("--device", default=None, help="cpu, cuda:0, or cuda:0,cuda:1 for a copy each")
    arguments.add_argument(
        "--concurrency",
        type=int,
        default=None,
        metavar="N",
        help="requests that a model server gets at once (default: 8)",
    )
    arguments.add_argument("--thinking", **THINKING)
    arguments.add_argument("--preset", default="base", help=f"{', '.join(PRESETS)} (default: base)")
    arguments.add_argument(
        "--max-pictures", type=int, default=Options().max_pictures, help="in a prompt (default: %(default)s)"
    )
    arguments.add_argument(
        "--most-visitors",
        type=int,
        default=8,
        metavar="N",
        help="sessions at once; who comes next is refused with a reason (default: 8)",
    )
    arguments.add_argument(
        "--memory-mib",
        type=int,
        default=None,
        metavar="N",
        help="most that the memory of one session may take (default: chosen for machine, model and --most-visitors)",
    )
    _access_arguments(arguments)
    arguments.add_argument("--mcp", action="store_true", help="serve the calls of the API as MCP tools as well")
    return arguments


def _access_arguments(arguments: argparse.ArgumentParser) -> None:
    """Where the app listens, and who may do what there."""
    arguments.add_argument("--host", default=None, help="address to listen at (default: 127.0.0.1)")
    arguments.add_argument("--port", type=int, default=None, help="port to listen at (default: 7860)")
    arguments.add_argument(
        "--public",
        action="store_true",
        help="visitors may choose no model, folder, judge or budget; so it is on a Space, and wherever --host is not "
        "this machine alone",
    )
    arguments.add_argument(
        "--trust-network", action="store_true", help="all who can reach --host are the owner: they may choose all"
    )
    arguments.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which the app may be called, beside this machine's own and all addresses; .NAME: all below it",
    )
    arguments.add_argument(
        "--root-path",
        default=None,
        metavar="/PATH",
        help="where a reverse proxy shows the app, if not at the top of its site (default: $GRADIO_ROOT_PATH)",
    )
    arguments.add_argument(
        "--keep-minutes",
        type=float,
        default=KEEP_MINUTES,
        metavar="N",
        help="a session whose connection breaks is kept so long, for its page to come back (default: %(default)s); a "
        "minute while others wait for its place",
    )
    arguments.add_argument(
        "--max-upload",
        type=int,
        default=MOST_UPLOAD_MIB,
        metavar="MIB",
        help="size of an uploaded file at most (default: %(default)s)",
    )


def build(sessions: SessionManager, preset: str) -> gr.Blocks:
    """The page."""
    import gradio as gr

    from evaluation.tab import EvaluationTab
    from streamchat.ui.api import Api
    from streamchat.ui.page import Page
    from streamchat.ui.settings import SettingsPanel
    from streamchat.ui.tab import WatchTab
    from streamchat.ui.theme import TITLE

    blocks: gr.Blocks
    with Page(title=TITLE, fill_width=True) as blocks:
        gr.HTML(
            f"<h1>{TITLE}</h1><p>Chat with a video while it plays. Answers cite their moments.</p>", elem_id="sc-head"
        )
        with gr.Tabs():
            with gr.Tab("Watch"):
                WatchTab(sessions)
            with gr.Tab("Benchmark"):
                EvaluationTab(sessions.model, sessions.options.memory_bytes, public=sessions.public)
        SettingsPanel(sessions, preset)
        Api(sessions)
    return blocks


def command() -> int:
    """The command `streamchat`: `streamchat app ...` is the app, anything else `python -m streamchat`."""
    if sys.argv[1:2] == ["app"]:
        run(sys.argv[2:], "streamchat app")
    from streamchat.__main__ import main

    return main(prog="streamchat")


def run(argv: Sequence[str], prog: str = "python app.py") -> NoReturn:
    """Serve the app until it is asked to end, and end the process with the exit code."""
    show_what_can_be_shown()
    try:
        code = serve(parser(prog).parse_args(argv))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a model that is still being loaded can neither be stopped nor left behind by an ordinary exit


def options_of(arguments: argparse.Namespace) -> Options:
    """The options with which sessions begin; raises InputError for those out of their limits."""
    memory_bytes = mebibytes(arguments.memory_mib)
    return Options.preset(arguments.preset, max_pictures=arguments.max_pictures, memory_bytes=memory_bytes)


def check(arguments: argparse.Namespace) -> None:
    """Raise InputError for what cannot be served, before seconds go by in loading libraries."""
    options_of(arguments)
    if arguments.port is not None and not 1 <= arguments.port <= 65535:
        raise InputError(f"--port must be from 1 to 65535, got {arguments.port}")
    if arguments.max_upload < 1:
        raise InputError(f"--max-upload must be 1 or more, got {arguments.max_upload}")
    if not 0 < arguments.keep_minutes < MOST_KEEP_MINUTES:
        raise InputError(f"--keep-minutes must be more than 0 and less than a year, got {arguments.keep_minutes}")
    if arguments.root_path is not None and not ROOT_PATH.fullmatch(arguments.root_path):
        raise InputError(f"--root-path is a path such as /streamchat, or a whole URL, got {arguments.root_path!r}")
    if arguments.most_visitors < 1:
        raise InputError(f"--most-visitors must be 1 or more, got {arguments.most_visitors}")
    from streamchat.models import REMOTE, check_model_name

    check_model_name(arguments.model)
    remote = arguments.model.startswith(f"{REMOTE}:")
    if arguments.concurrency is not None and not (remote and arguments.concurrency >= 1):
        raise InputError(
            f"--concurrency is 1 or more, of a model server ({REMOTE}:URL#NAME), got {arguments.concurrency} with the "
            f"model {arguments.model!r}"
        )


def check_free(host: str, port: int) -> None:
    """Raise InputError if nothing can listen at an address; between now and then another program may still take it."""
    try:
        with socket.create_server((host.strip("[]"), port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise InputError(f"cannot listen on port {port}: {error}; choose another with --port") from None


def serve(arguments: argparse.Namespace) -> int:
    """Check the arguments, then serve; raises InputError for a bad one."""
    check(arguments)
    check_proxies()
    keep_direct(*filter(None, (arguments.host,)))
    if arguments.port is not None:
        check_free(arguments.host or "127.0.0.1", arguments.port)
    from streamchat.ui import uploads

    folder = uploads.made()
    try:
        return _serve(arguments, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(arguments: argparse.Namespace, uploads: Path) -> int:
    sessions = _sessions(arguments)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    page = build(sessions, arguments.preset)
    try:
        _, address, _ = page.launch(**_settings(arguments, sessions, uploads))
    except OSError as error:  # such as a port that is taken
        raise InputError(f"cannot listen on port {arguments.port}: {error}; choose another with --port") from None
    print(f"StreamChat is at {address} (Ctrl-C ends it)", flush=True)
    while not ending.wait(SWEEP_SECONDS):
        sessions.sweep()
    sessions.close_all()
    page.close(verbose=False)
    return 0


def _sessions(arguments: argparse.Namespace) -> SessionManager:
    """What holds the sessions of all visitors, and the model."""
    from streamchat.ui.access import is_public
    from streamchat.ui.session_manager import SessionManager
    from streamchat.ui.shared_model import SharedModel

    return SessionManager(
        SharedModel(arguments.model, arguments.device, arguments.concurrency, thinking=arguments.thinking == "on"),
        options_of(arguments),
        arguments.most_visitors,
        keep_seconds=60 * arguments.keep_minutes,
        public=is_public(arguments.host, public=arguments.public, trusts_network=arguments.trust_network),
    )


def _settings(arguments: argparse.Namespace, sessions: SessionManager, uploads: Path) -> dict[str, Any]:
    """How Gradio is to serve."""
    from starlette.middleware import Middleware

    from streamchat.ui.examples import data_folder
    from streamchat.ui.guard import Guard
    from streamchat.ui.hosts import OwnHosts, own_names
    from streamchat.ui.theme import HEAD, css, theme

    guard = Middleware(
        Guard,
        most_visitors=arguments.most_visitors,
        connected=sessions.presence.connected,
        goodbye=sessions.goodbye,
        uploads=uploads,
        most_upload_bytes=arguments.max_upload * MEBIBYTE * arguments.most_visitors,
    )
    hosts = Middleware(OwnHosts, names=own_names(arguments.allow_host), trusted=arguments.allow_host)
    return {
        "server_name": arguments.host,
        "server_port": arguments.port,
        "root_path": arguments.root_path,
        "app_kwargs": {"middleware": [hosts, guard]},
        "max_file_size": f"{arguments.max_upload}mb",
        "theme": theme(),
        "css": css(),
        "head": HEAD,
        "allowed_paths": [str(data_folder())],
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": arguments.mcp,
        "footer_links": [],
        "prevent_thread_lock": True,
        "quiet": True,
    }
