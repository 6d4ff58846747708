"""Certificates and keys for tests, made with openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from l1scout.access import Access

_CONFIG = """
[ca]
default_ca = issuer
[issuer]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
subjectAltName = {host}
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


def make_certificate(
    folder: Path,
    name: str = "own",
    *,
    host: str = "IP:127.0.0.1",
    expired: bool = False,
    days: int = 2,
    issuer: Certificate | None = None,
) -> Certificate:
    """Make a certificate for a host, by an issuer or signed by itself."""
    here = folder / name
    here.mkdir(parents=True)
    made = Certificate(here / "cert.pem", here / "key.pem")
    config, request = here / "openssl.cnf", here / "request.pem"
    config.write_text(_CONFIG.format(folder=here, host=host))
    (here / "index").touch()
    _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
             f"/CN={name}", "-keyout", made.key, "-out", request)  # fmt: skip
    by = (
        ("-cert", issuer.certificate, "-keyfile", issuer.key)
        if issuer
        else ("-selfsign", "-keyfile", made.key)
    )
    age = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z") if expired else ("-days", days)
    files = ("-config", config, "-in", request, "-out", made.certificate)
    _openssl("ca", "-batch", "-notext", *files, *by, *age)
    return made


def make_certificates(folder: Path) -> dict[str, Certificate]:
    """Make an issuer, what it has signed for a listener and a board, and a foreign certificate; by name."""
    issuer = make_certificate(folder, "issuer")
    signed = {name: make_certificate(folder, name, issuer=issuer) for name in ("own", "board")}
    return {"issuer": issuer, **signed, "foreign": make_certificate(folder, "foreign")}


def listener_access(own: Certificate, token: str = "", clients: Certificate | None = None) -> Access:
    """Return the access of a listener with TLS."""
    return Access(token, own.certificate, own.key, client_authority=clients.certificate if clients else None)


def client_access(trusted: Certificate, token: str = "", own: Certificate | None = None) -> Access:
    """Return the access of a client with TLS."""
    return Access(
        token,
        own.certificate if own else None,
        own.key if own else None,
        authority=trusted.certificate,
    )


def _openssl(*words: object) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
