"""What an operator is told of the spool, and how long it takes what comes."""

from collections import Counter

import pytest

from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.loss_alarms import LossAlarms
from l1scout.readout.spool import Spool
from l1scout.readout.spool_alarms import SpoolForecast, spool_alarms
from l1scout.readout.totals import Totals
from l1scout.readout.writer import SegmentWriter
from live_packets import feed, packets


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, 7, 1, RUN3)
    feed(writer, b"".join(packets()))
    writer.finish()
    return spool


def test_nothing_is_wrong(spool):
    assert spool_alarms(spool) == []
    assert LossAlarms(RUN3, Totals()).lines(0.0) == []


@pytest.mark.parametrize(("percent", "alarms"), [(79, 0), (81, 1), (100, 1), (150, 1)])
def test_spool_above_four_fifths(spool, percent, alarms):
    spool.max_bytes = round(spool.held * 100 / percent)
    found = spool_alarms(spool)
    assert len(found) == alarms
    assert not found or f"spool {min(percent, 100)} % full" in found[0]


def test_disk_full(spool, monkeypatch):
    monkeypatch.setattr(spool, "disk_free", lambda: 1000)
    share, disk = spool_alarms(spool)
    assert "% full: the store takes less" in share
    assert disk == f"disk of the spool full (1,000 bytes free): {spool.folder}"


def test_refused_and_damaged(spool):
    (segment,) = spool.waiting()
    spool.set_aside(spool.path(segment).with_name(segment.name + ".json"))
    spool.refuse(segment, "another one")
    refused, bad = spool_alarms(spool)
    assert refused.startswith("1 segments refused by the store")
    assert "`l1scout readout --refused-as-source N`" in refused
    assert bad.startswith(f"1 damaged files kept in {spool.folder}")


def test_orbits_given_up():
    totals = Totals(discarded=1234, counts=Counter(missed=1234))
    _, alarm = LossAlarms(RUN3, totals).lines(0.0)
    assert alarm.startswith("1,234 orbits given up")


class Filling:
    """A spool of 1000 bytes."""

    held = 0

    def room(self) -> int:
        return 1000 - self.held


def test_forecast():
    spool, forecast = Filling(), SpoolForecast()
    assert forecast.seconds_left(0.0, spool) is None
    spool.held = 100
    assert forecast.seconds_left(0.5, spool) is None  # too early to tell
    assert forecast.seconds_left(10.0, spool) == pytest.approx(90.0)
    spool.held = 50
    assert forecast.seconds_left(41.0, spool) is None  # it empties: the last half minute counts
