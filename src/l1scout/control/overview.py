"""What run control tells of each process: speed, buffers, lag, losses."""

from collections.abc import Mapping
from typing import Any

from l1scout.control.process import Process
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.settings import Settings


def losses(processes: Mapping[str, Process]) -> dict[str, int]:
    """Return the orbits of the run that are not in the files, by what became of them, over all restarts."""
    board = processes.get("board")
    lost = {n: processes["readout"].total(n) for n in ("missed", "corrupt", "dropped", "duplicate")}
    if board:  # readout hears of it with the next packet
        lost["dropped"] = max(lost["dropped"], board.total("dropped"))
    return lost


def overview(processes: Mapping[str, Process], settings: Settings) -> dict[str, dict[str, Any]]:
    """Return a row a process, by name.

    A row has state, pid, restarts and refusal; ``lhc`` (orbits a second, times the LHC's); ``mb_in`` and
    ``mb_out`` (MB/s); ``buffer`` (what it holds, its limit or 0, their unit): packets in the board, the
    spool, what is not compressed;
    ``lag_s`` and ``lag_orbits`` behind the process before; ``cpu`` (cores). What does not apply, or is
    not known, is None.
    """
    rows = {}
    for name, process in processes.items():
        row: dict[str, Any] = {
            "state": process.state,
            "pid": process.pid,
            "restarts": process.restarts,
            "refusal": process.refusal,
            "cpu": process.rate("cpu_s"),
            "lhc": None,
            "mb_in": None,
            "mb_out": None,
            "lag_s": None,
            "lag_orbits": None,
        }
        rows[name] = row | _ROWS[name](process)
    readout = processes["readout"]
    if "board" in processes and processes["board"].last and readout.last:
        last = processes["board"].last
        behind = last["first_orbit"] + last["delivered"] + last["dropped"] - readout.last["last_orbit"] - 1
        orbit_s = ORBIT_FREQUENCY_HZ * (settings.board.pace or rows["board"]["lhc"])
        rows["readout"]["lag_orbits"] = max(behind, 0)
        rows["readout"]["lag_s"] = max(behind, 0) / orbit_s if orbit_s else None
    if rows["readout"]["mb_out"]:
        rows["store"]["lag_s"] = readout.last["spool_bytes"] / 1e6 / rows["readout"]["mb_out"]
    return rows


def _board(process: Process) -> dict[str, Any]:
    last = process.last
    return {
        "lhc": process.rate("delivered") / ORBIT_FREQUENCY_HZ,
        "mb_out": process.rate("bytes") / 1e6,
        "buffer": _buffer("packets", last, "waiting", "buffer"),
    }


def _readout(process: Process) -> dict[str, Any]:
    return {
        "lhc": process.rate("orbits") / ORBIT_FREQUENCY_HZ,
        "mb_in": process.rate("bytes_in") / 1e6,
        "mb_out": process.rate("bytes_out") / 1e6,
        "buffer": _buffer("MB", process.last, "spool_bytes", "spool_limit", 1e-6),
    }


def _store(process: Process) -> dict[str, Any]:
    return {
        "mb_in": process.rate("bytes_in") / 1e6,
        "mb_out": process.rate("compressed_out") / 1e6,
        "buffer": _buffer("segments", process.last, "uncompressed"),
    }


def _buffer(
    unit: str, status: Mapping[str, Any], holds: str, limit: str = "", scale: float = 1.0
) -> dict[str, Any]:
    return {"unit": unit, "holds": status.get(holds, 0) * scale, "limit": status.get(limit, 0) * scale}


_ROWS = {"board": _board, "readout": _readout, "store": _store}
