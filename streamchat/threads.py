"""How many threads numeric libraries may take, and which of ours give way."""

from __future__ import annotations

import os
import sys
import threading

NICENESS = 10  # of work that can wait


def compute_threads() -> int:
    """Threads for one numeric library: every core but one, which stays free for the reader of the stream.

    PyTorch and ONNX Runtime each keep a pool of their own; with a thread a core in both, they starve the reader.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def limit_torch_threads() -> None:
    """Hold PyTorch to `compute_threads()` threads on the CPU."""
    import torch

    torch.set_num_threads(compute_threads())


def give_way() -> None:
    """Let this thread's work wait for what others do, where a thread has a niceness of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
