"""From messages to the token ids of a prompt, by the checkpoint's own chat template.

What people and models wrote is never read as control tokens: the template is rendered with marks in the place of texts,
and a text in which something looks like a control token is cut inside of it, each piece being tokenized by itself.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from streamchat.errors import StreamChatError
from streamchat.models.base import Message, parts_of

MARK = "\ue000{}\ue001"  # stands for a text; from Unicode's private area, and not seen by the tokenizer


class PromptBuilder:
    """Writes prompts for one checkpoint; its methods may be called from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, image_token_id: int) -> None:
        self._tokenizer = tokenizer
        self._turn = threading.Lock()  # a tokenizer cannot be used by two threads at once
        self._image_id = image_token_id
        self._image = str(tokenizer.convert_ids_to_tokens(image_token_id))
        self._before, self._after = _around_a_picture(tokenizer)
        control = sorted((token for token in tokenizer.get_added_vocab() if len(token) > 1), key=len, reverse=True)
        self._control = re.compile("(?=" + "|".join(map(re.escape, control)) + ")") if control else None

    def count(self, text: str) -> int:
        """How many tokens a text takes."""
        with self._turn:
            return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated ids, without control tokens."""
        with self._turn:
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def ids(self, messages: Sequence[Message], runs: Sequence[Sequence[int]]) -> list[int]:
        """Token ids of messages; the n-th image part becomes as many placeholders in a row as each of `runs[n]` says.

        Raises StreamChatError if the checkpoint's template cannot place texts and pictures in their order.
        """
        request = _Request(messages, [len(run) for run in runs])
        lengths = iter([length for run in runs for length in run])
        with self._turn:
            rendered = self._rendered(request)
            ids = self._begin(rendered)
            for piece in self._pieces(rendered, request.texts):
                for token in self._tokenizer(piece, add_special_tokens=False)["input_ids"]:
                    ids += [token] * (next(lengths) if token == self._image_id else 1)
        return ids

    def _begin(self, rendered: str) -> list[int]:
        """The token that begins every prompt, where the template leaves it to the tokenizer."""
        begins = self._tokenizer("")["input_ids"][:1] == [self._tokenizer.bos_token_id]
        written = begins and rendered.startswith(self._tokenizer.bos_token)
        return [self._tokenizer.bos_token_id] if begins and not written else []

    def _rendered(self, request: _Request) -> str:
        """The template's text, with marks for the texts and one image token for each run, all in their order."""
        wanted = request.order()
        for messages in request.ways_to_say_it(self._image):
            try:
                rendered = str(
                    self._tokenizer.apply_chat_template(
                        messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
                    )
                )
            except (TemplateError, TypeError, KeyError, IndexError, AttributeError):
                continue  # this template wants its content in another form
            found = re.findall(rf"\ue000(\d+)\ue001|({re.escape(self._image)})", rendered)
            if [int(number) if number else None for number, _ in found] == wanted:
                return rendered.replace(self._image, self._before + self._image + self._after)
        raise StreamChatError(
            "the checkpoint's chat template cannot place pictures between texts: take another checkpoint, "
            "or serve this one with vLLM and use --model openai:URL#NAME"
        )

    def _pieces(self, rendered: str, texts: Sequence[str]) -> list[str]:
        """The prompt in pieces to be tokenized one by one: cut only inside of what a text must not say."""
        pieces = [""]
        for number, part in enumerate(re.split(r"\ue000(\d+)\ue001", rendered)):
            if number % 2 == 0:
                pieces[-1] += part
                continue
            first, *others = self._cut(texts[int(part)])
            pieces[-1] += first
            pieces += others
        return pieces

    def _cut(self, text: str) -> list[str]:
        """A text, cut after the first character of whatever looks like a control token."""
        found = self._control.finditer(text) if self._control else []
        edges = [0, *(match.start() + 1 for match in found), len(text)]
        return [text[start:end] for start, end in pairwise(edges)]


@dataclass(slots=True)
class _Request:
    """Messages with marks in place of the texts, so that a template can be tried in several ways."""

    messages: Sequence[Message]
    counts: Sequence[int]  # of runs, for each image part
    texts: list[str] = field(default_factory=list)
    marked: list[tuple[str, list[str | None]]] = field(default_factory=list)  # role, and marks or None for a run

    def __post_init__(self) -> None:
        counts = iter(self.counts)
        for message in self.messages:
            content: list[str | None] = []
            for part in parts_of(message):
                if part["type"] == "image":
                    content += [None] * next(counts)
                else:
                    content.append(MARK.format(len(self.texts)))
                    self.texts.append(part["text"])
            self.marked.append((message["role"], content))

    def order(self) -> list[int | None]:
        """What must be found in the rendered text: the numbers of the texts, and None for each run, in order."""
        numbers = iter(range(len(self.texts)))
        return [None if item is None else next(numbers) for _, content in self.marked for item in content]

    def ways_to_say_it(self, image: str) -> Iterator[list[dict[str, Any]]]:
        """The messages in the forms that templates take, the most faithful first.

        Parts in their order; one text with the placeholders in it, for templates that put all pictures first; plain
        strings, for templates of text models. Each again without a system message, for those that know none.
        """
        for marked in (self.marked, self._without_system()):
            yield [{"role": role, "content": [_part(item) for item in content]} for role, content in marked]
            written = [(role, "".join(f"{image}\n" if item is None else item for item in c)) for role, c in marked]
            yield [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in written]
            yield [{"role": role, "content": text} for role, text in written]

    def _without_system(self) -> list[tuple[str, list[str | None]]]:
        if len(self.marked) < 2 or self.marked[0][0] != "system":
            return self.marked
        (_, system), (role, content), *others = self.marked
        return [(role, [*system, "\n", *content]), *others]


def _part(item: str | None) -> dict[str, str]:
    return {"type": "image"} if item is None else {"type": "text", "text": item}


def _around_a_picture(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """What a processor of the family writes before and after a picture that is one view."""
    if (start := getattr(tokenizer, "start_image_token", None)) is not None:  # InternVL
        return start, tokenizer.end_image_token
    if "<fake_token_around_image>" in tokenizer.get_added_vocab():  # Idefics3, SmolVLM
        return "<fake_token_around_image><global-img>", "<fake_token_around_image>"
    return "", ""
