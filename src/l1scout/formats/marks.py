"""What a board states of an orbit beside its data: bits that real hardware leaves unused.

The same bits are in the headers of orbits in Run-3 packets (word ``flags``), in the trailers of packets
(highest bits of the first counter) and in the frames of ``.raw`` files (highest bits of ``flags``). Data of
programs and boards that state nothing have none of them: whether they are simulated is then unknown, and is
not inferred. Zero-suppressed records and Phase-2 events (native64) have no bits for them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

REPEATED = 1
"""The orbit repeats the content of an earlier one (`board.repeat`)."""
SIMULATED = 2
"""The orbit is simulated."""
REAL = 4
"""The orbit comes from the detector."""
MARK_BITS = 3
ALL_MARKS = (1 << MARK_BITS) - 1


def origin_mark(simulated: bool | None) -> int:
    """Return the mark of simulated (True), real (False) or unknown (None) orbits."""
    return 0 if simulated is None else SIMULATED if simulated else REAL


def stated_origin(marks: NDArray[Any]) -> bool | None:
    """Tell of orbits with such marks: simulated if any is, real if all are, None if nothing says so."""
    if int(np.bitwise_or.reduce(marks)) & SIMULATED:
        return True
    return False if marks.size and int(np.bitwise_and.reduce(marks)) & REAL else None
