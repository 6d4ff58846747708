"""Count objects and crossings into the bins of histograms: one pass for what rows have, one per spectrum."""

from collections.abc import Callable
from typing import Any

from l1scout.jit import kernel


@kernel
def count_rows(
    orbit: Any, bx: Any, offsets: Any, keep: Any, by_bx: Any, occupied: Any, multiplicity: Any, gap: Any
) -> Any:
    """Count the kept objects of each row; return the number of pairs of kept objects within rows."""
    last_orbit, last_bx, n_pairs = -1, 0, 0
    for row in range(bx.size):
        n = 0
        for i in range(offsets[row], offsets[row + 1]):
            n += keep[i]
        if n == 0:
            continue
        at = bx[row]
        by_bx[at] += n
        occupied[at] += 1
        multiplicity[min(n, multiplicity.size - 1)] += 1
        n_pairs += n * (n - 1) // 2
        if orbit[row] == last_orbit:
            apart = at - last_bx
            if 1 <= apart <= gap.size:
                gap[apart - 1] += 1
        last_orbit, last_bx = orbit[row], at
    return n_pairs


@kernel
def count_values(column: Any, low: Any, table: Any, keep: Any, out: Any) -> None:
    """Count kept objects by the bin that a table gives to the value of a column."""
    for i in range(column.size):
        if keep[i]:
            k = column[i] - low
            if 0 <= k < table.size and table[k] >= 0:
                out[table[k]] += 1


@kernel
def count_pairs_of_values(
    column: Any, low: Any, table: Any, column2: Any, low2: Any, table2: Any, keep: Any, out: Any
) -> None:
    """Count kept objects by the bins of two columns; `out` has two dimensions."""
    for i in range(column.size):
        if keep[i]:
            k, j = column[i] - low, column2[i] - low2
            if 0 <= k < table.size and 0 <= j < table2.size and table[k] >= 0 and table2[j] >= 0:
                out[table[k], table2[j]] += 1


@kernel
def count_triples_of_values(
    column: Any,
    low: Any,
    table: Any,
    column2: Any,
    low2: Any,
    table2: Any,
    column3: Any,
    low3: Any,
    table3: Any,
    keep: Any,
    out: Any,
) -> None:
    """Count kept objects by the bins of three columns; `out` has three dimensions."""
    for i in range(column.size):
        if keep[i]:
            k, j, m = column[i] - low, column2[i] - low2, column3[i] - low3
            if 0 <= k < table.size and 0 <= j < table2.size and 0 <= m < table3.size:
                a, b, c = table[k], table2[j], table3[m]
                if a >= 0 and b >= 0 and c >= 0:
                    out[a, b, c] += 1


COUNT: dict[int, Callable[..., None]] = {
    1: count_values,
    2: count_pairs_of_values,
    3: count_triples_of_values,
}
"""By the number of axes."""


@kernel
def count_pt(pt: Any, keep: Any, out: Any) -> None:
    """Count kept objects by pT (GeV) in bins of 0.5 GeV from -0.5 GeV on; NaN is in the first one."""
    for i in range(pt.size):
        if keep[i]:
            step = 2.0 * float(pt[i]) + 1.0
            k = int(step) if 0.0 <= step < out.size else 0
            out[out.size - 1 if step >= out.size else k] += 1


@kernel
def kept_pairs(offsets: Any, keep: Any, out: Any) -> None:
    """Write the pairs of kept objects within rows: shape (2, pairs)."""
    n = 0
    for row in range(offsets.size - 1):
        if offsets[row + 1] - offsets[row] < 2:
            continue
        for i in range(offsets[row], offsets[row + 1]):
            if keep[i]:
                for j in range(i + 1, offsets[row + 1]):
                    if keep[j]:
                        out[0, n] = i
                        out[1, n] = j
                        n += 1
