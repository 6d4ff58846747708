"""Which listeners may be opened, and what is wrong with a certificate: real files, real handshakes."""

import contextlib
import socket
import ssl
import threading

import pytest

from certificates import Certificate, client_access, listener_access, make_certificate, make_certificates
from l1scout.access import Access, explain_tls, is_trusted, parse_address, parse_addresses, parse_networks
from l1scout.errors import InputError
from l1scout.wire import WireError, connect

TOKEN = "a-token-of-more-than-sixteen"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Certificate]:
    folder = tmp_path_factory.mktemp("certificates")
    return {
        **make_certificates(folder),
        "expired": make_certificate(folder, "expired", expired=True),
        "elsewhere": make_certificate(folder, "elsewhere", host="DNS:store.example.org"),
    }


def test_what_other_machines_can_reach_has_tls_and_a_token_or_certificates(made):
    own = made["own"]
    tls = listener_access(own)
    for good in (listener_access(own, TOKEN), listener_access(own, clients=made["issuer"])):
        for address in ("0.0.0.0:1", "127.0.0.1:1", "[::]:1", "store.example.org:1"):
            good.check(address)
    Access().check("127.0.0.1:1")
    Access().check("[::1]:1")
    tls.check("localhost:1")
    for bad, what in ((Access(), "access.certificate and access.key"), (tls, "access.token or")):
        for address in ("0.0.0.0:1", "192.0.2.7:1", "[::]:1", "store.example.org:1"):
            with pytest.raises(InputError, match=what):
                bad.check(address)


def test_a_token_never_goes_without_tls():
    for address in ("127.0.0.1:1", "0.0.0.0:1"):
        with pytest.raises(InputError, match=r"certificate and access\.key"):
            Access(TOKEN).check(address)
    for address in ("127.0.0.1:1", "192.0.2.7:1"):
        with pytest.raises(InputError, match=r"needs TLS: set access\.authority"):
            Access(TOKEN).check_client(address)
    with pytest.raises(InputError, match=r"another machine: set access\.authority"):
        Access().check_client("192.0.2.7:1")
    Access().check_client("127.0.0.1:1")


@pytest.mark.parametrize(
    "token", ["short", "with a space in it ...", "of-another-line\nX: y", "naïve-but-long-enough"]
)
def test_tokens_that_are_none(token):
    with pytest.raises(InputError, match="16 characters") as caught:
        Access(token)
    assert token not in str(caught.value)


def test_files_that_are_no_certificates_have_a_line_each(made, tmp_path):
    own, foreign, none, text = made["own"], made["foreign"], tmp_path / "none.pem", tmp_path / "text.pem"
    text.write_text("not PEM")
    for bad, words in (
        (Access(certificate=none, key=own.key), "none.pem: no such file"),
        (Access(certificate=own.certificate, key=none), "none.pem: no such file"),
        (Access(certificate=own.certificate, key=foreign.key), "is not the key of"),
        (Access(certificate=text, key=own.key), "not a certificate and its key in PEM"),
        (Access(certificate=own.certificate, key=own.key, client_authority=text), "not a certificate in PEM"),
        (Access(certificate=own.certificate, key=own.key, client_authority=none), "none.pem: no such file"),
    ):
        with pytest.raises(InputError, match=words):
            bad.server()
    for bad, words in ((none, "none.pem: no such file"), (text, "not a certificate in PEM")):
        with pytest.raises(InputError, match=words):
            Access(authority=bad).client()
    with pytest.raises(InputError, match=r"access\.key is set without"):
        Access(key=own.key)


def shake_hands(server: Access, client: Access, host: str = "127.0.0.1") -> str:
    """Let a client send a byte to a listener; return what the client is told, empty if all is well."""
    context = server.server()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), contextlib.ExitStack() as closing:
                closing.enter_context(connection)
                if context:
                    connection = closing.enter_context(context.wrap_socket(connection, server_side=True))
                connection.sendall(connection.recv(1))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            with connect(f"{host}:{listener.getsockname()[1]}", client.client()) as connection:
                connection.sendall(b"x")
                return "" if connection.recv(1) == b"x" else "closed"
        except OSError as error:
            return str(error)
        finally:
            thread.join()


def test_who_is_not_the_right_one_is_told_why_and_what_to_do(made):
    own, issuer, board = made["own"], made["issuer"], made["board"]
    assert shake_hands(listener_access(own), client_access(issuer)) == ""
    assert shake_hands(listener_access(own, clients=issuer), client_access(issuer, own=board)) == ""
    for server, trusted, words in (
        ("own", "foreign", "not one of access.authority"),
        ("foreign", "issuer", "not one of access.authority"),
        ("expired", "expired", "has expired: make a new one"),
        ("elsewhere", "elsewhere", "for another name"),
    ):
        told = shake_hands(listener_access(made[server]), client_access(made[trusted]))
        assert words in told
        assert "\n" not in told
    assert "speak TLS there" in shake_hands(Access(), client_access(issuer))
    for board in (None, made["foreign"], made["expired"]):
        assert shake_hands(listener_access(own, clients=issuer), client_access(issuer, own=board))


@pytest.mark.parametrize("address", ["nowhere", ":1", "h:x", "h:70000", "h:", "h:²", "a:1,", "a:1,b"])
def test_addresses_that_are_none(address):
    with pytest.raises(InputError, match="host:port expected"):
        parse_addresses(address)


def test_who_listens_is_told_the_setting_of_his_side():
    unknown = ssl.SSLCertVerificationError()
    unknown.verify_code, unknown.verify_message = 20, "unable to get local issuer certificate"
    assert "not one of access.authority," in explain_tls(unknown, "store:7402")
    assert "not one of access.client_authority," in explain_tls(unknown, "", listens=True)


def test_addresses():
    assert parse_address("[::1]:7") == ("::1", 7)
    assert parse_addresses("a:1, [::1]:2") == ["a:1", "[::1]:2"]


def test_trusted_networks():
    networks = parse_networks("192.0.2.0/24, 2001:db8::/32")
    for host in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "127.0.0.5", "::1", "::ffff:127.0.0.1"):
        assert is_trusted(host, networks)
    for host in ("192.0.3.7", "2001:db9::1", "fe80::1%eth0", "localhost", "", "x"):
        assert not is_trusted(host, networks)
    assert parse_networks("") == ()
    for text in ("192.0.2.7/24", "here", "192.0.2.0/33"):
        with pytest.raises(InputError, match="a network such as"):
            parse_networks(text)


def test_a_closed_port_and_a_silent_listener_are_told_apart(made):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "{}:{}".format(*silent.getsockname())
        with pytest.raises(WireError):
            connect(address, client_access(made["issuer"]).client(), limit_s=0.1)
    with pytest.raises(WireError, match="connection refused"):
        connect(address, None)


@pytest.mark.parametrize("host", ["a" * 64, "store..example", ".example"])
def test_a_host_that_no_system_can_look_up_is_no_address(host):
    """Python raises `UnicodeError` for it, not `OSError`: threads that connect would end."""
    with pytest.raises(InputError, match="host:port expected"):
        parse_address(f"{host}:7401")
