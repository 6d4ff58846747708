"""Settings: one file, the environment over it, --set over both; nothing unknown passes."""

import tomllib
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.settings import ReadoutSection, Settings, SettingsError, as_toml, each_setting, read_settings

SECRET = "a-secret-of-some-length"


def write(folder: Path, text: str) -> Path:
    path = folder / "chain.toml"
    path.write_text(text)
    return path


def test_printed_defaults_are_the_defaults(tmp_path):
    assert read_settings(write(tmp_path, as_toml()), {}) == Settings()


def test_command_prints_what_is_in_force(tmp_path, monkeypatch):
    monkeypatch.setenv("L1SCOUT_READOUT_SOURCE", "7")
    monkeypatch.setenv("L1SCOUT_ACCESS_TOKEN", SECRET)
    monkeypatch.setenv("L1SCOUT_ACCESS_AUTHORITY", "cert.pem")
    path = write(tmp_path, "[store]\nworkers = 2\n")
    told = (
        CliRunner().invoke(make_app(), ["settings", "--settings", str(path), "--set", "run.number=9"]).stdout
    )
    said = tomllib.loads(told)
    assert (said["run"]["number"], said["readout"]["source"], said["store"]["workers"]) == (9, 7, 2)
    assert SECRET not in told


WAYS_TO_GET_IT_WRONG = {
    "too short": ("[access]\ntoken = 'TOKEN'\n", {}, ()),
    "no TLS": ("[access]\ntoken = 'TOKEN-of-sixteen'\n", {}, ()),
    "no string": ("[access]\ntoken = ['TOKEN']\n", {}, ()),
    "a header of its own": ('[access]\ntoken = "TOKEN-of-sixteen\\nX: y"\n', {}, ()),
    "no table": ("access = 'TOKEN'\n", {}, ()),
    "wrong section": ("[readout]\ntoken = 'TOKEN'\n", {}, ()),
    "wrong name": ("[access]\ntokn = 'TOKEN'\n", {}, ()),
    "not closed": ("[access]\ntoken = 'TOKEN\n", {}, ()),
    "fault beside it": ("[access]\ntoken = 'TOKEN-of-sixteen'\ncertificate = 5\n", {}, ()),
    "environment": ("", {"L1SCOUT_ACCESS_TOKEN": "TOKEN"}, ()),
    "wrong variable": ("", {"L1SCOUT_ACCESS_TOKN": "TOKEN"}, ()),
    "command line": ("", {}, ["access.token=TOKEN-of-sixteen"]),
    "command line without =": ("", {}, ["access.token:TOKEN"]),
}


@pytest.mark.parametrize("way", WAYS_TO_GET_IT_WRONG)
def test_no_message_and_no_traceback_has_the_token_in_it(tmp_path, way):
    text, environment, over = WAYS_TO_GET_IT_WRONG[way]
    path = write(tmp_path, text)
    path.chmod(0o600)
    with pytest.raises(InputError) as caught:
        read_settings(path, environment, over)
    assert "TOKEN" not in "".join(traceback.format_exception(caught.value)).replace("ACCESS_TOKEN", "")


def test_settings_with_a_token_do_not_show_it(tmp_path):
    environment = {"L1SCOUT_ACCESS_TOKEN": SECRET, "L1SCOUT_ACCESS_CERTIFICATE": "cert.pem"}
    settings = read_settings(None, environment)
    shown = (repr(settings), str(settings.access), repr(settings.access.access), as_toml(settings))
    assert not any(SECRET in text for text in shown)
    assert settings.access.access.token == SECRET


def test_a_file_that_everybody_can_read_may_not_hold_the_token(tmp_path):
    path = write(tmp_path, f"[access]\ntoken = '{SECRET}'\nauthority = 'cert.pem'\n")
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_settings(path, {})
    path.chmod(0o640)
    assert read_settings(path, {}).access.token == SECRET


def test_environment_is_over_file_and_set_over_both(tmp_path):
    path = write(tmp_path, "[run]\nnumber = 2\n[board]\npace = 2.0\n[store]\nlevel = 2\n")
    environment = {"L1SCOUT_RUN_NUMBER": "3", "L1SCOUT_BOARD_PACE": "3", "PATH": "/bin"}
    settings = read_settings(path, environment, ["run.number=4"])
    assert (settings.store.level, settings.board.pace, settings.run.number) == (2, 3.0, 4)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("[readout]\nlisten_on = 'x:1'\n", "did you mean listen"),
        ("[redout]\n", "did you mean readout"),
        ("[readout]\nworkers = 2\n", "did you mean store.workers"),
        ("[readout.listen]\nhost = 1\n", "readout.listen"),
        ("run = 7\n", "[run]"),
        ("[run\n", "invalid TOML"),
        ("[run]\nnumber = -1\n", "run.number = '-1'"),
    ],
)
def test_file_that_cannot_be_meant_is_refused(tmp_path, text, near):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_settings(path, {})
    assert near in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_error_says_who_said_it(tmp_path):
    path = write(tmp_path, "[run]\nnumber = 1\n")
    for environment, over, words in (
        ({"L1SCOUT_RUN_NUMER": "1"}, (), ("environment", "did you mean L1SCOUT_RUN_NUMBER")),
        ({"L1SCOUT_RUN_NUMBER": "x"}, (), ("environment", "L1SCOUT_RUN_NUMBER", "'x'")),
        ({}, ["run.numer=1"], ("--set", "did you mean number")),
        ({}, ["run.number=x"], ("--set", "run.number", "'x'")),
        ({}, ["number"], ("section.name=value",)),
    ):
        with pytest.raises(InputError) as caught:
            read_settings(path, environment, over)
        assert all(word in str(caught.value) for word in words)
        assert str(path) not in str(caught.value)


def test_every_setting_is_described_with_its_unit():
    units = ("bytes", " s.", "orbits", "bx", "packets", "processes", "connected", "number", "level", "times",
             " id ", "segments", " in s;")  # fmt: skip
    every = list(each_setting())
    assert len(every) > 30
    for section, name, field in every:
        text = field.description or ""
        assert text.endswith("."), (section, name)
        if field.annotation in (int, float):
            assert any(unit in text.lower() for unit in units), (section, name)


@given(st.text(), st.floats(min_value=1e-300, allow_infinity=True))
def test_any_value_survives_the_file(tmp_path_factory, text, number):
    text = text.strip()
    settings = Settings(readout=ReadoutSection(listen=text, segment_seconds=number))
    path = write(tmp_path_factory.getbasetemp(), "")
    path.write_bytes(as_toml(settings).encode())
    assert read_settings(path, {}) == settings


SOURCES = """
[board]
pace = 0.5
[readout]
wire_format = "run2"
spool = "/spool"
[sources.gmt.board]
simulate = 10
[sources.calo.readout]
source = 2
listen = "127.0.0.1:7411"
"""


def test_a_source_has_what_is_set_for_it_and_for_all(tmp_path):
    settings = read_settings(write(tmp_path, SOURCES), {"L1SCOUT_SOURCES_CALO_BOARD_ORBITS": "7"})
    gmt, calo = settings.of_source("gmt"), settings.of_source("calo")
    assert (gmt.board.simulate, gmt.board.pace, gmt.readout.source) == (10, 0.5, 1)
    assert (calo.board.simulate, calo.board.pace, calo.board.orbits) == (0, 0.5, 7)
    assert (calo.readout.wire_format, calo.readout.source) == ("run2", 2)
    assert (gmt.readout.spool, calo.readout.spool) == (Path("/spool/gmt"), Path("/spool/calo"))
    over = read_settings(write(tmp_path, SOURCES), {}, ["sources.calo.readout.source=9"])
    assert over.of_source("calo").readout.source == 9
    assert read_settings(write(tmp_path, as_toml(settings)), {}) == settings
    with pytest.raises(InputError, match="no source 'cali'; did you mean calo"):
        settings.of_source("cali")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sources.calo.readout]\nsource = 1", "sources.calo.readout.source are both 1; give each its own"),
        ("[sources.calo.readout]\nsource = 2", "are both 127.0.0.1:7401; give each its own"),
        ("[sources.calo.readout]\nsource = 'x'", "sources.calo.readout.source = 'x': input should be"),
        ("[sources.calo.readout]\nlisen = 'x'", "readout.lisen is unknown; did you mean listen?"),
        ("[sources.calo.store]\nlevel = 1", "[sources.calo.store] is unknown; known are board, readout"),
        ("[sources.'Calo 1'.board]", "cannot be the name of a source"),
        ("[sources]\ncalo = 1", "sources.calo is a table"),
    ],
)  # fmt: skip
def test_sources_that_do_not_fit_are_refused(tmp_path, text, said):
    with pytest.raises(InputError) as caught:
        read_settings(write(tmp_path, f"[sources.gmt.board]\nsimulate = 1\n{text}\n"), {})
    assert said in str(caught.value)


def test_all_faults_are_known(tmp_path):
    path = write(tmp_path, "[run]\nnumber = -1\nname = 'x'\n[store]\nlevel = 99\n")
    with pytest.raises(SettingsError) as caught:
        read_settings(path, {})
    assert len(caught.value.faults) == 3
    assert str(caught.value) == caught.value.faults[0]
