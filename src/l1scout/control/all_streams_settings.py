"""Settings of a chain with simulated boards of several streams: ``l1scout run --streams``."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from l1scout.access import parse_address
from l1scout.errors import InputError, printable
from l1scout.settings import Settings

SIMULATED_ORBITS = 40
"""Orbits that are simulated if the settings do not say how many."""
_PORTS_ABOVE = 10
"""The readouts listen from this many ports above that of the settings on."""


class BoardOfStreams(NamedTuple):
    """A board: wire format, first source id, how many, and which orbits it sends."""

    wire_format: str
    source: int
    source_count: int = 1
    keep_orbits: int = 1
    of_orbits: int = 1


BOARDS: Mapping[str, BoardOfStreams] = {
    "gmt": BoardOfStreams("run3", 1),
    "calo": BoardOfStreams("objects", 22, 4),
    "bmtf": BoardOfStreams("objects", 10, 12),
    "gt": BoardOfStreams("objects", 4),
    "towers": BoardOfStreams("objects", 32, 1, 2, 9),
}
"""By the name of the source: muons; jets, e/gamma, sums and taus; stubs; decisions of the Global Trigger;
towers of 2 in 9 orbits, as CMS recorded them in 2026."""


def chosen_boards(names: Iterable[str], option: str) -> list[str]:
    """Return names of `BOARDS`, all for ``all`` (InputError, with the option, if one is unknown)."""
    chosen = list(dict.fromkeys(name.strip() for name in names))
    if chosen == ["all"]:
        return list(BOARDS)
    if unknown := [name for name in chosen if name not in BOARDS]:
        msg = f"{option}: no {printable(unknown[0])!r}; choose all, or some of {', '.join(BOARDS)}"
        raise InputError(msg)
    return chosen


def settings_of_streams(names: Iterable[str], given: Settings) -> list[str]:
    """Return settings, as ``name=value``, of a board and a readout for each of some names of `BOARDS`.

    Raises
    ------
    InputError
        If a name is unknown, or the settings have sources of their own.
    """
    chosen = chosen_boards(names, "--streams")
    if given.sources:
        msg = "--streams makes the sources: leave out those of the settings, or the option"
        raise InputError(msg)
    made = []
    if not given.board.simulate:
        made.append(f"board.simulate={SIMULATED_ORBITS}")
    if given.board.activity == "none":
        made.append("board.activity=2018")
    host, port = parse_address(given.readout.listen)
    for k, name in enumerate(chosen):
        board, source = BOARDS[name], f"sources.{name}"
        made += [
            f"{source}.readout.listen={host}:{port + _PORTS_ABOVE + k}",
            f"{source}.readout.wire_format={board.wire_format}",
            f"{source}.readout.source={board.source}",
            f"{source}.readout.source_count={board.source_count}",
            f"{source}.board.keep_orbits={board.keep_orbits}",
            f"{source}.board.of_orbits={board.of_orbits}",
        ]
    return made
