"""A language model on an OpenAI-compatible server as judge: `openai:URL#NAME`; the key is OPENAI_API_KEY."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.judges.base import OWN_PROMPT, Messages, Prompt, PromptedJudge
from streamchat.models.openai.server import Server, parse_address
from streamchat.models.scheduler import NEVER

REPLY_TOKENS = 64


class OpenAIJudge(PromptedJudge):
    """Asks one answer after the other, so that a failure loses only one."""

    batch = 1

    def __init__(self, argument: str, prompt: Prompt = OWN_PROMPT) -> None:
        url, name = parse_address(argument)
        self._server = Server(url)
        self._model = self._server.choose(name).name
        self.prompt = prompt
        self.name = f"{self._model} at {self._server.host} ({prompt.name})"

    def reply(self, conversations: Sequence[Messages]) -> list[str]:
        """What the model says to each conversation; StreamChatError if the server fails."""
        settings = {"max_tokens": REPLY_TOKENS, "temperature": 0.0, "seed": 0}
        return ["".join(self._server.stream(self._model, messages, NEVER, **settings)) for messages in conversations]


def build(argument: str = "", prompt: Prompt | None = None) -> OpenAIJudge:
    """The judge; InputError for what is not URL#NAME, StreamChatError if the server does not answer."""
    return OpenAIJudge(argument, prompt or OWN_PROMPT)
