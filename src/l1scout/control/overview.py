"""What run control reports of each process: speed, buffers, lag, losses."""

from l1scout.control.chain_processes import ChainProcesses, SourceProcesses
from l1scout.control.messages import Buffer, ProcessRow
from l1scout.control.process import Process
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.status import BoardStatus, ReadoutStatus, StoreStatus
from l1scout.settings import Settings


def overview(processes: ChainProcesses, settings: Settings) -> dict[str, ProcessRow]:
    """Return a row per process, by name, in the order in which data flow."""
    rows = {process.name: _ROWS[process.kind](process) for process in processes}
    for source in processes.sources:
        name = source.readout.name
        written = {"orbits": source.readout.total("orbits"), "lost": source.lost()}
        rows[name] = rows[name].model_copy(update=written | _lag(source, rows))
    store = processes.store
    changes: dict[str, float | None] = {"full_in_s": _disk_full_in_s(store, settings.store.reserve_bytes)}
    waiting, sent_per_s = 0.0, 0.0
    for source in processes.sources:
        if isinstance(last := source.readout.last, ReadoutStatus):
            waiting += last.spool_bytes
            sent_per_s += source.readout.rate("bytes_out")
    if sent_per_s:
        changes["lag_s"] = waiting / sent_per_s
    rows[store.name] = rows[store.name].model_copy(update=changes)
    return rows


def _lag(source: SourceProcesses, rows: dict[str, ProcessRow]) -> dict[str, float | int | None]:
    """Return how far a readout is behind its board."""
    board, readout = source.board and source.board.last, source.readout.last
    if not isinstance(board, BoardStatus) or not isinstance(readout, ReadoutStatus):
        return {}
    sent = board.first_orbit + board.delivered + board.dropped
    behind = max(sent - readout.last_orbit - 1, 0)
    assert source.board
    pace = source.settings.board.pace or rows[source.board.name].real_time_factor or 0.0
    orbits_per_s = ORBIT_FREQUENCY_HZ * pace
    return {"lag_orbits": behind, "lag_s": behind / orbits_per_s if orbits_per_s else None}


def _disk_full_in_s(process: Process, reserve_bytes: int) -> float | None:
    """Return when the store's disk will be full, if it goes on as in the last minute."""
    last = process.latest
    growth = process.trend("bytes_in") - process.trend("compressed_in") + process.trend("compressed_out")
    if not isinstance(last, StoreStatus) or growth <= 0:
        return None
    return max(last.disk_free - reserve_bytes, 0) / growth


def _row(process: Process, buffer: Buffer, **values: float | None) -> ProcessRow:
    return ProcessRow(
        state=process.state,
        pid=process.pid,
        restarts=process.restarts,
        refusal=process.refusal,
        cpu_cores=process.rate("cpu_s"),
        buffer=buffer,
        **values,
    )


def _board(process: Process) -> ProcessRow:
    last = process.last
    holds, limit = (last.waiting, last.buffer) if isinstance(last, BoardStatus) else (0, 0)
    return _row(
        process,
        Buffer(unit="packets", holds=holds, limit=limit),
        real_time_factor=process.rate("delivered") / ORBIT_FREQUENCY_HZ,
        mb_out_per_s=process.rate("bytes") / 1e6,
    )


def _readout(process: Process) -> ProcessRow:
    last = process.last
    holds, limit = (last.spool_bytes, last.spool_limit) if isinstance(last, ReadoutStatus) else (0, 0)
    full_in_s = last.spool_seconds_left if isinstance(last, ReadoutStatus) else None
    return _row(
        process,
        Buffer(unit="MB", holds=holds / 1e6, limit=limit / 1e6),
        real_time_factor=process.rate("orbits") / ORBIT_FREQUENCY_HZ,
        mb_in_per_s=process.rate("bytes_in") / 1e6,
        mb_out_per_s=process.rate("bytes_out") / 1e6,
        full_in_s=full_in_s,
    )


def _store(process: Process) -> ProcessRow:
    last = process.last
    holds = last.uncompressed if isinstance(last, StoreStatus) else 0
    return _row(
        process,
        Buffer(unit="segments", holds=holds),
        mb_in_per_s=process.rate("bytes_in") / 1e6,
        mb_out_per_s=process.rate("compressed_out") / 1e6,
    )


_ROWS = {"board": _board, "readout": _readout, "store": _store}
