"""How many threads numeric libraries may take."""

from __future__ import annotations

import os


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
