"""Status files of the chain's processes: written 4 times a second, read by run control and the account."""

import os
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from l1scout.core.provenance import DataLabel
from l1scout.readout.object_counts import ObjectCounts

ProcessState = Literal["running", "draining", "idle"]


class ProcessStatus(BaseModel):
    """What every process reports: counts are those since its start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    process: str
    state: ProcessState
    pid: int = Field(default_factory=os.getpid)
    seconds: float = Field(description="Since the start of the process.")
    alarms: list[str] = Field(
        default_factory=list, description="What an operator must look at now: one line each, shown in red."
    )
    dead_threads: list[str] = Field(
        default_factory=list, description="Threads that an error has ended: the process must be started anew."
    )
    cpu_s: float = Field(
        default_factory=lambda: sum(os.times()[:2]), description="Processor time of the process."
    )
    time: float = Field(default_factory=time.time, description="When this was written: seconds since 1970.")


class BoardStatus(ProcessStatus):
    """Status of the process that sends packets as a board does."""

    process: Literal["board"] = "board"
    run: int
    source: int = Field(description="Source id of the readout that it sends to.")
    source_count: int = Field(1, description="Source ids that it sends, from `source` on.")
    first_orbit: int
    delivered: int = Field(description="Orbits sent.")
    dropped: int = Field(description="Orbits dropped because readout was slow.")
    unsent: int = Field(0, description="Orbits of `delivered` that were given up when it was stopped.")
    confirmed: bool = Field(
        True,
        description="Whether readout had read all that was sent when it was stopped, as far as it knows.",
    )
    packets: int
    bytes: int
    waiting: int = Field(description="Packets in the buffer.")
    buffer: int = Field(description="Packets that the buffer can hold.")
    readout: str = Field(description="``connected``, or why not.")
    real_time_factor: float = Field(description="Mean speed, in units of the LHC's.")

    @property
    def sources(self) -> range:
        """Source ids that the board sends."""
        return range(self.source, self.source + self.source_count)


class ReadoutStatus(ProcessStatus):
    """Status of the readout process."""

    process: Literal["readout"] = "readout"
    run: int
    data: DataLabel = Field(description="Of the newest segment.")
    packets: int
    bytes_in: int
    bytes_out: int
    orbits: int
    corrupt: int
    missed: int
    duplicate: int
    dropped: int
    flagged: int
    corrupt_bytes: int
    objects: ObjectCounts = Field(description="Objects written, by kind.")
    real_time_factor: float = Field(description="Mean speed, in units of the LHC's.")
    spool_segments: int
    spool_bytes: int
    spool_limit: int = Field(description="Bytes that the spool may hold; 0: no limit.")
    spool_seconds_left: float | None = Field(
        None, description="Until the spool is full, at the present rate; null: it does not fill."
    )
    waited_s: float = Field(description="Time spent waiting for space in the spool.")
    store_connected: bool
    sent: int = Field(description="Segments that the store has acknowledged.")
    sent_bytes: int
    refused: int = Field(description="Segments that the store refuses.")
    last_orbit: int = Field(description="Absolute: epoch x 2^31 + orbit; -1 before the first.")


class StoreStatus(ProcessStatus):
    """Status of the store process."""

    process: Literal["store"] = "store"
    segments: int = Field(description="Segments stored.")
    bytes_in: int
    again: int = Field(description="Segments that were offered again.")
    compressed: int = Field(description="Segments compressed.")
    uncompressed: int = Field(description="Segments that wait to be compressed.")
    compressed_in: int = Field(description="Bytes of the compressed segments before compression.")
    compressed_out: int = Field(description="Bytes of the compressed segments after compression.")
    damaged: int = Field(description="Stored segments that were found to have changed.")
    warnings: list[str]
    disk_free: int = Field(description="Bytes.")


class ModelRate(BaseModel):
    """Rate of the crossings above a threshold of an anomaly model; numbers are 0 while they are not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hw_score: int = Field(description="Crossings with a higher hwScore are above it.")
    fraction: float = Field(description="Of the crossings for which the threshold was set.")
    trained_hz: float = Field(description="When the model was trained.")
    rate_hz: float = Field(description="In the newest complete lumisection.")
    error_hz: float = Field(description="Statistical uncertainty of that.")


class ScoringModel(BaseModel):
    """An anomaly model with which the monitor scores crossings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="Name of its folder.")
    scored: float = Field(description="Fraction of the orbits read that it has scored; 0 before the first.")
    rates: list[ModelRate]


class MonitorStatus(ProcessStatus):
    """Status of the process that serves the live page."""

    process: Literal["monitor"] = "monitor"
    run: int | None = Field(None, description="Of the newest data; null before the first.")
    data: DataLabel = "unknown"
    orbits: int = Field(description="Orbits of the run in the histograms.")
    shown: float = Field(description="Their fraction of the orbits since the first one; 0 before it.")
    last_orbit: int = Field(description="Newest orbit in the histograms; -1 before the first.")
    skipped_segments: int = Field(description="Segments left out, as this process was too slow or late.")
    skipped_bytes: int = Field(description="Bytes left out of other segments.")
    corrupt: int = Field(description="Stretches of files that could not be read.")
    anomaly: list[ScoringModel] = Field(default_factory=list, description="By anomaly model.")
    clients: int = Field(description="Pages that are connected.")
    sent_frames: int = Field(description="Frames sent to pages.")
    sent_bytes: int


STATUSES: dict[str, type[ProcessStatus]] = {
    "board": BoardStatus,
    "readout": ReadoutStatus,
    "store": StoreStatus,
}
"""By the name of the process, in the order in which data flow."""
