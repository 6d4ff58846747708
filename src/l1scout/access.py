"""Who may connect to a process of the chain, and at which address."""

import hmac
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from l1scout.errors import InputError


@dataclass(frozen=True)
class Access:
    """Who may connect.

    Parameters
    ----------
    token : str
        Shared secret of at least 16 characters; empty: anybody on this machine.
    certificate, key : Path, optional
        Of a listener with TLS.
    authority : Path, optional
        Of a sender with TLS: the certificate, or its issuer's, that the listener must show.
    """

    token: str = ""
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    def server(self) -> ssl.SSLContext | None:
        """Return the listener's side of TLS, None without (InputError if its files cannot be used)."""
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            msg = f"{self.certificate}: no certificate and key for TLS there ({error})"
            raise InputError(msg) from error
        return context

    def client(self) -> ssl.SSLContext | None:
        """Return the sender's side of TLS, None without (InputError if its file cannot be used)."""
        if self.authority is None:
            return None
        try:
            return ssl.create_default_context(cafile=str(self.authority))
        except (OSError, ssl.SSLError) as error:
            msg = f"{self.authority}: no certificate for TLS there ({error})"
            raise InputError(msg) from error

    def proof(self, role: str, nonce: str) -> str:
        """Return what shows that `role` knows the token."""
        return hmac.new(self.token.encode(), f"l1scout {role} {nonce}".encode(), "sha256").hexdigest()


def parse_address(text: str) -> tuple[str, int]:
    """Split ``host:port`` (InputError if it is none); IPv6 in brackets."""
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        msg = f"{text}: host:port expected"
        raise InputError(msg)
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a listener there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
