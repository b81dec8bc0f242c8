"""What this machine has to run a model on."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from streamchat.errors import InputError

MOST_DEVICES = 2  # one that answers, and one that sees and captions


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The device that a model would run on, and its memory."""

    device: str  # such as "cpu" or "cuda:0"
    title: str  # as people know it
    memory_bytes: int  # of the GPU, or else of the whole machine


def devices_of(device: str | None) -> list[torch.device]:
    """The devices of a text such as "cpu", "cuda:0" or "cuda:0,cuda:1"; by default the first GPU, or the CPU.

    Raises InputError for one that is not here.
    """
    here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        here.append("mps")
    if device is None:
        return [torch.device("cuda:0" if "cuda:0" in here else "cpu")]
    names = ["cuda:0" if name == "cuda" else name for name in device.split(",")]
    for name in names:
        if name not in here:
            raise InputError(f"there is no device {name!r}: choose of {', '.join(here)}, or two with a comma between")
    if len(names) > MOST_DEVICES:
        raise InputError(f"at most {MOST_DEVICES} devices can be used, got {len(names)}")
    return [torch.device(name) for name in names]


def this_machine(device: str | None = None) -> Machine:
    """What a model would run on here; of two GPUs, each of which holds a copy, the smaller one.

    Raises InputError for a device that is not here.
    """
    gpus = [one for one in devices_of(device) if one.type == "cuda"]
    if not gpus:
        return Machine(device="cpu", title="CPU", memory_bytes=psutil.virtual_memory().total)
    described = {str(one): torch.cuda.get_device_properties(one) for one in gpus}
    name, smallest = min(described.items(), key=lambda item: item[1].total_memory)
    return Machine(device=name, title=smallest.name, memory_bytes=smallest.total_memory)


def free_memory_bytes() -> int:
    """Memory that this machine can give to programs now, without swapping."""
    return int(psutil.virtual_memory().available)
