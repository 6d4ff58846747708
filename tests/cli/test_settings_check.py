"""``l1scout settings --check``: all that is wrong with settings, before a start."""

import socket

import pytest
from typer.testing import CliRunner

from certificates import make_certificate
from chain import Ports
from l1scout.cli import make_app


@pytest.fixture
def ports():
    ports = Ports(3)
    yield ports.numbers
    ports.close()


@pytest.fixture
def good(tmp_path, ports, monkeypatch):
    """Settings in which nothing is wrong, as options."""
    monkeypatch.chdir(tmp_path)
    here = {
        "readout.listen": f"127.0.0.1:{ports[0]}",
        "readout.store": f"127.0.0.1:{ports[1]}",
        "store.listen": f"127.0.0.1:{ports[1]}",
        "readout.spool": tmp_path / "spool",
        "readout.spool_bytes": 10**9,
        "store.folder": tmp_path / "store",
        "store.max_segment_bytes": 10**6,
        "store.reserve_bytes": 0,
    }
    return [f"--set={name}={value}" for name, value in here.items()]


def check(*words: object) -> tuple[int, dict[str, list[str]]]:
    """Return the exit status, and the lines of each level."""
    done = CliRunner().invoke(make_app(), ["settings", "--check", *map(str, words)])
    lines: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
    for line in done.stdout.splitlines():
        level, _, text = line.partition(" ")
        lines[level].append(text.strip())
    return done.exit_code, lines


def test_good_settings(good, tmp_path):
    code, lines = check(*good)
    assert (code, lines["warning"], lines["error"]) == (0, [], [])
    assert len(lines["ok"]) > 8
    assert not list(tmp_path.iterdir())  # nothing is made


def test_all_wrong_names_and_values_are_listed(tmp_path, good):
    path = tmp_path / "chain.toml"
    path.write_text("[readout]\nlisten_on = 'x:1'\n[store]\nlevel = 99\n[redout]\n")
    code, lines = check(path)
    assert code == 2
    assert len(lines["error"]) == 3
    for text in ("did you mean listen?", "store.level = '99'", "[redout] is unknown; did you mean readout?"):
        assert any(text in line for line in lines["error"]), lines


@pytest.mark.parametrize(
    ("over", "level", "text"),
    [
        ("readout.wire_format=run9", "error", "readout.wire_format: "),
        ("readout.listen=nowhere", "error", "nowhere: host:port expected"),
        ("store.listen=0.0.0.0:{2}", "error", "set access.certificate and access.key"),
        ("readout.listen=0.0.0.0:{2}", "error", "set readout.trusted_networks"),
        ("readout.trusted_networks=192.0.2.0/24", "warning", "all in 192.0.2.0/24 can send orbits"),
        ("readout.store=192.0.2.1:7402", "error", "is another machine"),
        ("readout.store=127.0.0.1:1", "warning", "is not store.listen"),
        ("store.reserve_bytes=1000000000000000000", "error", "GB free; store.reserve_bytes"),
        ("readout.spool_bytes=1000000000000000000", "warning", "GB, but "),
        ("board.packets=none.dat", "error", "none.dat: no such file"),
        ("recalibrate.model=none", "error", "none/card.json: cannot be read"),
        ("store.folder=/dev/null/store", "error", "store.folder: "),
        ("access.certificate=none.pem", "error", "none.pem: no such file"),
    ],
)
def test_what_does_not_fit_is_said(good, ports, over, level, text):
    code, lines = check(*good, f"--set={over.format(*ports)}")
    assert any(text in line for line in lines[level]), lines
    assert code == (2 if level == "error" else 0)


def test_roles_leave_out_what_the_machine_does_not_run(good):
    assert check(*good, "--set=board.packets=none.dat", "--role=store")[0] == 0
    assert check(*good, "--set=store.folder=/dev/null/x", "--role=readout")[0] == 0
    assert CliRunner().invoke(make_app(), ["settings", "--check", "--role=disk"]).exit_code != 0


def test_a_port_that_is_taken(good, ports):
    with socket.create_server(("127.0.0.1", ports[0])):
        code, lines = check(*good)
    assert code == 2
    assert any("readout.listen: cannot listen" in line for line in lines["error"])


def test_a_spool_that_others_can_reach(good, tmp_path):
    target = tmp_path / "elsewhere"
    target.mkdir()
    (tmp_path / "spool").symlink_to(target)
    assert any("it is a symbolic link" in line for line in check(*good)[1]["error"])
    (tmp_path / "spool").unlink()
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o777)
    assert any("chmod go-w" in line for line in check(*good)[1]["error"])


def test_certificates_their_keys_and_dates(good, tmp_path):
    lasting = make_certificate(tmp_path, "lasting", days=100)
    soon = make_certificate(tmp_path, "soon")
    ended = make_certificate(tmp_path, "ended", expired=True)
    for one, key, level, text in (
        (lasting, lasting, "ok", "is valid until"),
        (soon, soon, "warning", "ends in"),
        (ended, ended, "error", "has ended on"),
        (lasting, soon, "error", "is not the key of"),
    ):
        over = (f"--set=access.certificate={one.certificate}", f"--set=access.key={key.key}")
        code, lines = check(*good, *over)
        assert any(text in line for line in lines[level]), lines
        assert code == (2 if level == "error" else 0)
    lasting.key.chmod(0o644)
    over = (f"--set=access.certificate={lasting.certificate}", f"--set=access.key={lasting.key}")
    assert any("chmod 600" in line for line in check(*good, *over)[1]["warning"])
