"""The fault table: what can go wrong, what becomes of it, what is said, and how it is made good.

Each row is data and a function. The rows of a chain get one that has sent two segments and a part of a
third; after the function the run is ended, and the store is compared with the truth orbit by orbit. Other
rows use the parts that they are about, with real files and sockets, and check the same for themselves.
"""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chain import RUN, Chain
from in_child.hooks import POINT_OUTCOMES, POINTS
from orbit_truth import OrbitTruth, compare_segments, stored_segments

SOME = -1
"""Orbits that are lost for certain; how many depends on the buffers of sockets."""
TRUTH = OrbitTruth(1, length=20, occupancy=0.01)
"""A packet that the board of these tests repeats."""
_IN_SEGMENTS = ("corrupt", "missed", "dropped")
_NOT_LOST = ("duplicate", "waiting_in_spool", "copied_and_deleted")


@dataclass(frozen=True)
class Fault:
    """A row.

    Parameters
    ----------
    name, stage, outcome : str
    message : str
        What the log, an alarm or the command says, with ``...`` for what differs; empty if nothing is said.
    recovery : str
    hurt : callable
        Makes it happen: gets a running chain, or an empty folder. What it returns is searched for the
        message, too.
    on_chain : bool
    lost : mapping of str to int
        Orbits that the account counts as lost.
    settings : mapping of str to object
        Of the chain.
    mounts : mapping of str to str
        Folders of the chain that are RAM disks of this size.
    clock_jumps : bool
        The time of day jumps by a day, forth and back, in all processes.
    """

    name: str
    stage: str
    outcome: str
    message: str
    recovery: str
    hurt: Callable[[Any], str | None]
    on_chain: bool = True
    lost: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    clock_jumps: bool = False

    @property
    def test_id(self) -> str:
        """Module and name of the function."""
        return f"{self.hurt.__module__.rpartition('.')[2]}-{self.hurt.__name__}"

    @property
    def line(self) -> str:
        """The row as Markdown."""
        said = f"`{self.message}`" if self.message else ""
        return f"| {self.name} | {self.stage} | {self.outcome} | {said} | {self.recovery} |"


FAULTS: list[Fault] = []


def chain_fault(
    name: str,
    stage: str,
    outcome: str,
    message: str = "",
    recovery: str = "by itself",
    *,
    lost: Mapping[str, int] | None = None,
    settings: Mapping[str, object] | None = None,
    mounts: Mapping[str, str] | None = None,
    clock_jumps: bool = False,
) -> Callable[[Callable[[Chain], str | None]], Callable[[Chain], str | None]]:
    """Add a row whose function hurts a running chain."""

    def add(hurt: Callable[[Chain], str | None]) -> Callable[[Chain], str | None]:
        row = (name, stage, outcome, message, recovery, hurt)
        FAULTS.append(Fault(*row, True, lost or {}, settings or {}, mounts or {}, clock_jumps))
        return hurt

    return add


def fault(
    name: str, stage: str, outcome: str, message: str = "", recovery: str = "by itself"
) -> Callable[[Callable[[Path], str | None]], Callable[[Path], str | None]]:
    """Add a row whose function does everything itself, in an empty folder."""

    def add(hurt: Callable[[Path], str | None]) -> Callable[[Path], str | None]:
        FAULTS.append(Fault(name, stage, outcome, message, recovery, hurt, on_chain=False))
        return hurt

    return add


def make_chain(folder: Path, **settings: object) -> Chain:
    """Return a chain whose orbits are those of `TRUTH`."""
    packets = folder / "packets.dat"
    packets.write_bytes(TRUTH.packets)
    chain = Chain(folder, packets, store__method="none")
    chain.settings |= settings
    return chain


def run_on_chain(row: Fault, folder: Path) -> str:
    """Run a row of a chain, end the run, and compare every orbit; return what was logged."""
    chain = make_chain(folder, **row.settings)
    chain.hooks["clock_jumps"] = row.clock_jumps
    mounted = []
    try:
        for name, size in row.mounts.items():
            mounted.append(folder / name)
            mount(folder / name, size)
        chain.begin()
        said = row.hurt(chain) or ""
        chain.finish()
        all_accounted(chain, row.lost)
        return chain.logs() + said
    finally:
        chain.close()
        for path in mounted:
            subprocess.run(["umount", "-l", path], check=True)


def all_accounted(
    chain: Chain,
    expected: Mapping[str, int],
    optional: Sequence[str] = (),
    passed: Sequence[range] | None = None,
) -> None:
    """Compare every orbit that has passed with the store, and what is lost with what is expected.

    Parameters
    ----------
    chain : Chain
    expected : mapping of str to int
        Orbits lost, by the name under which they are counted.
    optional : sequence of str
        Those of them of which there may be none.
    passed : sequence of range
        Orbits that have passed, if they are not all up to the last one that a board was to send.
    """
    stages = chain.account()
    assert not [w for s in stages for w in s.wrong]
    lost = {n: k for s in stages for n, k in s.counted.items() if k and n not in _NOT_LOST}
    assert lost.keys() | set(optional) == expected.keys() | set(optional), lost
    assert all(expected[name] in (n, SOME) for name, n in lost.items()), lost
    segments = list(stored_segments(chain.folder / "store", RUN))
    elsewhere = sum(n for name, n in lost.items() if name not in _IN_SEGMENTS)
    # the board may have dropped orbits after the last packet that it sent
    elsewhere += lost.get("dropped", 0) - sum(segment.dropped for segment, _ in segments)
    found = compare_segments(TRUTH, segments, passed or [range(chain.passed)], elsewhere)
    assert not found.wrong, found.wrong


def mount(folder: Path, size: str) -> None:
    """Mount a RAM disk of some size."""
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)]
    subprocess.run(options, check=True, capture_output=True)


def says(text: str, message: str) -> bool:
    """Say whether a text has the parts of a message, in order, whatever the line breaks."""
    at, plain = 0, " ".join(text.split())
    for part in filter(None, (p.strip() for p in message.split("..."))):
        at = plain.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def page() -> str:
    """Return the table as Markdown."""
    return "\n".join(
        [
            "# What can go wrong in the live chain, and what becomes of it",
            "",
            "Made by `python tests/live/test_chain_faults.py > docs/faults.md` from the rows that the tests",
            "run, with real processes, sockets and files. After each, every orbit is in the store once with",
            "its own muons, or is counted by the account of the run under the name that the row tells;",
            "nothing else is lost. Messages are in the log, the status or the output of the command; `...`",
            "stands for what differs.",
            "",
            "| fault | stage | outcome | message | recovery |",
            "|---|---|---|---|---|",
            *(row.line for row in FAULTS),
            *(
                f"| kill -9 {n} | {p.process} | {' | | '.join(POINT_OUTCOMES[p.process])} |"
                for n, p in POINTS.items()
            ),
            "",
        ]
    )
