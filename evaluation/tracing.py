"""What a run was made with: kept beside its answers, so that every figure can be traced."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil
import torch

import streamchat
from evaluation.samples import Benchmark
from streamchat.checkpoints.stored import cached
from streamchat.models import HUB_NAME

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    *("accelerate", "av", "datasets", "decord", "decord2", "gradio", "numpy", "onnxruntime"),
    *("opencv-python-headless", "torch", "transformers"),
}


def about(benchmark: Benchmark) -> dict[str, Any]:
    """How much a run has to answer, and how much of the data was left out as unsound."""
    return {
        "questions": sum(len(sample.questions) for sample in benchmark.samples()),
        "problems": len(benchmark.problems),
    }


def start(processes: int) -> dict[str, Any]:
    """When, where and with what a run is begun or gone on with."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processes": processes,
        "streamchat": streamchat.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {one.name: one.version for one in distributions() if one.name in PACKAGES},
        "machine": _machine(),
    }


def revision_of(spec: str) -> str | None:
    """The commit of a model that was downloaded from the Hub; None for every other one."""
    folder = None if Path(spec).is_dir() or not HUB_NAME.fullmatch(spec) else cached(spec)
    return folder.name if folder else None


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def processor() -> str:
    """The name of the processor, where the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of this program, marked if files were changed since; None outside of a clone."""
    if not (ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None
