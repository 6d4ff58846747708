"""Numbers in the documents of the chain, with their limits, and counts of objects by kind."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, Strict, StringConstraints

U16 = Annotated[int, Strict(), Field(ge=0, lt=1 << 16)]
U32 = Annotated[int, Strict(), Field(ge=0, lt=1 << 32)]
U63 = Annotated[int, Strict(), Field(ge=0, lt=1 << 63)]
I64 = Annotated[int, Strict(), Field(ge=-(1 << 63), lt=1 << 63)]
FileSize = Annotated[int, Strict(), Field(ge=0, le=1 << 40)]
Time = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]
Kind = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_-]{0,31}$")]
ObjectCounts = dict[Kind, U63]
"""Objects by kind, see `l1scout.formats.stream.Stream.counts`: each stream's own, and intermediate muons."""


def sum_counts(*counts: Mapping[str, int]) -> ObjectCounts:
    """Return the sum of objects of each kind."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


def objects_line(objects: Mapping[str, int]) -> str:
    """Return the objects of each kind in one line, such as ``muon 1,204, intermediate muon 903``."""
    return ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in objects.items())
