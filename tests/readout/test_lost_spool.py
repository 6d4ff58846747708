"""Readout with a store: a spool that was lost goes on, and what the store refuses has a way out."""

import io

import pytest

from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout import readout as readout_module
from l1scout.readout.readout import Readout
from l1scout.readout.segment_note import note_of
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.settings import read_settings
from l1scout.store.account import account
from live_packets import feed, packets
from store_requests import make_store, push

RUN = 7
ORBITS = 24


class Chain:
    """A store, and readouts that read one part of a run after the other."""

    def __init__(self, folder) -> None:
        self.folder, self.packets = folder, packets()
        self.store = make_store(folder / "store", method="none", reserve_bytes=0)
        self.log: list[str] = []

    def lose_a_spool(self) -> None:
        """Store two segments of 6 orbits; a third one of 3 goes with the spool."""
        lost = Spool(self.folder / "lost")
        writer = SegmentWriter(lost, RUN, 1, RUN3, Limits(orbits=6))
        feed(writer, b"".join(self.packets[:5]))
        assert push(lost, self.store) == [201, 201]
        writer._open.file.close()

    def readout(self, spool: str, drain_seconds: float = 60.0) -> Readout:
        given = {
            "run.number": RUN,
            "readout.spool": self.folder / spool,
            "readout.segment_orbits": 6,
            "readout.store": self.store.server.address,
            "readout.drain_seconds": drain_seconds,
        }
        settings = read_settings(None, {}, [f"{k}={v}" for k, v in given.items()])
        return Readout(settings, lambda event, **_: self.log.append(event))

    def go_on(self, readout: Readout) -> list:
        """Read the rest of the run; return the readout's statuses."""
        statuses = []
        assert readout.read(None, io.BytesIO(b"".join(self.packets[5:])), statuses.append) == 0
        return statuses

    def account(self, spool: str) -> list:
        return account(RUN, self.store_folder, spool=self.folder / spool, verify=True)

    @property
    def store_folder(self):
        return self.folder / "store"


@pytest.fixture
def chain(tmp_path):
    chain = Chain(tmp_path)
    yield chain
    chain.store.close()


def test_lost_spool(chain):
    """The run goes on at the next index; what was lost with the spool is missed, and counted."""
    chain.lose_a_spool()
    readout = chain.readout("spool")
    statuses = chain.go_on(readout)
    assert "goes on where the store is" in chain.log
    assert (readout.sender.sent, readout.spool.n_refused) == (2, 0)
    assert statuses[-1].missed == 3
    stages = chain.account("spool")
    assert not [w for s in stages for w in s.wrong]
    assert stages[-1].out == ORBITS - 3
    assert (chain.store_folder / "run000007" / "source01_settings.toml").exists()


def test_lost_spool_and_a_store_that_cannot_be_asked(chain, monkeypatch):
    """Segments that the store has others of are refused; they can be stored under another source id."""
    chain.lose_a_spool()
    with monkeypatch.context() as patch:
        patch.setattr(readout_module, "stored_position", lambda *_: None)
        readout = chain.readout("spool")
        statuses = chain.go_on(readout)
    assert "store not reached: the run begins with segment 0" in chain.log
    assert (readout.sender.sent, readout.spool.n_refused) == (0, 2)
    assert statuses[-1].refused == 2
    assert any("--refused-as-source" in alarm for alarm in statuses[-1].alarms)
    (wire,) = [s for s in chain.account("spool") if s.name.startswith("wire")]
    assert wire.counted["refused"] == 9
    readout.spool.close()
    again = chain.readout("spool")
    assert again.offer_refused(9, statuses.append) == 0
    assert (again.sender.sent, again.spool.n_refused) == (2, 0)
    stages = chain.account("spool")
    (stage,) = [s for s in stages if s.name == "readout of source 9"]
    assert (stage.out, stage.counted["missed"], stage.wrong) == (9, 15, [])  # it had not seen the beginning
    assert stages[-1].out == 9


@pytest.mark.parametrize("again", [False, True], ids=["running", "started again"])
def test_damaged_note_after_a_lost_spool(chain, again):
    """The first segment's note tells what was lost with the spool: it can be made again without."""
    chain.lose_a_spool()
    readout = chain.readout("spool")
    readout._find_position(1)
    feed(next(iter(readout.writers)), b"".join(chain.packets[5:7]))
    (waiting,) = readout.spool.waiting()
    assert waiting.missed == 3
    note = note_of(readout.spool.path(waiting))
    if again:
        feed(next(iter(readout.writers)), chain.packets[7])
        next(iter(readout.writers)).finish()
        readout.spool.close()
        note.write_bytes(b"{")
        spool = Spool(note.parent)
    else:
        note.write_bytes(b"{")
        spool = readout.spool
        assert [s.missed for s in spool.waiting()] == [3]
        feed(next(iter(readout.writers)), chain.packets[7])
        next(iter(readout.writers)).finish()
    assert push(spool, chain.store) == [201, 201]
    stages = chain.account("spool")
    assert not [w for s in stages for w in s.wrong]
    assert stages[1].counted["missed"] == 3
    assert stages[1].into == ORBITS
    for segment in list(spool.waiting()):
        spool.remove(segment)
    assert [n.name for n in spool.folder.glob("*.json")] == [note.name.replace("index000002", "index000003")]
