"""The states of a run: only what makes sense can happen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1scout.control.states import TRANSITIONS, Event, State, after
from l1scout.errors import InputError


def test_the_way_of_two_runs():
    state = State.IDLE
    for event in (
        "configure",
        "start",
        "stop",
        "drained",
        "start",
        "fail",
        "start",
        "stop",
        "drained",
        "leave",
    ):
        state = after(state, Event(event))
    assert state == State.IDLE


@given(st.lists(st.sampled_from(Event)))
def test_any_sequence_of_events(events):
    state = State.IDLE
    for event in events:
        if (state, event) not in TRANSITIONS:
            with pytest.raises(InputError, match=f"not possible in state {state}"):
                after(state, event)
            continue
        before, state = state, after(state, event)
        # processes run only after start, and whoever leaves has none that run
        assert (state == State.RUNNING) == (event == Event.START)
        assert (state == State.DRAINING) == (event == Event.STOP)
        assert before not in (State.RUNNING, State.DRAINING) or state != State.IDLE


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_way_home(state):
    reached = {state}
    for _ in State:
        reached |= {to for (at, _), to in TRANSITIONS.items() if at in reached}
    assert State.IDLE in reached


def test_refusal_says_what_is_possible():
    with pytest.raises(
        InputError, match="`start` is not possible in state draining, only in configured or error"
    ):
        after(State.DRAINING, Event.START)
