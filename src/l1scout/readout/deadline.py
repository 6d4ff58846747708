"""The one limit on how long the end of a run may take, whatever it waits for."""

import math
import time
from collections.abc import Callable

_LAST_PART = 0.2
_LAST_PART_S = 2.0


class Deadline:
    """Time by which readout must have ended; it begins to run when readout is asked to stop.

    It takes no locks: signal handlers may use it.

    Parameters
    ----------
    seconds : float
    clock : callable
        Seconds that never go back.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last_part = min(_LAST_PART * seconds, _LAST_PART_S)
        self._end = math.inf

    def began(self) -> bool:
        """Say whether it runs."""
        return self._end < math.inf

    def begin(self) -> None:
        """Let it run, if it does not yet."""
        if not self.began():
            self._end = self._clock() + self._seconds

    def expire(self) -> None:
        """Let it be over, now."""
        self._end = -math.inf

    def left(self) -> float:
        """Return the seconds that are left; infinity if it does not run yet."""
        return max(self._end - self._clock(), 0.0)

    def over(self) -> bool:
        """Say whether readout must end at once."""
        return self.left() == 0

    def close_to_its_end(self) -> bool:
        """Say whether what is left is for counting what nobody will write any more, and for the last note."""
        return self.left() <= self._last_part
