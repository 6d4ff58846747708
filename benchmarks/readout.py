"""The live chain on this machine: board, readout and store as three processes on loopback.

    python benchmarks/readout.py [--seconds 60]

Board packets of a simulated LHC with muons in 5 % of the crossings (2.0 M blocks/s, 385 MB/s) -> records
-> spool -> TCP -> store -> zstd -> disk, at the LHC's pace; then as fast as it goes, for the headroom.
Peer: the same bytes through loopback TCP between two plain processes that do nothing else.
"""

import json
import multiprocessing
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from chain import Chain
from l1scout.cli.script import Parser, positive_float, run_script
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.spool import default_folder
from l1scout.simulate.live_board import simulated_packets

STAGES = {"source": "board-0", "readout": "readout", "store": "store"}


def run(folder: Path, packets: Path, spool: Path, seconds: float, pace: float) -> dict[str, object]:
    """Run the chain; rates, losses and processor time by stage."""
    chain = Chain(
        folder,
        packets,
        board__pace=pace,
        board__buffer=256,
        readout__segment_orbits=8192,
        readout__spool=spool,
    )
    chain.to_store.port, chain.to_readout.port = chain.store_port, chain.readout_port  # no proxies
    try:
        chain.start("store", "readout")
        chain.wait("readout", "seconds", 0)
        chain.start("source")
        chain.wait("board-0", "delivered", 2000)  # everything is compiled and connected
        before, began = {n: chain.status(s) for n, s in STAGES.items()}, time.perf_counter()
        most = 0
        while time.perf_counter() < began + seconds:
            most = max(most, chain.status("readout").get("spool_bytes", 0))
            time.sleep(0.25)
        after, took = {n: chain.status(s) for n, s in STAGES.items()}, time.perf_counter() - began
        drain = time.perf_counter()
        chain.finish()
        drain = time.perf_counter() - drain
        stages = chain.account()
    finally:
        chain.close()
    orbits = after["readout"]["orbits"] - before["readout"]["orbits"]
    lost = {n: k for s in stages for n, k in s.counted.items() if k}

    def rate(stage: str, field: str) -> float:
        return (after[stage][field] - before[stage][field]) / took / 1e6

    return {
        "seconds": took,
        "real_time_factor": orbits / took / ORBIT_FREQUENCY_HZ,
        "orbits": stages[-1].out,
        "lost": lost,
        "balances": not [w for s in stages for w in s.wrong],
        "cores": {n: (after[n]["cpu_s"] - before[n]["cpu_s"]) / took for n in STAGES},
        "mb_per_s": {
            "packets": rate("readout", "bytes_in"),
            "records": rate("readout", "bytes_out"),
            "sent": rate("readout", "sent_bytes"),
            "compressed": rate("store", "compressed_out"),
        },
        "spool_most_mb": most / 1e6,
        "not_compressed_at_the_end": after["store"]["uncompressed"],
        "drain_s": drain,
    }


def _sink(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as s:
        buffer = bytearray(1 << 22)
        while s.recv_into(buffer):
            pass


def loopback(data: bytes, seconds: float = 3.0) -> float:
    """Send data through loopback to a process that only reads, GB/s."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = multiprocessing.get_context("spawn").Process(target=_sink, args=(server.getsockname()[1],))
        reader.start()
        connection, _ = server.accept()
        began, sent = time.perf_counter(), 0
        with connection:
            while time.perf_counter() < began + seconds:
                connection.sendall(data)
                sent += len(data)
        took = time.perf_counter() - began
        reader.join()
    return sent / took / 1e9


def main() -> None:
    """Measure and print."""
    parser = Parser(__doc__)
    parser.add_argument("--seconds", type=positive_float, default=60.0)
    parser.add_argument(
        "--folder", type=Path, help="on the disk to write to; by default that of temporary files"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="l1scout-readout-", dir=asked.folder) as name:
        packets = Path(name) / "packets.dat"
        packets.write_bytes(simulated_packets(RUN3, 1000, 0.05).getvalue())
        peer = loopback(packets.read_bytes()[: 20 << 20])
        for title, pace, seconds in (
            ("at the LHC's pace", 1.0, asked.seconds),
            ("at full speed", 0.0, asked.seconds / 3),
        ):
            folder = Path(name) / title.split()[-1]
            folder.mkdir()
            with tempfile.TemporaryDirectory(prefix="l1scout-", dir=default_folder().parent) as spool:
                result[title] = found = run(folder, packets, Path(spool), seconds, pace)
            if asked.json:
                continue
            mb, cores = found["mb_per_s"], found["cores"]
            factor, lost = found["real_time_factor"], found["lost"] or "nothing"
            balance = "balances" if found["balances"] else "DOES NOT BALANCE"
            print(f"{title}, {found['seconds']:.0f} s: {factor:.2f} x LHC, lost: {lost}, account {balance}")
            print("  MB/s: " + ", ".join(f"{n} {v:.0f}" for n, v in mb.items()))
            shares = ", ".join(f"{n} {v:.2f}" for n, v in cores.items())
            print(f"  cores: {shares}; together {sum(cores.values()):.2f}")
            left, drain = found["not_compressed_at_the_end"], found["drain_s"]
            print(
                f"  spool at most {found['spool_most_mb']:.0f} MB; when the board stopped {left} segments",
                end="",
            )
            print(f" were not compressed; drained in {drain:.1f} s")
    result["loopback_gb_per_s"] = peer
    if asked.json:
        print(json.dumps(result, indent=1))
    else:
        fast = result["at full speed"]["mb_per_s"]["packets"] / 1e3
        print(
            f"peer, loopback TCP and nothing else: {peer:.2f} GB/s; the chain takes {fast / peer:.2f} of it"
        )


if __name__ == "__main__":
    run_script(main)
