"""What run control reports of each process: speed, buffers, lag, losses."""

from collections.abc import Mapping

from l1scout.control.messages import Buffer, ProcessRow
from l1scout.control.process import Process
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.status import BoardStatus, ReadoutStatus, StoreStatus
from l1scout.settings import Settings


def losses(processes: Mapping[str, Process]) -> dict[str, int]:
    """Return the orbits of the run that are not in the files, by what became of them, over all restarts."""
    board = processes.get("board")
    lost = {n: processes["readout"].total(n) for n in ("missed", "corrupt", "dropped", "duplicate")}
    if board:  # readout hears of it with the next packet
        lost["dropped"] = max(lost["dropped"], board.total("dropped"))
    return lost


def overview(processes: Mapping[str, Process], settings: Settings) -> dict[str, ProcessRow]:
    """Return a row per process, by name."""
    rows = {name: _ROWS[name](process) for name, process in processes.items()}
    board, readout = (processes[n].last if n in processes else None for n in ("board", "readout"))
    changes: dict[str, float | int | None] = {}
    if isinstance(readout, ReadoutStatus):
        if isinstance(board, BoardStatus):
            sent = board.first_orbit + board.delivered + board.dropped
            changes["lag_orbits"] = behind = max(sent - readout.last_orbit - 1, 0)
            orbits_per_s = ORBIT_FREQUENCY_HZ * (settings.board.pace or rows["board"].real_time_factor or 0.0)
            changes["lag_s"] = behind / orbits_per_s if orbits_per_s else None
        if out := rows["readout"].mb_out_per_s:
            rows["store"] = rows["store"].model_copy(update={"lag_s": readout.spool_bytes / 1e6 / out})
    rows["readout"] = rows["readout"].model_copy(update=changes)
    return rows


def _row(process: Process, buffer: Buffer, **values: float) -> ProcessRow:
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
    return _row(
        process,
        Buffer(unit="MB", holds=holds / 1e6, limit=limit / 1e6),
        real_time_factor=process.rate("orbits") / ORBIT_FREQUENCY_HZ,
        mb_in_per_s=process.rate("bytes_in") / 1e6,
        mb_out_per_s=process.rate("bytes_out") / 1e6,
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
