"""The states of a run, and what leads from one to the other."""

from enum import StrEnum

from l1scout.errors import InputError


class State(StrEnum):
    """Where run control is."""

    IDLE = "idle"
    """Nothing is prepared, or all has ended."""
    CONFIGURED = "configured"
    """Settings are read, the run folder is ours, no process runs."""
    RUNNING = "running"
    """A run is on; what dies is started again."""
    DRAINING = "draining"
    """No new orbits; what is in the buffers goes to the store."""
    ERROR = "error"
    """A process refuses to work; the others go on as long as their buffers last."""


class Event(StrEnum):
    """What can happen."""

    CONFIGURE = "configure"
    START = "start"
    STOP = "stop"
    DRAINED = "drained"
    FAIL = "fail"
    LEAVE = "leave"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.CONFIGURE): State.CONFIGURED,
    (State.CONFIGURED, Event.START): State.RUNNING,
    (State.CONFIGURED, Event.LEAVE): State.IDLE,
    (State.RUNNING, Event.STOP): State.DRAINING,
    (State.RUNNING, Event.FAIL): State.ERROR,
    (State.DRAINING, Event.DRAINED): State.CONFIGURED,
    (State.DRAINING, Event.FAIL): State.ERROR,
    (State.ERROR, Event.START): State.RUNNING,
    (State.ERROR, Event.STOP): State.DRAINING,
    (State.ERROR, Event.LEAVE): State.IDLE,
}


def after(state: State, event: Event) -> State:
    """Return the state after an event (InputError if it is not possible in that state)."""
    if (state, event) not in TRANSITIONS:
        possible = " or ".join(s for s, e in TRANSITIONS if e == event)
        msg = f"`{event}` is not possible in state {state}, only in {possible}: see `l1scout status`"
        raise InputError(msg)
    return TRANSITIONS[state, event]
