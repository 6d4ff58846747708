"""The receiver, step by step: no sockets."""

import sqlite3

import pytest
from crc32c import crc32c

from l1scout.readout.segments import Segment
from l1scout.store.catalogue import Catalogue
from l1scout.store.receiver import SegmentReceiver
from l1scout.wire import WireError


class Offers:
    """A channel on which a segment is offered."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.answers = []

    def receive(self, _: float) -> dict:
        return {"offer": self.segment.to_dict()}

    def send(self, **answer: object) -> None:
        self.answers.append(answer)


def test_a_catalogue_that_cannot_be_written_ends_the_connection(tmp_path, monkeypatch):
    """Nothing is acknowledged, and the segment is taken when it is offered again."""
    said = []
    catalogue = Catalogue(tmp_path, create=True)
    receiver = SegmentReceiver(
        tmp_path, catalogue, lambda event, **_: said.append(event), max_bytes=100, reserve_bytes=0
    )
    segment = Segment(1, 1, 0, 1, "run3", size=1, crc32c=crc32c(b"x"))
    path = tmp_path / segment.folder / segment.name
    path.parent.mkdir()
    path.write_bytes(b"x")

    def full(*_):
        msg = "database or disk is full"
        raise sqlite3.OperationalError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "add", full)
        first = Offers(segment)
        with pytest.raises(WireError, match=r"catalogue cannot be used .database or disk is full"):
            receiver.step(first, "peer")
    assert (first.answers, said) == ([], ["catalogue cannot be used"])
    again = Offers(segment)
    receiver.step(again, "peer")
    assert again.answers == [{"done": True}]
    assert catalogue.get(segment.key).segment == segment
