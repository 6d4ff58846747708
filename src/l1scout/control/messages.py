"""What run control and the commands `start`, `stop` and `status` say to each other, as JSON."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

from l1scout.control.states import State
from l1scout.core.provenance import DataLabel
from l1scout.readout.object_counts import U32, ObjectCounts


class Command(BaseModel):
    """A command to run control."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    do: Literal["start", "stop", "status"]
    run: U32 | None = Field(None, description="Number of the run to start; null: the next.")
    now: Annotated[bool, Strict()] = Field(
        False, description="Of stop: do not wait for what is slow; what is not sent stays in the spool."
    )


class Buffer(BaseModel):
    """What a process holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit: Literal["packets", "MB", "segments"]
    holds: float = 0.0
    limit: float = Field(0.0, description="0: no limit.")


class ProcessRow(BaseModel):
    """One process in the table; what does not apply, or is not known, is null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: str
    pid: int | None
    restarts: int
    refusal: str = Field(description="Why the process does not work, in its own words; empty if it does.")
    cpu_cores: float = Field(description="Processor time used per second.")
    buffer: Buffer
    real_time_factor: float | None = Field(None, description="Orbits per second, in units of the LHC's.")
    mb_in_per_s: float | None = None
    mb_out_per_s: float | None = None
    lag_s: float | None = Field(None, description="Behind the process before.")
    lag_orbits: int | None = Field(None, description="Behind the process before.")
    full_in_s: float | None = Field(
        None, description="Until the spool or the store's disk is full at the present rate; null: never."
    )
    orbits: int | None = Field(None, description="Of a readout: orbits written.")
    lost: dict[str, int] = Field(
        default_factory=dict, description="Of a readout: orbits of its source not written, by cause."
    )


class ChainStatus(BaseModel):
    """Status of the chain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    state: State
    run: int
    data: DataLabel = Field(description="Whether the orbits of the run are simulated, real or unknown.")
    seconds: float = Field(description="Since the start of the run, or how long it lasted.")
    up: Annotated[bool, Strict()] = Field(description="Whether all processes have been up in this run.")
    error: str
    folder: str
    pid: int
    orbits: int = Field(description="Orbits written.")
    objects: ObjectCounts = Field(description="Objects written, by kind.")
    lost: dict[str, int] = Field(description="Orbits not written, by what became of them.")
    duplicates: int = Field(description="Orbits that came twice or late, and were left out.")
    alarms: list[str] = Field(description="What an operator must look at now: ``process: what``.")
    waiting_for: str = Field(description="While draining: what is waited for, and how long at most.")
    warnings: list[str]
    processes: dict[str, ProcessRow]


GROWING = "orbits: "
"""Alarms that orbits are being lost begin so."""


def finding(status: ChainStatus) -> str:
    """Say in one line what of a run's losses and alarms needs a look; empty if there are none."""
    counts = [f"{count:,} {name}" for name, count in status.lost.items() if count]
    texts = [f"orbits lost: {', '.join(counts)}"] if counts else []
    texts += [text for text in status.alarms if not text.startswith(GROWING) and text != status.error]
    return "; ".join(f"run {status.run}: {text}" for text in texts)


def line(status: ChainStatus) -> str:
    """Describe a chain in one line."""
    alarms = f", {len(status.alarms)} alarms" if status.alarms else ""
    lost = sum(status.lost.values())
    return f"run {status.run}: {status.state}, {status.orbits:,} orbits written, {lost:,} lost{alarms}"
