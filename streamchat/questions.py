"""What can be asked at all, whatever the model."""

from __future__ import annotations

from streamchat.errors import InputError


def check_question(question: str) -> None:
    """Raise InputError for a question without words, or with halves of characters, which no text can hold."""
    if not question.strip():
        raise InputError("the question is empty: write what you want to know about the video")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        half = question[error.start]
        raise InputError(
            f"the question holds half a character ({half!r}, number {error.start + 1}): write it anew"
        ) from None
