"""True times from the stamps of a stream, whose clock may jump, step back, wrap or be wrong for one picture.

Recordings that were joined, recorders that set their clock, and transport streams all have such stamps. Where the clock
jumps, what follows is moved so that the gap becomes the usual step; nothing is clamped, and no order is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

USUAL_STEP_SECONDS = 0.04  # between pictures of a stream that does not say its rate
LEAST_STEP_SECONDS = 1e-6  # less is no step but rounding, in clocks that count from long ago
LEAST_RATE, MOST_RATE = 0.5, 240.0  # frames a second that a header may name and be believed
MOST_GAP_SECONDS = 3600.0  # a still screen may be recorded as one picture for long
# Between pictures of broadcasts, whose clock is made anew by every recorder; as FFmpeg has it for these formats.
MOST_BROADCAST_GAP_SECONDS = 10.0


@dataclass(slots=True)
class Timeline:
    """The times of one stream's pictures; `jumps` counts where its clock was mended."""

    step_seconds: float
    most_gap_seconds: float
    jumps: int = 0
    _shown: float | None = None  # of the picture before
    _shift: float = 0.0  # from stamps to times

    @classmethod
    def of_rate(cls, rate: float | None, *, broadcast: bool) -> Timeline:
        """The timeline of a stream with so many pictures a second, as far as it says."""
        good = rate is not None and LEAST_RATE <= rate <= MOST_RATE
        return cls(
            1 / rate if good and rate else USUAL_STEP_SECONDS,
            MOST_BROADCAST_GAP_SECONDS if broadcast else MOST_GAP_SECONDS,
        )

    def placed(self, stamp: float | None, following: float | None) -> float:
        """The time of the next picture in seconds, from its stamp and that of the picture after it, if they are known.

        Times are strictly increasing.
        """
        if self._shown is None:
            self._shown = 0.0 if stamp is None else max(0.0, stamp)
            return self._shown
        usual = self._shown + self.step_seconds
        if stamp is None:
            self._shown = usual
        elif self._follows(stamp, self._shown):
            if following is not None and following <= stamp and self._follows(following, self._shown):
                self._stray(following)  # the next one goes on as if this one were not there
            else:
                self._shown = stamp + self._shift
        elif following is not None and self._follows(following, self._shown):
            self._stray(following)
        else:
            self.jumps += 1
            self._shift, self._shown = usual - stamp, usual
        return self._shown

    def _follows(self, stamp: float, shown: float) -> bool:
        """Whether a stamp is a little later than the picture before."""
        return LEAST_STEP_SECONDS <= stamp + self._shift - shown <= self.most_gap_seconds

    def _stray(self, following: float) -> None:
        """Place a picture whose own stamp is wrong between those around it."""
        assert self._shown is not None
        self.jumps += 1
        gap = following + self._shift - self._shown
        self._shown += min(self.step_seconds, gap / 2)


def timed(stamped: Iterable[tuple[float | None, T]], timeline: Timeline) -> Iterator[tuple[float, T]]:
    """Give every picture its time; one picture is held back until the stamp after it is known."""
    held: tuple[float | None, T] | None = None
    for pair in stamped:
        if held is not None:
            yield timeline.placed(held[0], pair[0]), held[1]
        held = pair
    if held is not None:
        yield timeline.placed(held[0], None), held[1]
