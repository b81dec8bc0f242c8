"""Several processes that share one run, started by torchrun or `accelerate launch`.

A launcher takes the end of one process with an error for a crash, and ends all the others. So nobody leaves before all
are through, and only the first process speaks and gives the exit code.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from evaluation.runner import Share
from streamchat.errors import InputError, StreamChatError

LONGEST_WAIT = timedelta(days=30)  # of one process for another, whose share of the videos may be far longer

T = TypeVar("T")


class Alone:
    """The only process."""

    def __init__(self) -> None:
        self.share = Share()

    def device(self, wanted: str | None) -> str | None:
        """The device to run on: as it was asked for."""
        return wanted

    def together(self, work: Callable[[], T]) -> list[T]:
        """Do something, and give what came of it."""
        return [work()]

    def leave(self) -> None:
        """There is nobody to leave."""


class Team:
    """One process of several; those with a GPU each take their own."""

    def __init__(self) -> None:
        import torch
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list

        self._gpus = torch.cuda.device_count()
        # They exchange only words, so that no GPU needs to wait for another.
        self._state = PartialState(cpu=True, timeout=LONGEST_WAIT)
        (start,) = broadcast_object_list([Share().start])
        self.share = Share(rank=self._state.process_index, of=self._state.num_processes, start=start)

    def device(self, wanted: str | None) -> str | None:
        """The device to run on: as it was asked for, or a GPU of this process's own."""
        return f"cuda:{self._state.local_process_index % self._gpus}" if wanted is None and self._gpus else wanted

    def together(self, work: Callable[[], T]) -> list[T]:
        """Do something in every process, wait for all, and give what came of it in each.

        If it failed in any, the first process raises that error, and all others end quietly, without one.
        """
        outcome: tuple[T | None, Exception | None]
        try:
            outcome = work(), None
        except Exception as error:
            outcome = None, error
        outcomes = self._exchanged(outcome[0], outcome[1])
        errors = [(rank, kind, said) for rank, (_, kind, said) in enumerate(outcomes) if kind is not None]
        if not errors:
            return [found for found, _, _ in outcomes]
        self.leave()
        if outcome[1] is not None:
            raise outcome[1]
        rank, kind, said = errors[0]
        raise kind(f"process {rank}: {said}")

    def _exchanged(self, found: T | None, error: Exception | None) -> list[tuple[Any, type[Exception] | None, str]]:
        """What came of the work in each process, or the kind of its error and what it says."""
        from accelerate.utils import gather_object

        kind = InputError if isinstance(error, InputError) else StreamChatError
        said = str(error) if isinstance(error, StreamChatError) else f"{type(error).__name__}: {error}"
        gathered: list[Any] = gather_object([(found, kind if error else None, said)])
        return gathered

    def leave(self) -> None:
        """End here, without an error, in all processes but the first, which goes on alone.

        When the first one gives an error, the launcher ends the others, and reports them as failed too. So they ignore
        that, and are gone at once: taking down all that a process has imported takes seconds.
        """
        if self.share.rank:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._state.wait_for_everyone()
        self._state.destroy_process_group()
        if self.share.rank:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


def join() -> Alone | Team:
    """This process's place among those that were started together."""
    return Alone() if int(os.environ.get("WORLD_SIZE", "1")) == 1 else Team()
