"""A run that is read, and skimmed, as its segments arrive in the store."""

import json

import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store.catalogue import Catalogue
from l1scout.store.follow_run import follow_run
from live_packets import feed, packets

RUN = 7


class ArrivingRun:
    """A store's folder in which the five segments of a run arrive one at a time."""

    def __init__(self, folder, spool):
        self.folder, self._spool = folder / "store", Spool(spool)
        self.folder.mkdir()
        Catalogue(self.folder, create=True).close()
        writer = SegmentWriter(self._spool, RUN, 1, RUN3, Limits(orbits=5))
        feed(writer, b"".join(packets()))
        writer.finish()
        self.waiting = list(self._spool.waiting())

    def arrive(self, n=1):
        catalogue = Catalogue(self.folder)
        for segment in [self.waiting.pop(0) for _ in range(n)]:
            (self.folder / segment.name).write_bytes(self._spool.path(segment).read_bytes())
            catalogue.add(self._spool.note(segment), segment.name)
        catalogue.close()


@pytest.fixture
def run(tmp_path):
    return ArrivingRun(tmp_path, tmp_path / "spool")


def test_segments_are_given_as_they_arrive(run):
    names = [segment.name for segment in run.waiting]
    run.arrive(2)
    arriving = follow_run(run.folder, RUN, poll_s=0.001)
    given = [next(arriving).name, next(arriving).name]
    while run.waiting:
        run.arrive()
        given.append(next(arriving).name)
    assert given == names
    assert list(arriving) == []  # the last segment says that it is the last


def test_following_ends_when_it_is_told_to(run):
    from threading import Event

    run.arrive(2)
    stop = Event()
    stop.set()
    assert len(list(follow_run(run.folder, RUN, stop=stop))) == 2


def test_what_cannot_be_followed(run, tmp_path):
    with pytest.raises(InputError, match="no catalogue"):
        list(follow_run(tmp_path / "nothing", RUN))
    run.arrive()
    catalogue = Catalogue(run.folder)
    catalogue.deleted(catalogue.segments(RUN)[0])
    catalogue.close()
    with pytest.raises(InputError, match="was deleted before"):
        list(follow_run(run.folder, RUN))


def test_a_skim_of_a_run_that_is_followed_is_that_of_its_files(run, tmp_path):
    run.arrive(len(run.waiting))
    results = []
    for k, options in enumerate((["--run", "7", "--follow"], ["--run", "7"])):
        arguments = ["skim", str(run.folder), str(tmp_path / f"{k}.root"), "--when", "MU5", "--json"]
        result = CliRunner().invoke(make_app(), [*arguments, *options])
        assert result.exit_code == 0, result.output
        results.append({n: v for n, v in json.loads(result.stdout).items() if n not in ("out", "provenance")})
    assert results[0] == results[1]
    assert results[0]["selected"] > 10
    assert results[0]["orbits"] == 24
