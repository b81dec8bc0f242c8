"""What can be asked at all, whatever the model."""

from __future__ import annotations

from streamchat.errors import InputError

MOST_CHARACTERS = 20_000  # of a question: some 5,000 tokens


def check_question(question: str) -> None:
    """Raise InputError for a question without words, too long, or with halves of characters, which no text can hold."""
    if not isinstance(question, str):
        raise InputError(f"a question is text, got {type(question).__name__}")
    if len(question) > MOST_CHARACTERS:
        raise InputError(f"a question may have {MOST_CHARACTERS} characters, got {len(question)}: ask with fewer words")
    if not question.strip():
        raise InputError("the question is empty: write what you want to know about the video")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        half = question[error.start]
        raise InputError(
            f"the question holds half a character ({half!r}, number {error.start + 1}): write it anew"
        ) from None
