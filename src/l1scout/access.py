"""Who may connect to a process of the chain, and at which address: TLS, a token, trusted networks.

What other machines can reach speaks TLS. A token goes over TLS only: without it, whoever listens on the port
first would get it. There is no handshake of our own.
"""

import contextlib
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from l1scout.errors import InputError

MIN_TOKEN = 16
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


@dataclass(frozen=True)
class Access:
    """Who may connect. Whatever is set is required.

    Parameters
    ----------
    token : str
        Shared secret of `MIN_TOKEN` characters or more; empty: none. It goes over TLS only.
    certificate, key : Path, optional
        Own certificate and its key: of a listener with TLS, and of a client whose listener asks for one.
    authority : Path, optional
        Certificates that a client trusts: the listener's own, or its issuer's. Set: the client speaks TLS.
    client_authority : Path, optional
        Issuer of the certificates that a listener with TLS asks of its clients.
    """

    token: str = field(default="", repr=False)
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    client_authority: Path | None = None

    def __post_init__(self) -> None:
        """Check what does not depend on an address."""
        check_token(self.token)
        if self.key and not self.certificate:
            msg = "access.key is set without access.certificate: set both, or neither"
            raise InputError(msg)

    def check(self, address: str) -> None:
        """Check that segments may be received at an address (InputError says what to set)."""
        if self.certificate is None:
            if not is_loopback(parse_address(address)[0]):
                msg = (
                    f"{address}: other machines can reach it: set access.certificate and access.key (TLS), "
                    "and access.token or access.client_authority"
                )
                raise InputError(msg)
            if self.token or self.client_authority:
                what = "access.token" if self.token else "access.client_authority"
                msg = f"{address}: {what} needs TLS: set access.certificate and access.key, or unset {what}"
                raise InputError(msg)
        elif not (self.token or self.client_authority or is_loopback(parse_address(address)[0])):
            msg = f"{address}: other machines can reach it: set access.token or access.client_authority"
            raise InputError(msg)

    def check_client(self, address: str) -> None:
        """Check that segments may be sent to an address (InputError says what to set)."""
        if self.authority is not None:
            return
        if self.token:
            msg = f"{address}: access.token needs TLS: set access.authority to the listener's certificate"
            raise InputError(msg)
        if not is_loopback(parse_address(address)[0]):
            msg = f"{address}: is another machine: set access.authority to its certificate (TLS)"
            raise InputError(msg)

    def check_boards(self, address: str, networks: Networks) -> None:
        """Check that boards may connect to an address (InputError says what to set)."""
        with_tls = self.certificate is not None and self.client_authority is not None
        if not (is_loopback(parse_address(address)[0]) or networks or with_tls):
            msg = (
                f"{address}: other machines can reach it: set readout.trusted_networks (of the boards), "
                "or access.certificate, access.key and access.client_authority (TLS)"
            )
            raise InputError(msg)

    def server(self) -> ssl.SSLContext | None:
        """Return the listener's side of TLS, None without (InputError if its files cannot be used).

        With `client_authority`, clients must show a certificate of that issuer.
        """
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load_own(context)
        if self.client_authority is not None:
            _load_authority(context, self.client_authority, "access.client_authority")
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self) -> ssl.SSLContext | None:
        """Return the client's side of TLS, None without (InputError if its files cannot be used).

        The listener must show a certificate of `authority` with its host name in it.
        """
        if self.authority is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_authority(context, self.authority, "access.authority")
        if self.certificate is not None:
            self._load_own(context)
        return context

    def _load_own(self, context: ssl.SSLContext) -> None:
        assert self.certificate is not None
        key = self.key or self.certificate
        for path, setting in ((self.certificate, "access.certificate"), (key, "access.key")):
            _check_readable(path, setting)
        try:
            context.load_cert_chain(self.certificate, key, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                msg = f"{key}: is not the key of {self.certificate}; give the two that were made together"
            else:
                msg = f"{self.certificate}, {key}: not a certificate and its key in PEM ({error.reason})"
            raise InputError(msg) from None


def _load_authority(context: ssl.SSLContext, path: Path, setting: str) -> None:
    _check_readable(path, setting)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        msg = f"{setting} = {path}: not a certificate in PEM ({error.reason or error})"
        raise InputError(msg) from None


def _check_readable(path: Path, setting: str) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        msg = f"{setting} = {path}: {(error.strerror or 'cannot be read').lower()} (TLS needs it)"
        raise InputError(msg) from None


def _no_password() -> str:
    msg = "access.key: the key has a password; give one without (mode 600 protects it)"
    raise InputError(msg)


def check_token(token: str) -> None:
    """Check a token, if there is one (InputError, which does not contain it)."""
    if token and (len(token) < MIN_TOKEN or not all("!" <= c <= "~" for c in token)):
        msg = (
            f"access.token: {MIN_TOKEN} characters or more are needed, without spaces and in ASCII; "
            "`openssl rand -hex 32` makes one"
        )
        raise InputError(msg)


def parse_address(text: str) -> tuple[str, int]:
    """Split ``host:port`` (InputError if it is none); IPv6 in brackets."""
    host, _, port = text.strip().removeprefix("tcp://").rpartition(":")
    if not _is_host(host) or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        msg = f"{text}: host:port expected"
        raise InputError(msg)
    return host.strip("[]"), int(port)


def _is_host(text: str) -> bool:
    """Say whether the system can be asked for a host of this name: for others, Python raises no `OSError`."""
    try:
        return bool(text) and bool(text.encode("idna"))
    except UnicodeError:
        return False


def parse_addresses(text: str) -> list[str]:
    """Split ``host:port, host:port`` (InputError if one is none, or there is none)."""
    addresses = [address.strip() for address in text.split(",")]
    for address in addresses:
        parse_address(address)
    return addresses


def parse_networks(text: str) -> Networks:
    """Read networks such as ``192.0.2.0/24, 2001:db8::/32`` (InputError if one is none)."""
    networks = []
    for one in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(one))
        except ValueError as error:
            msg = f"{error}; a network such as 192.0.2.0/24 expected"
            raise InputError(msg) from None
    return tuple(networks)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a listener there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_trusted(host: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Say whether a numerical address is this machine's own loopback or in one of the networks."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return address.is_loopback or any(address in network for network in networks)
    return False


def explain_tls(error: OSError, address: str, *, listens: bool = False) -> str:
    """Say in one line why TLS with an address failed, and what to do; `listens`: it connected to us."""
    ours, theirs = "access.client_authority", "access.authority"
    if not listens:
        ours, theirs = theirs, ours
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _VERIFY.get(error.verify_code, f"its certificate cannot be verified ({error.verify_message})")
        return f"{address}: {why.format(ours=ours, theirs=theirs)}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).upper()
        why = next((text for name, text in _REASONS.items() if name in reason), f"TLS failed ({reason})")
        return f"{address}: {why.format(ours=ours, theirs=theirs)}"
    what = "no answer" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
    return f"{address}: {what} to TLS" + ("" if listens else " (does it speak TLS there?)")


_FOREIGN = "its certificate is not one of {ours}, nor issued by it; copy the right one there"
_NAME = "its certificate is for another name: use the name in it, or make one with this name (subjectAltName)"
_VERIFY = {
    9: "its certificate is not valid yet: check the clocks of both machines",
    10: "its certificate has expired: make a new one, and copy it to {ours}",
    18: _FOREIGN,
    19: _FOREIGN,
    20: _FOREIGN,
    21: _FOREIGN,
    62: _NAME,
    64: _NAME,
}
"""By OpenSSL's verification code (X509_V_ERR_...)."""
_ASKS = "it asks for a certificate of ours: set access.certificate and access.key"
_REASONS = {
    "CERTIFICATE_REQUIRED": _ASKS,
    "PEER_DID_NOT_RETURN": "showed no certificate; its access.certificate is not set",
    "ALERT_UNKNOWN_CA": "it does not know the issuer of our certificate: see its {theirs}",
    "CERTIFICATE_EXPIRED": "our certificate has expired: make a new one (access.certificate)",
    "ALERT_BAD_CERTIFICATE": "it does not accept our certificate (access.certificate)",
    "HANDSHAKE_FAILURE": _ASKS,
    "WRONG_VERSION_NUMBER": "does not speak TLS there; set its access.certificate and access.key",
    "HTTP_REQUEST": "speaks plain HTTP to a port with TLS: set its access.authority",
    "UNEXPECTED_EOF": "closed the connection during the TLS handshake",
    "EOF OCCURRED": "closed the connection during the TLS handshake",
}
"""By a part of OpenSSL's reason, of what we or the other side found wrong."""
