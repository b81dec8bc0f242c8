"""Your own videos and questions, in a folder: `questions.jsonl` with an entry of StreamBench's form on each line.

{"info": {"video_path": "kitchen.mp4", "class_1": "Ego", "class_2": "Cooking"},
 "breakpoint": [{"time": 30, "question": "Where is the knife?", "answer": "On the board.", "class": "SM",
                 "evidence": [12.5, 14]}]}

`evidence`, which may be left out, is where the answer is to be seen, in seconds; then the report says of how many
questions it reached the prompt.
"""

from __future__ import annotations

from evaluation.benchmarks.streambench import StreamBench
from evaluation.samples import Choice


class OwnVideos(StreamBench):
    """StreamBench's form, with an entry a line."""

    name = "jsonl"
    questions = ("questions.jsonl", "*.jsonl")


def build(choice: Choice) -> OwnVideos:
    """The benchmark for the command line and the app."""
    return OwnVideos(choice)
