"""Small benchmarks of real videos, with questions of our own and the quirks of the real file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import videos

FILE = "streaming_bench_v0.3.json"


def point(time: Any, question: str, answer: str, kind: str) -> dict[str, Any]:
    return {"time": time, "question": question, "answer": answer, "class": kind}


def entries() -> list[dict[str, Any]]:
    """Two videos: one entry is not in time order and repeats a question; the other asks past the video's end."""
    return [
        {
            "info": {"video_path": "StreamBench/Ego/bikes.mp4", "class_1": "Ego", "class_2": "Street"},
            "breakpoint": [
                point(3, "What vehicles are there?", "A bicycle and a car.", "OS"),
                point(7, "Is there a person?", "Yes, a cyclist.", "SM"),
                point(5, "What is on the sign?", "TAXI", "Simple Factual"),
                point(7, "Is there a person?", "Yes, a cyclist.", "SM"),
            ],
        },
        {
            "info": {"video_path": "bunny.mp4", "video_name": "bunny", "class_1": "Movie", "class_2": "Animation"},
            "breakpoint": [
                point(2, "What animal is there?", "A rabbit.", "LM"),
                point(60, "What color is the grass?", "Green.", "KG"),
            ],
        },
    ]


def write(root: Path, content: Any | None = None) -> Path:
    """A root in the layout `<root>/Ego/` and `<root>/Movie/Movie/`, with a file that macOS leaves beside a video."""
    (root / "Ego").mkdir(parents=True)
    (root / "Movie" / "Movie").mkdir(parents=True)
    shutil.copy(videos.bikes(), root / "Ego" / "bikes.mp4")
    shutil.copy(videos.bigbuckbunny(), root / "Movie" / "Movie" / "bunny.mp4")
    (root / "Movie" / "._bunny.mp4").write_bytes(b"resource fork")
    (root / FILE).write_text(json.dumps(entries() if content is None else content))
    return root
