"""Tables of the settings file, with their defaults, limits and descriptions."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from l1scout.access import Access, check_token, parse_addresses, parse_networks


class SettingsSection(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True
    )


_METRICS = "/metrics and /healthz; unset: none."


class RunSection(SettingsSection):
    """The run."""

    number: int = Field(
        1, ge=0, lt=1 << 32, description="Run number; a run that has ended is not taken up again."
    )
    folder: Path = Field(
        Path("l1scout-run"), description="Where `l1scout run` keeps its socket, status files and logs."
    )
    metrics: str = Field("", description=f"host:port of run control's {_METRICS}")


class BoardSection(SettingsSection):
    """The board that `l1scout run` starts; without a source, boards of other machines connect to readout."""

    packets: Path | None = Field(None, description="File of DMA packets to send, again and again.")
    simulate: int = Field(0, ge=0, description="Orbits to simulate and send, again and again; 0: none.")
    occupancy: float = Field(0.05, gt=0, lt=0.6, description="Of the simulation: part of the BX with a muon.")
    activity: Literal["none", "2018", "2024"] = Field(
        "none",
        description="Of the simulation: year whose collisions all streams are of; none: muons alone.",
    )
    pile_up: float = Field(
        0.0,
        ge=0,
        lt=1000,
        description="Number of interactions in a BX of these collisions; 0: as in the year.",
    )
    keep_orbits: int = Field(
        1, ge=1, description="Send this number of orbits of each board.of_orbits, such as 2 of 9 of towers."
    )
    of_orbits: int = Field(1, ge=1, description="See board.keep_orbits; 1: all orbits.")
    first_orbit: int = Field(0, ge=0, description="Number of the first orbit.")
    orbits: int = Field(0, ge=0, description="Stop after this number of orbits; 0: go on until stopped.")
    pace: float = Field(
        1.0, ge=0, description="Speed, times that of the LHC; 0: as fast as readout takes it."
    )
    buffer: int = Field(
        256, ge=1, description="Packets to hold when readout is slow, before orbits are dropped."
    )
    metrics: str = Field("", description=f"host:port of the board's {_METRICS}")


class ReadoutSection(SettingsSection):
    """Packets in, segments out."""

    listen: str = Field("127.0.0.1:7401", description="host:port on which boards connect.")
    wire_format: str = Field("run3", description="Wire format of the packets: run2, run3...")
    source: int = Field(1, ge=0, lt=1 << 16, description="Source id in the files: 1 is the GMT.")
    source_count: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of source ids of the board, from readout.source on: 12 of stubs.",
    )
    data: Literal["real", "unknown"] = Field(
        "unknown", description="What orbits are that state nothing of themselves: real or unknown."
    )
    trusted_networks: str = Field(
        "",
        description="Networks whose boards may connect without TLS, such as 192.0.2.0/24; commas between. "
        "Boards of others need TLS and a certificate of access.client_authority.",
    )
    spool: Path | None = Field(
        None, description="Folder of segments that wait; by default on the RAM disk if it has 1 GiB free."
    )
    spool_bytes: int = Field(
        4 << 30, ge=0, description="Bytes to spool at most; then boards are slowed. 0: no limit."
    )
    segment_orbits: int = Field(
        8192, ge=1, description="A segment ends where the orbit is a multiple of this; 8192 are 0.73 s."
    )
    segment_bytes: int = Field(
        256 << 20, ge=1 << 12, le=1 << 30, description="... or has this size in bytes."
    )
    segment_seconds: float = Field(10.0, gt=0, description="... or is so old, in s.")
    store: str = Field(
        "127.0.0.1:7402",
        description="host:port of the store; another after a comma is used while the first fails.",
    )
    failover_seconds: float = Field(
        10.0, ge=0, description="Time of failure after which the next store is used, in s."
    )
    drain_seconds: float = Field(
        60.0,
        ge=0,
        description="When stopped, end within this time in s; what is not sent stays in the spool.",
    )
    metrics: str = Field("", description=f"host:port of the readout's {_METRICS}")

    @property
    def sources(self) -> range:
        """Source ids of the board."""
        return range(self.source, self.source + self.source_count)

    @field_validator("store")
    @classmethod
    def _addresses(cls, text: str) -> str:
        parse_addresses(text)
        return text

    @field_validator("trusted_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        parse_networks(text)
        return text


class StoreSection(SettingsSection):
    """Segments in, compressed files and their catalogue out."""

    listen: str = Field("127.0.0.1:7402", description="host:port on which readouts connect.")
    folder: Path = Field(Path("l1scout-store"), description="Folder of the data and the catalogue.")
    method: Literal["zstd", "bzip2", "parquet", "none"] = Field(
        "parquet",
        description="Compression; parquet: the compact archive, a row a muon; none: as segments come.",
    )
    level: int = Field(3, ge=1, le=19, description="Compression level: zstd 1 to 19, bzip2 1 to 9.")
    workers: int = Field(1, ge=1, le=64, description="Processes that compress.")
    reserve_bytes: int = Field(
        1 << 28, ge=0, description="Take no segment if fewer bytes would be free on the disk."
    )
    max_segment_bytes: int = Field(2 << 30, ge=1 << 12, description="Refuse segments of more bytes.")
    connections: int = Field(16, ge=1, description="Readouts connected at the same time.")
    drain_seconds: float = Field(
        60.0,
        ge=0,
        description="Time for compressing what waits when stopped, in s; the rest follows at the next start.",
    )


class RecalibrateSection(SettingsSection):
    """A network's answer for every muon, beside the trigger's own values, in archives of the store."""

    model: Path | None = Field(
        None, description="Model directory, for store.method parquet. Unset: no recalibration."
    )
    engine: str = Field("fused", description="Inference engine: what computes it, such as onnx or fused.")


class MonitorSection(SettingsSection):
    """The live page."""

    listen: str = Field("127.0.0.1:7403", description="host:port of the page.")
    folder: Path | None = Field(
        Path("l1scout-histograms"), description="Folder where the histograms of each run are saved."
    )
    reference: Path | None = Field(None, description="File of histograms to compare with.")
    anomaly_models: tuple[Path, ...] = Field(
        (),
        description="Anomaly models (folders, of different names) to score all crossings with; in the "
        "environment and options with commas between.",
    )
    false_alarms_per_day: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="Largest number of false alarms of data quality per day."
    )

    @field_validator("anomaly_models", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        return [name for name in given.split(",") if name.strip()] if isinstance(given, str) else given


class AccessSection(SettingsSection):
    """Who may connect to listeners that other machines can reach. Whatever is set is required."""

    token: str = Field(
        "",
        repr=False,
        description="Shared secret of readout and store, 16 characters or more, over TLS only; "
        "better in the environment.",
    )
    certificate: Path | None = Field(
        None, description="TLS: own certificate (PEM) of a listener, and of a client that is asked for one."
    )
    key: Path | None = Field(None, description="TLS: its key (PEM, no password).")
    authority: Path | None = Field(
        None, description="TLS of readout and boards: certificate to trust, of the other side or its issuer."
    )
    client_authority: Path | None = Field(
        None, description="TLS of store and readout: issuer of the certificates that clients must show."
    )

    @field_validator("token")
    @classmethod
    def _token(cls, token: str) -> str:
        check_token(token)
        return token

    @model_validator(mode="after")
    def _over_tls(self) -> "AccessSection":
        if self.token and not (self.certificate or self.authority):
            msg = (
                "access.token goes over TLS only, else whoever listens on the port first would get it: set "
                "access.certificate and access.key (store), access.authority (readout); or unset the token: "
                "on one machine none is needed"
            )
            raise ValueError(msg)
        return self

    @property
    def access(self) -> Access:
        """As listeners and clients take it."""
        return Access(self.token, self.certificate, self.key, self.authority, self.client_authority)


class SourceSection(SettingsSection):
    """One of several boards with its readout: what is not set for it is as in [board] and [readout]."""

    board: BoardSection = BoardSection()
    readout: ReadoutSection = ReadoutSection()


SourceName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9]{0,31}$")]
