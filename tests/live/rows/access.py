"""Who is let in, and what others can do."""

import os
import socket
from contextlib import ExitStack, closing
from pathlib import Path

from certificates import make_certificate
from chain import PATIENCE_S, RUN, Chain
from l1scout.access import Access
from l1scout.readout.sender import Sender
from l1scout.settings import read_settings
from l1scout.store.store import Store
from live.fault_table import chain_fault, fault
from live.rows.data import TRUTH
from live.rows.stores import ORBITS, spooled
from orbit_truth import compare
from processes import run_command

TOKEN = "a-token-of-twenty-six-letters"
OTHER = "a-token-of-some-other-machine"


def send_wrong_then_right(
    folder: Path, right: Access, wrong: Access, token: str = "", **access: object
) -> str:
    """Let a readout that may not send try it, and then one that may; return the answer to the first one."""
    spool = spooled(folder)
    over = {"store.listen": "127.0.0.1:0", "store.folder": folder / "store", "store.method": "none"}
    over |= {f"access.{name}": value for name, value in access.items()}
    environment = {"L1SCOUT_ACCESS_TOKEN": token} if token else {}
    chosen = read_settings(None, environment, [f"{name}={value}" for name, value in over.items()])
    store = Store(chosen, lambda *_, **__: None)
    store.start()
    said: list[str] = []

    def log(event: str, **values: object) -> None:
        said.append(" ".join(map(str, (event, *values.values()))))

    with closing(store):
        sender = Sender(spool, store.server.address, wrong, log)
        sender.step()
        assert not list((folder / "store").glob("run*"))
        sender.stop()
        sender = Sender(spool, store.server.address, right, log)
        while not sender.drained():
            sender.step()
        sender.stop()
    found = compare(TRUTH, folder / "store", RUN, ORBITS)
    assert not found.wrong, found.wrong
    assert TOKEN not in "".join(said)
    return "\n".join(said)


@fault(
    "wrong token",
    "readout to store",
    "is not let in; the spool holds",
    "no token or a wrong one; set access.token as the store has it",
    "set access.token",
)
def wrong_token(folder: Path) -> str:
    own = make_certificate(folder, "own")
    files = {"certificate": own.certificate, "key": own.key, "token": TOKEN}
    right = Access(token=TOKEN, authority=own.certificate)
    return send_wrong_then_right(folder, right, Access(token=OTHER, authority=own.certificate), **files)


@fault(
    "no client certificate",
    "readout to store",
    "is not let in; the spool holds",
    "store not reached, trying again",
    "set access.certificate and access.key",
)
def no_certificate(folder: Path) -> str:
    own, issuer = make_certificate(folder, "own"), make_certificate(folder, "issuer")
    client = make_certificate(folder, "client", issuer=issuer)
    files = {"certificate": own.certificate, "key": own.key, "client_authority": issuer.certificate}
    right = Access(authority=own.certificate, certificate=client.certificate, key=client.key)
    return send_wrong_then_right(folder, right, Access(authority=own.certificate), **files)


@fault(
    "store that is not the right one, such as a man in the middle",
    "readout to store",
    "gets neither token nor data; the spool holds",
    "its certificate is not one of access.authority",
    "copy the store's certificate to access.authority",
)
def man_in_the_middle(folder: Path) -> str:
    own, other = make_certificate(folder, "own"), make_certificate(folder, "other")
    files = {"certificate": own.certificate, "key": own.key, "token": TOKEN}
    right = Access(token=TOKEN, authority=own.certificate)
    return send_wrong_then_right(folder, right, Access(token=TOKEN, authority=other.certificate), **files)


@fault(
    "plain HTTP to a store with TLS",
    "readout to store",
    "is not let in; the spool holds",
    "store not reached",
    "set access.authority",
)
def plain_http(folder: Path) -> str:
    own = make_certificate(folder, "own")
    files = {"certificate": own.certificate, "key": own.key, "token": TOKEN}
    return send_wrong_then_right(folder, Access(token=TOKEN, authority=own.certificate), Access(), **files)


def refused_settings(folder: Path, command: str, *over: str, **environment: str) -> str:
    """Start a process that must refuse its settings."""
    options = [f"--set={o}" for o in (f"run.folder={folder}", *over)]
    code, said = run_command(folder, command, *options, **environment)
    assert code == 2, said
    return said


@fault(
    "token without TLS",
    "store",
    "does not start: whoever listens first would get the token",
    "access.token goes over TLS only ... set access.certificate and access.key",
    "set access.certificate and access.key",
)
def token_without_tls(folder: Path) -> str:
    said = refused_settings(folder, "store", f"store.folder={folder / 'store'}", L1SCOUT_ACCESS_TOKEN=TOKEN)
    assert TOKEN not in said
    return said


@fault(
    "store that other machines can reach, without TLS",
    "store",
    "does not start",
    "other machines can reach it: set access.certificate and access.key (TLS)",
    "set access.certificate and access.key",
)
def open_store(folder: Path) -> str:
    return refused_settings(folder, "store", "store.listen=0.0.0.0:0", f"store.folder={folder / 'store'}")


@fault(
    "boards' port that other machines can reach, with neither TLS nor trusted networks",
    "readout",
    "does not start",
    "other machines can reach it: set readout.trusted_networks",
    "set readout.trusted_networks, or TLS",
)
def open_readout(folder: Path) -> str:
    return refused_settings(
        folder, "readout", "readout.listen=0.0.0.0:0", f"readout.spool={folder / 'spool'}"
    )


@fault(
    "token that is none",
    "settings",
    "is refused by a message that does not show it",
    "access.token: 16 characters or more are needed",
    "`openssl rand -hex 32`",
)
def short_token(folder: Path) -> str:
    said = refused_settings(folder, "store", L1SCOUT_ACCESS_TOKEN="hunter2")
    assert "hunter2" not in said
    return said


@fault(
    "token on the command line",
    "settings",
    "is refused by a message that does not show it",
    "everybody on this machine can read it on the command line",
    "put it in the environment or in the settings file",
)
def token_on_command_line(folder: Path) -> str:
    said = refused_settings(folder, "store", f"access.token={TOKEN}")
    assert TOKEN not in said
    return said


@chain_fault(
    "200 silent connections",
    "store",
    "nothing is lost, nobody waits: silent ones give way",
)
def silent_connections(chain: Chain) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", chain.store_port), PATIENCE_S))
        chain.to_store.cut()
        chain.send(400)
        chain.wait("readout", "sent", 4)


@chain_fault(
    "200 silent connections",
    "readout",
    "nothing is lost: a board that sends goes first",
    "too many connections that send nothing",
)
def silent_boards(chain: Chain) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", chain.readout_port), PATIENCE_S))
        chain.send(400)
        chain.wait("readout", "sent", 4)
        chain.wait_log("too many connections that send nothing")


@chain_fault(
    "client that speaks no HTTP",
    "store",
    "is answered 400, and closed; nothing is lost",
)
def no_http(chain: Chain) -> None:
    with socket.create_connection(("127.0.0.1", chain.store_port), PATIENCE_S) as client:
        client.sendall(b"\x00\x01 hello\r\n\r\n")
        assert b" 400 " in client.recv(1 << 12)
    chain.send(400)


@fault(
    "spool folder of somebody else",
    "readout",
    "does not start, and writes nothing there",
    "cannot use ... as the spool folder: it belongs to user",
    "name a folder of your own",
)
def foreign_spool(folder: Path) -> str:
    spool = folder / "spool"
    spool.mkdir(mode=0o700)
    os.chown(spool, 12345, 12345)
    said = refused_settings(folder, "readout", f"readout.spool={spool}")
    assert not list(spool.iterdir())
    return said


@fault(
    "spool folder that is a symbolic link",
    "readout",
    "does not start, and writes nothing there",
    "cannot use ... as the spool folder: it is a symbolic link",
    "name the folder that it leads to",
)
def linked_spool(folder: Path) -> str:
    (folder / "target").mkdir(mode=0o700)
    (folder / "spool").symlink_to(folder / "target")
    said = refused_settings(folder, "readout", f"readout.spool={folder / 'spool'}")
    assert not list((folder / "target").iterdir())
    return said


@fault(
    "symbolic link under the name of a segment in the spool",
    "readout",
    "is put aside and not followed",
)
def linked_segment(folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("secret")
    spool = folder / "spool"
    spool.mkdir(mode=0o700)
    name = "run000005_source01_ls0001_index000000.raw"
    for suffix in (".part", ".json", ".json.new", ""):
        (spool / f"{name}{suffix}").symlink_to(secret)
    spooled(folder)
    assert secret.read_text() == "secret"
