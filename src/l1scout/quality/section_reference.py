"""What a lumisection is compared with: the sum of earlier ones."""

from collections import deque

import numpy as np
from numpy.typing import NDArray


class SectionReference:
    """The sum of earlier lumisections.

    Parameters
    ----------
    keep : int, optional
        Newest ones that count; all if None.
    """

    def __init__(self, keep: int | None) -> None:
        self._keep = keep
        self.restart()

    def restart(self) -> None:
        """Forget all."""
        self.counts: NDArray[np.int64] | None = None
        self.orbits = self.sections = 0
        self._newest: deque[tuple[NDArray[np.int64], int]] = deque()

    def add(self, counts: NDArray[np.int64], orbits: int) -> None:
        """Add a lumisection."""
        self.counts = counts.copy() if self.counts is None else self.counts + counts
        self.orbits += orbits
        self.sections += 1
        if self._keep is None:
            return
        self._newest.append((counts.copy(), orbits))
        if len(self._newest) > self._keep:
            old, old_orbits = self._newest.popleft()
            self.counts -= old
            self.orbits -= old_orbits
            self.sections -= 1
