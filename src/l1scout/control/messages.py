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
    warnings: list[str]
    processes: dict[str, ProcessRow]
