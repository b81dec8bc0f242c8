"""What a server takes of a request, learned from what it refuses: once each, and then never sent again."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from streamchat.models.base import Message, parts_of
from streamchat.models.openai.server import LENGTH, NEWER_LENGTH, RefusedError

log = logging.getLogger(__name__)

OPTIONAL = ("seed", "temperature", "chat_template_kwargs", "reasoning_effort")
NOT_TAKEN = re.compile(
    r"unsupported|not support|unknown|unexpected|unrecogni[sz]ed|extra|not (?:allowed|permitted|valid)|invalid|"
    r"does not (?:take|accept)|only the default",
    re.IGNORECASE,
)
NO_SYSTEM = re.compile(r"system.{0,20}(?:role|message|prompt|instruction)|(?:role|roles).{0,40}system", re.IGNORECASE)
MOST_LESSONS = 6  # in a row, for one request
THOUGHTS_OFF: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"}


class Parameters:
    """The form of requests to one server."""

    def __init__(self, *, thinking: bool = True) -> None:
        self._left_out: set[str] = set()
        self._newer_length = False
        self._system = True
        self._more: dict[str, Any] = {} if thinking else dict(THOUGHTS_OFF)

    def settings(self, *, max_new_tokens: int, temperature: float, seed: int) -> dict[str, Any]:
        """The settings of a request by their names."""
        length = NEWER_LENGTH if self._newer_length else LENGTH
        all_of_them = {length: max_new_tokens, "temperature": temperature, "seed": seed}
        body = {name: value for name, value in self._more.items() if name not in self._left_out}
        kept = {name: value for name, value in all_of_them.items() if name not in self._left_out}
        return {**kept, "extra_body": body} if body else kept

    def messages(self, messages: Sequence[Message]) -> list[Message]:
        """The messages of a request: where a system message is refused, the first of the user begins with it."""
        if self._system or messages[0]["role"] != "system" or len(messages) < 2:
            return list(messages)
        system, first = messages[0], messages[1]
        parts = [*parts_of(system), *parts_of(first)]
        return [{"role": first["role"], "content": parts}, *messages[2:]]

    def learn(self, refusal: RefusedError) -> bool:
        """Take from a refusal what the server does not take; False if it is not about that."""
        report = refusal.report
        if not self._newer_length and NEWER_LENGTH in report:
            self._newer_length = True
            return self._noted(f"takes {NEWER_LENGTH} in place of {LENGTH}")
        for name in OPTIONAL:
            named = refusal.parameter == name or re.search(rf"\b{name}\b", report)
            if named and name not in self._left_out and (refusal.parameter == name or NOT_TAKEN.search(report)):
                self._left_out.add(name)
                return self._noted(f"takes no {name}")
        if self._system and NO_SYSTEM.search(report):
            self._system = False
            return self._noted("takes no system message")
        return False

    @staticmethod
    def _noted(what: str) -> bool:
        log.warning("the model server %s: it is sent accordingly from now on", what)
        return True
