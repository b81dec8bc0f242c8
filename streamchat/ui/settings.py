"""The side bar: preset, selection, budget, and how answers are made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from streamchat import plugin
from streamchat.errors import StreamChatError
from streamchat.options import MEBIBYTE, PRESETS, Options
from streamchat.ui.chat import warn
from streamchat.ui.session_manager import SessionManager

BUDGETS = (16, 65536)  # MiB, least and most that the side bar offers
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
AT_ONCE = '<p class="sc-hint">Used from your next question on.</p>'
NEXT = '<p class="sc-hint">Used from the next video on, and when the camera is started again: both then begin anew.</p>'


class SettingsPanel:
    """Layout and events of the side bar; made inside a `gr.Blocks`."""

    def __init__(self, sessions: SessionManager, preset: str) -> None:
        self._sessions = sessions
        with gr.Sidebar(open=False, label="Settings", position="left", elem_id="settings", width=300):
            self._of_answers(sessions.options)
            self._of_memory(sessions.options, preset)

    def _of_answers(self, options: Options) -> None:
        gr.HTML('<h2 class="sc-side">Answers</h2>')
        temperature = gr.Slider(
            0.0, 1.5, options.temperature, step=0.1, label="Temperature", info="0 always says the same"
        )
        seed = gr.Number(options.seed, label="Seed", precision=0, minimum=0)
        gr.HTML(AT_ONCE)
        gr.on([temperature.change, seed.change], self._tune, [temperature, seed], None, **QUIET)

    def _of_memory(self, options: Options, preset: str) -> None:
        gr.HTML('<h2 class="sc-side">Memory</h2>')
        preset_box = gr.Dropdown(list(PRESETS), value=preset, label="Preset", info="of the paper")
        selector = gr.Dropdown(
            list(plugin.names("streamchat.selectors")), value=options.selector, label="Frame selector"
        )
        threshold = gr.Slider(
            0.0,
            2.0,
            options.motion_threshold,
            step=0.01,
            label="Motion threshold",
            info="of optical_flow; a higher one keeps fewer frames",
        )
        budget = gr.Number(
            None if options.memory_bytes is None else options.memory_bytes // MEBIBYTE,
            label="Budget in MiB",
            info=f"of the memory, {BUDGETS[0]} to {BUDGETS[1]}; empty: chosen for this machine and model",
            precision=0,
            minimum=BUDGETS[0],
            maximum=BUDGETS[1],
            interactive=not self._sessions.public,
        )
        gr.HTML(NEXT)
        preset_box.change(
            lambda name: PRESETS[name]["motion_threshold"] if name in list(PRESETS) else gr.skip(),
            preset_box,
            threshold,
            **QUIET,
        )
        gr.on(
            [preset_box.change, selector.change, threshold.change, budget.change],
            self._choose,
            [preset_box, selector, threshold, budget],
            None,
            **QUIET,
        )

    def _tune(self, temperature: float, seed: float | None, request: gr.Request) -> None:
        """How the next answer is drawn."""
        visitor = str(request.session_hash)

        def tuned(options: Options) -> Options:
            return replace(options, temperature=float(temperature), seed=int(seed or 0))

        try:
            self._sessions.choose(visitor, tuned(self._sessions.options_of(visitor)))
            user_session = self._sessions.get(visitor)
            if user_session is not None:
                user_session.session.engine.options = tuned(user_session.session.engine.options)
        except StreamChatError as error:
            warn(error, title="This setting is not used")

    def _choose(self, preset: str, selector: str, threshold: float, budget: float | None, request: gr.Request) -> None:
        """What the next session begins with."""
        visitor = str(request.session_hash)
        now = self._sessions.options_of(visitor)
        chosen = None if budget is None else int(budget) * MEBIBYTE
        try:
            options = Options.preset(
                preset,
                selector=selector,
                motion_threshold=float(threshold),
                memory_bytes=self._sessions.options.memory_bytes if self._sessions.public else chosen,
                temperature=now.temperature,
                seed=now.seed,
            )
            self._sessions.choose(visitor, options)
        except StreamChatError as error:
            warn(error, title="This setting is not used")
