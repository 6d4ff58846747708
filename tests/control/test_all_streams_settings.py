"""Settings of simulated boards of all streams."""

import pytest

from l1scout.control.all_streams_settings import BOARDS, settings_of_streams
from l1scout.errors import InputError
from l1scout.settings import read_settings


def chosen(*names, given=()):
    first = read_settings(None, {}, given)
    return read_settings(None, {}, [*settings_of_streams(names, first), *given])


def test_all_boards_have_their_sources_and_ports():
    settings = chosen("all", given=["readout.listen=127.0.0.1:7000"])
    assert set(settings.sources) == set(BOARDS)
    sources = {n for name in BOARDS for n in settings.of_source(name).readout.sources}
    assert sources == {1, 4, *range(10, 26), 32}
    ports = [own.readout.listen for own in settings.sources.values()]
    assert sorted(ports) == [f"127.0.0.1:{7010 + k}" for k in range(len(BOARDS))]
    towers = settings.of_source("towers").board
    assert (towers.keep_orbits, towers.of_orbits) == (2, 9)
    assert {own.board.activity for own in settings.sources.values()} == {"2018"}
    assert all(own.board.simulate > 0 for own in settings.sources.values())


def test_what_is_given_stays():
    settings = chosen(" calo", "gmt", given=["board.simulate=7", "board.activity=2024"])
    assert list(settings.sources) == ["calo", "gmt"]
    assert {(own.board.simulate, own.board.activity) for own in settings.sources.values()} == {(7, "2024")}


def test_what_cannot_be_chosen():
    with pytest.raises(InputError, match="no 'jets'; choose all, or some of gmt, calo"):
        chosen("jets")
    with pytest.raises(InputError, match="--streams makes the sources"):
        chosen("all", given=["sources.x.readout.source=3"])


def test_boards_may_not_share_a_source_id():
    given = ["sources.a.readout.source=10", "sources.a.readout.source_count=3", "sources.b.readout.source=12"]
    with pytest.raises(InputError, match="both 12"):
        read_settings(None, {}, [*given, "sources.a.readout.listen=:1", "sources.b.readout.listen=:2"])
