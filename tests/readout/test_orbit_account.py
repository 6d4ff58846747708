"""Whatever happens between board and readout: an orbit is stored under its number, or counted."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from board_truth import EPOCH_ORBITS, Chain, flipped
from l1scout.readout.segment_note import ReadoutPosition

PLACE = st.floats(0, 1, exclude_max=True)
FAULT = st.one_of(
    st.just(("good",)),
    st.just(("lost",)),
    st.just(("twice",)),
    st.tuples(st.just("flipped"), PLACE, st.integers(0, 7)),
    st.tuples(st.just("cut"), PLACE),
    st.tuples(st.just("late"), st.integers(1, 5)),
    st.tuples(st.just("dropped"), st.integers(1, 40)),
    st.tuples(st.just("idle"), st.integers(1, 1 << 20)),
    st.just(("killed",)),
    st.tuples(st.just("again"), st.none() | st.integers(0, 1000)),
)
"""What happens with the next packet, or before it."""


def send(chain, sent, fault):
    """Let the board send a packet, and a fault happen."""
    kind, board = fault[0], chain.board
    if kind == "dropped":
        board.drop(fault[1])
    elif kind == "idle":
        board.number += fault[1]
    elif kind == "again":
        board.restart(fault[1])
    packet = board.packet(4)
    sent.append(packet)
    if kind == "flipped":
        packet = flipped(packet, *fault[1:])
    elif kind == "cut":
        packet = packet[: int(fault[1] * len(packet))]
        chain.skip(len(packet))
        return
    if kind != "lost":
        chain.feed(packet)
    if kind == "twice":
        chain.feed(packet)
    elif kind == "late":
        chain.feed(sent[-1 - min(fault[1], len(sent) - 1)])
    elif kind == "killed":
        chain.kill()


@given(
    st.sampled_from([0, 1000, EPOCH_ORBITS - 50]), st.lists(st.tuples(st.integers(2, 5), FAULT), max_size=12)
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_orbit_is_stored_or_counted(first, faults):
    """Faults of all kinds, with at least two good packets between them."""
    chain, sent = Chain(first), []
    told, idle = 0, 0
    for good, fault in [*faults, (3, ("good",))]:
        for _ in range(good):
            send(chain, sent, ("good",))
        if fault == ("again", None) and chain.board.number % EPOCH_ORBITS < 100:
            fault = ("good",)  # a board that starts at 0 twice within a few packets: nothing tells
        if fault[0] == "again":
            told += chain.board.sent
            idle += chain.board.number_left if fault[1] is None else fault[1]
        send(chain, sent, fault)
    for _ in range(3):
        send(chain, sent, ("good",))
    told += chain.board.sent
    outcome = chain.finish()
    assert outcome.misplaced == []
    numbers = [number for number, _ in outcome.stored]
    assert numbers == sorted(set(numbers))
    assert outcome.counts["orbits"] == len(numbers)
    assert outcome.accounted == told + idle


def test_the_last_orbit_counts_on_over_epochs():
    """Lag and the first orbit of a board that is started again are worked out from it."""
    assert ReadoutPosition().absolute_orbit == -1
    assert ReadoutPosition(epoch=2, last_orbit=5).absolute_orbit == (2 << 31) + 5


def test_note_lost_before_a_new_epoch():
    """What its segment had missed follows from those on both sides, though the numbers wrap between."""
    chain = Chain(first=EPOCH_ORBITS - 25, limit=10)
    for arrives in (True, True, True, False, True, True, True):
        packet = chain.board.packet(5)
        if arrives:
            chain.feed(packet)
    (before,) = chain.folder.glob("run*_index000002.raw.json")
    before.unlink()
    chain.kill()
    outcome = chain.finish()
    assert (outcome.counts["missed"], outcome.counts["dropped"], outcome.accounted) == (5, 0, 35)
