"""The rows of an archive as muons, without the words of their records."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.layout import Field
from l1scout.formats.streams.muon import MUON_2018, MuonWords, is_intermediate
from l1scout.io.archive_rows import MAX_MUONS, arrange
from l1scout.jit import kernel

_STATION_ETA = MUON_2018["hwEta"]


@kernel
def _list_muons(first: Any, second: Any, twin: Any, counts: Any, row: Any, marks: Any) -> Any:
    """List the muons of records: row and marks (twin, second) of each; their number, -1 if impossible."""
    is_twin, is_second = marks
    end, rows = 0, second.size
    rows_of, twins = np.zeros(MAX_MUONS, np.int64), np.zeros(MAX_MUONS, np.bool_)
    for r in range(first.size):
        k = first[r]
        last = first[r + 1] if r + 1 < first.size else rows
        if last - k == 1 and second[k] == 0 and (twin[k] == 0 or twin[k] == 2):  # nearly all
            row[end] = k
            end += 1
            counts[r] = 1
            if twin[k] != 0:
                row[end], is_twin[end] = k, True
                end += 1
                counts[r] = 2
            continue
        total, n1 = arrange(k, last, second, twin, rows_of, twins)
        if total < 0:
            return -1
        for j in range(total):
            row[end], is_twin[end], is_second[end] = rows_of[j], twins[j], j >= n1
            end += 1
        counts[r] = total
    return end


def to_muons(
    columns: Mapping[str, NDArray[Any]], first: NDArray[np.int64], form: MuonWords
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.int16]]]:
    """Make the muons of records of rows, as `formats.streams.muon.decode_records` would of the words.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (rows,)
        Of the types that `to_rows` gives, ``hwEta`` and ``hwPhi`` among them.
    first : ndarray of int64, shape (records,)
        First row of each record, from 0 on and rising.
    form : MuonWords

    Returns
    -------
    row : ndarray of int64, shape (muons,)
    counts : ndarray of int64, shape (records,)
    muons : dict of str to ndarray of int16, shape (muons,)

    Raises
    ------
    InputError
        If no records can have such rows.
    """
    second, twin = columns["second"], columns["twin"]
    most = len(second) + int(np.count_nonzero(twin))
    row, counts = np.zeros(most, np.int64), np.zeros(first.size, np.int64)
    is_twin, is_second = np.zeros((2, most), np.bool_)
    n = int(_list_muons(first, second, twin, counts, row, (is_twin, is_second)))
    fields = [f for f in (*form.muon.fields, _STATION_ETA) if f.name in columns]
    wrong = [f.name for f in fields if not _fits(columns[f.name], f)]
    if n != most or wrong:
        msg = f"rows that are no records{': ' * bool(wrong)}{', '.join(wrong)}"
        raise InputError(msg)
    muons = {f.name: columns[f.name][row] for f in form.muon.fields if f.name in columns}
    muons |= {f.name: np.zeros(n, np.int16) for f in form.muon.fields if f.name not in columns}
    for name in ("hwEtaAtVtx", "tfMuonIndex"):
        muons[name][is_twin] = 0
    muons["second"] = is_second.astype(np.int16)
    if form.extra is not None:
        muons["intermediate"] = (is_twin | (columns["intermediate"] != 0)[row]).astype(np.int16)
        muons["hwEta"] = columns["hwEta"][row]
    else:
        muons["intermediate"] = is_intermediate(muons).astype(np.int16)
    return row, counts, muons


def _fits(values: NDArray[Any], f: Field) -> bool:
    """Return whether all values can be those of a field."""
    return not values.size or bool(values.min() >= f.low and values.max() <= f.high)
