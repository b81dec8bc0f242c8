"""One word for one thing: words that the tree used to have for what the field has terms for are in no file of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The word that must not come back, and the one to use.
WORDS = {
    r"tak(e|es|en|ing)_in|(taken|taking) in(?! turn)|takes? in(?= (all|frames|the (rest|stream|video)))": "ingest",
    r"film(s|ed)?": "video",
    r"clues?": "RetrievedCaption",
    r"(un)?told": "emitted, covered, uncaptioned, notify, reported, version",
    r"patien(ce|t)\w*": "deadline, time_budget_seconds",
    r"look_(ahead|back)|looks_ahead": "prefetch, backfill",
    r"newest_known": "analyzed_until_seconds",
    r"make_way|_go_on|_ways": "pause_ingest, resume_ingest",
    r"_(tell|stack|form|summarize)(?=\()": "_notify, _ingest, _encode, _caption",
    r"stand_in(?=\()": "substitute_frame",
    r"standing[ _]questions?|MOST_STANDING": "alert",
    r"Speech|Prompter|_look(?=\()": "Decoder, PromptBuilder, encode_images",
    r"Seer|Sight|Eyes|glimpse[sd]?": "FrameAnalyzer, FrameAnalysis, Analyzer, representative frame",
    r"(replies|stories|telling|noticing|known|keeping|soaking|plain)\.py": "the file's new name",
    r"ByPicture|Case": "WeakFrameCache, QueryContext",
    r"Visit(ors)?(?=[(.\]])": "UserSession, SessionManager",
    r"lit": "highlighted",
    r"made_of|SeenOnce": "provenance, EncodeCache",
    r"(the|a|no|one) gate|gates?\.(slot|turn|let)": "scheduler",
    r"let(s|ting)? go of": "release",
    r"answers_from_tokens": "nothing: the core asks for no such thing",
    r"leaves first": "moments, summaries",
    r"colour\w*": "color",
}
# Words of people's questions, which are understood whatever they are, and texts that are not ours.
OF_OTHERS = {
    "streamchat/memory/text_index.py",
    "streamchat/models/embedded/lexicon.py",
    "streamchat/models/embedded/questions.py",
    "streamchat/picture_encoder/imagenet_labels.txt",
    "streamchat/retrieval/search.py",
    "streamchat/retrieval/times.py",
    "tests/test_embedded_answering.py",
    "tests/test_glossary.py",
    "tests/test_retrieval.py",
}


def texts() -> dict[str, str]:
    """Every text file of the tree, by its path."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    kept = [name for name in listed if name not in OF_OTHERS and not name.startswith("assets/")]
    found = {}
    for name in kept:
        data = (ROOT / name).read_bytes()
        if b"\0" not in data:
            found[name] = data.decode()
    return found


@pytest.mark.parametrize("word", WORDS)
def test_no_word_of_the_old_dialect_is_left(word: str) -> None:
    pattern = re.compile(rf"(?<![A-Za-z])({word})(?![A-Za-z])")
    left = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts().items()
        for number, line in enumerate([name, *text.splitlines()])
        if pattern.search(line)
    ]
    assert not left, f"use {WORDS[word]}:\n" + "\n".join(left)


def test_the_words_would_be_found() -> None:
    said = "a film, told patiently with a glimpse of Eyes; it takes in the rest"
    found = [word for word in WORDS if re.search(rf"(?<![A-Za-z])({word})(?![A-Za-z])", said)]
    assert len(found) == 4 + 1
