"""Which model suits a machine: a few that can be reasoned about, and the rule that takes one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streamchat.checkpoints.hub import size_text
from streamchat.checkpoints.machine import Machine

BUILT_IN = "embedded"
HALF = 2  # bytes of a weight; sizes are the parameters times this, and the Hub's own number is shown before a download


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model of the table."""

    repo: str  # its name on the Hub
    parameters: float
    licence: str
    needs_bytes: float  # of memory of a GPU, or of the whole machine if it runs on a CPU
    on_cpu: bool = False  # quick enough there to talk with
    by_name_only: bool = False  # never taken by itself

    @property
    def title(self) -> str:
        """Its name without the organisation's."""
        return self.repo.rpartition("/")[2]

    @property
    def weights_bytes(self) -> int:
        """About what a download fetches."""
        return round(self.parameters * HALF)

    @property
    def need(self) -> str:
        """What it needs, in words."""
        return f"{self.needs_bytes / 1e9:.0f} GB of {'memory' if self.on_cpu else 'GPU memory'}"

    def suits(self, machine: Machine) -> bool:
        """Whether the machine has what it needs."""
        return machine.memory_bytes >= self.needs_bytes and (self.on_cpu or machine.device != "cpu")


CATALOGUE = (  # the better, the later
    Entry(
        repo="HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        parameters=0.51e9,
        licence="Apache-2.0",
        needs_bytes=6e9,
        on_cpu=True,
    ),
    Entry(repo="HuggingFaceTB/SmolVLM2-2.2B-Instruct", parameters=2.25e9, licence="Apache-2.0", needs_bytes=8e9),
    Entry(repo="Qwen/Qwen3-VL-4B-Instruct", parameters=4.4e9, licence="Apache-2.0", needs_bytes=12e9),
    Entry(repo="lmms-lab/LongVA-7B-DPO", parameters=7.9e9, licence="see its page", needs_bytes=24e9, by_name_only=True),
    Entry(repo="Qwen/Qwen3-VL-8B-Instruct", parameters=8.8e9, licence="Apache-2.0", needs_bytes=24e9),
    Entry(repo="Qwen/Qwen3-VL-32B-Instruct", parameters=33e9, licence="Apache-2.0", needs_bytes=80e9),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen."""

    spec: str  # as `load_model` takes it
    reason: str  # one sentence for people
    better: Entry | None = None  # what would suit the machine better, if it were here


def choose(machine: Machine, is_here: Callable[[str], Path | None]) -> Choice:
    """The best model of the table that suits the machine and is on it, else the built-in one; asks no network.

    `is_here` gives the folder of a repository that was downloaded.
    """
    suitable = [entry for entry in CATALOGUE if entry.suits(machine) and not entry.by_name_only]
    best = suitable[-1] if suitable else None
    described = f"{machine.title}, {size_text(machine.memory_bytes)}"
    for entry in reversed(suitable):
        if is_here(entry.repo):
            reason = f"The best of those downloaded for this machine ({described})."
            return Choice(spec=entry.repo, reason=reason, better=best if best is not entry else None)
    missing = "no vision-language model that suits it is downloaded" if best else "no vision-language model suits it"
    return Choice(spec=BUILT_IN, reason=f"The built-in one, as on this machine ({described}) {missing}.", better=best)


def listing(machine: Machine, is_here: Callable[[str], Path | None]) -> str:
    """The table with what each model needs, its licence, and whether it is here and suits the machine."""
    rows = [("model", "needs", "licence", "", "")]
    for entry in CATALOGUE:
        here = "downloaded" if is_here(entry.repo) else f"about {size_text(entry.weights_bytes)}"
        rows.append((entry.repo, entry.need, entry.licence, here, "suits this machine" if entry.suits(machine) else ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", "Get one with: python -m streamchat --download MODEL"])
