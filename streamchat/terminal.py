"""Output in terminals of any encoding: what theirs cannot show never ends a program."""

from __future__ import annotations

import json
import sys
from typing import Any


def show_what_can_be_shown() -> None:
    """From now on, letters that an output's encoding lacks are shown as question marks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, escaped if its encoding lacks a letter of it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    print(text)
