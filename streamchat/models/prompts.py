"""All prompt text, and nothing else: what a chat model is asked."""

from __future__ import annotations

from collections.abc import Sequence

from streamchat.clock import time_range, timestamp
from streamchat.types import DialogueTurn, RetrievedCaption, Span

SYSTEM = (
    "You watch a video stream together with a person and talk with them about it. "
    "Pictures come with the time of the stream at which they were shown. "
    "Rely on what you are given; if it does not hold the answer, say so."
)
CAPTION = (
    "These are pictures of one stretch of a video, {span}. Say in one or two sentences what is to be seen and done."
)
SUMMARY = "These are descriptions of consecutive stretches of a video, in time order:\n{captions}\nSum them up briefly."
ALERT = (
    "These are pictures of one stretch of a video, {span}. Someone asked: {question}\n"
    "Is that to be seen here? Begin with yes or no; if yes, say in a few words what is to be seen."
)
DIALOGUE = "Earlier in this conversation:"
TURN = "[asked at {time}] Question: {question}\nAnswer: {answer}"
ROUNDS = "({rounds} rounds up to this moment, in short)"
ROUND = "[{time}] {question} – {answer}"
CAPTIONS = "What the video showed at the times that the question may be about, as noted then:"
OTHER_CAPTIONS = "What it showed at other times, in time order:"
CAPTION_LINE = "[{spans}] {text}"
SUMMARY_LINE = "[{spans}, in short] {text}"
STRETCH = "The question speaks of {span}."
MOMENT = "The question speaks of about {moment} ({span})."
PICTURES = "Pictures from the video, in time order:"
QUESTION = "It is now {time} in the stream. Answer this question directly and briefly: {question}"
MEMORY = "MEMORY"  # what a model says that needs more than the present
QUESTION_OR_MEMORY = (
    "It is now {time} in the stream, and these pictures show its last seconds. If they do not hold the answer to the "
    "question that follows, reply with the one word MEMORY, and you are given what was noted of the stream before. "
    "Otherwise answer it directly and briefly: {question}"
)


def numbered(texts: Sequence[str]) -> str:
    """Texts one below the other, numbered from 1."""
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def stretch_line(span: Span, moment_seconds: float | None) -> str:
    """The time that a question speaks of."""
    if moment_seconds is None:
        return STRETCH.format(span=time_range(span))
    return MOMENT.format(moment=timestamp(moment_seconds), span=time_range(span))


def label(span: Span) -> str:
    """What stands before a picture."""
    return f"\n[{time_range(span)}]"


def caption_line(captions: Sequence[RetrievedCaption]) -> str:
    """Retrieved captions that say the same, in time order, with the times that they speak of."""
    spans = ", ".join(time_range(one.span) for one in captions)
    line = CAPTION_LINE if captions[0].level == 0 else SUMMARY_LINE
    return line.format(spans=spans, text=captions[0].caption.text)


def turn_lines(turn: DialogueTurn) -> str:
    """A round of the dialogue with the time at which it was asked."""
    return TURN.format(time=timestamp(turn.asked_at_seconds), question=turn.question, answer=turn.answer)
