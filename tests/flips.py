"""Random bit flips in packets: every orbit is stored under its number, or counted.

python tests/flips.py [FLIPS] [SEED]
"""

import random
import sys
from collections import Counter
from functools import cache

from board_truth import Board, Chain, Outcome, flipped

PACKETS, ORBITS = 200, 4


@cache
def sent_packets() -> tuple[Board, list[bytes]]:
    """Return a board and its packets: 20 orbits are dropped in mid-run."""
    board, packets = Board(), []
    for k in range(PACKETS):
        if k == PACKETS // 2:
            board.drop(20)
        packets.append(board.packet(ORBITS))
    return board, packets


def flip_bits(flips: int, seed: int, *, beside: bool = False) -> tuple[Outcome, Board]:
    """Write the packets of a board to segments, with bits flipped in some of them.

    Parameters
    ----------
    flips : int
        Packets that are damaged, by one bit each, at random places; not the last two.
    seed : int
    beside : bool
        Whether two packets that follow each other may both be damaged.
    """
    random_ = random.Random(seed)
    board, packets = sent_packets()
    places = range(PACKETS - 2) if beside else range(seed % 2, PACKETS - 2, 2)
    damaged = set(random_.sample(places, flips))
    chain = Chain()
    chain.board = board
    for k, packet in enumerate(packets):
        chain.feed(flipped(packet, random_.random(), random_.randrange(8)) if k in damaged else packet)
    return chain.finish(), board


def faults(outcome: Outcome, board: Board, flips: int) -> list[str]:
    """Return what is wrong with what became of a run."""
    counts = outcome.counts
    return [
        what
        for what, wrong in (
            (f"misplaced: {outcome.misplaced}", bool(outcome.misplaced)),
            (f"{outcome.accounted} orbits accounted for, {board.sent} sent", outcome.accounted != board.sent),
            (f"{counts['dropped']} dropped, not {board.dropped}", counts["dropped"] != board.dropped),
            (f"{len(outcome.lost)} orbits lost by {flips} flips", len(outcome.lost) > ORBITS * flips),
        )
        if wrong
    ]


def campaign(flips: int, seed: int = 0, *, beside: bool = False) -> Counter[str]:
    """Flip bits in one run after the other; return what became of orbits, and how many runs were wrong."""
    total, done = Counter[str](), 0
    while done < flips:
        now = min(PACKETS // 4, flips - done)
        outcome, board = flip_bits(now, seed, beside=beside)
        total += outcome.counts
        for fault in faults(outcome, board, now):
            total["wrong"] += 1
            print(f"seed {seed}: {fault}", file=sys.stderr)
        total["lost"] += len(outcome.lost)
        total["flips"] += now
        done, seed = done + now, seed + 1
    return total


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]] + [10_000, 0]
    for beside in (False, True):
        print(f"in packets beside each other: {beside}:", dict(campaign(*arguments[:2], beside=beside)))
