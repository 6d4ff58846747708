"""Check of settings before a start: whatever can be known without starting a process."""

import os
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from l1scout.access import parse_address, parse_addresses, parse_networks
from l1scout.errors import InputError
from l1scout.files import own_folder
from l1scout.readout.readout import chosen_format
from l1scout.readout.spool import default_folder
from l1scout.settings import Settings

ROLES = ("board", "readout", "store")
"""Processes that a machine can have."""
SOON_S = 14 * 86400.0
"""A certificate that ends within this time is worth a warning."""
SPOOL_S, SEGMENT_BYTES_PER_S = 30.0, 20e6
"""A spool should hold what comes in this time, at the rate of a full LHC."""


class CheckLine(NamedTuple):
    """What a check has found."""

    level: Literal["ok", "warning", "error"]
    text: str


def check_settings(settings: Settings, roles: tuple[str, ...] = ROLES) -> Iterator[CheckLine]:
    """Check settings for the processes that this machine is to run; nothing is started or written."""
    sources = [(name, settings.of_source(name)) for name in settings.sources or ("",)]
    for name, own in sources:
        prefix = f"sources.{name}." if name else ""
        if "readout" in roles:
            yield from _readout(own, prefix)
        if "board" in roles:
            yield from _board(own, prefix)
    if "store" in roles:
        yield from _store(settings)
    if set(ROLES) <= set(roles):  # as `l1scout run` has them
        yield from _folder("run.folder", settings.run.folder)
        yield from _fit(settings, sources)
    for model in settings.monitor.anomaly_models:
        yield _attempt(f"monitor.anomaly_models: {model}", lambda model=model: _anomaly_model(model))  # type: ignore[misc]
    yield from _certificates(settings)


def _attempt(good: str, act: Callable[[], object]) -> CheckLine:
    """Return whether something works, or why not."""
    try:
        act()
    except InputError as error:
        return CheckLine("error", str(error))
    return CheckLine("ok", good)


def _readout(settings: Settings, prefix: str) -> Iterator[CheckLine]:
    readout, access = settings.readout, settings.access.access
    yield _attempt(f"{prefix}readout.wire_format: {readout.wire_format}", lambda: chosen_format(settings))
    yield from _port(f"{prefix}readout.listen", readout.listen)
    yield from _boards_may_connect(settings, prefix)
    for address in parse_addresses(readout.store):
        yield _attempt(
            f"{prefix}readout.store: segments may be sent to {address}",
            lambda address=address: access.check_client(address),  # type: ignore[misc]
        )
    spool = readout.spool or default_folder()
    yield from _folder(f"{prefix}readout.spool", spool)
    free = _free_bytes(spool)
    if readout.spool_bytes > free:
        yield CheckLine(
            "warning",
            f"{prefix}readout.spool_bytes: {readout.spool_bytes / 1e9:.1f} GB, but {spool} has "
            f"{free / 1e9:.1f} GB free",
        )
    holds_s = min(readout.spool_bytes or free, free) / SEGMENT_BYTES_PER_S
    if holds_s < SPOOL_S:
        yield CheckLine(
            "warning", f"{prefix}readout.spool: holds {holds_s:.0f} s of a full LHC without a store"
        )


def _boards_may_connect(settings: Settings, prefix: str) -> Iterator[CheckLine]:
    readout, access = settings.readout, settings.access.access
    networks = parse_networks(readout.trusted_networks)
    yield _attempt(
        f"{prefix}readout.listen: boards may connect to {readout.listen}",
        lambda: access.check_boards(readout.listen, networks),
    )
    if networks:
        listed = ", ".join(map(str, networks))
        yield CheckLine("warning", f"{prefix}readout.trusted_networks: all in {listed} can send orbits")


def _board(settings: Settings, prefix: str) -> Iterator[CheckLine]:
    board = settings.board
    if board.packets and board.simulate:
        yield CheckLine("error", f"[{prefix}board]: set either packets (a file) or simulate, not both")
    elif board.packets:
        yield _attempt(f"{prefix}board.packets: {board.packets}", lambda: _readable(board.packets))
    elif not board.simulate:
        yield CheckLine("ok", f"[{prefix}board]: sends nothing; boards connect to {settings.readout.listen}")


def _store(settings: Settings) -> Iterator[CheckLine]:
    store = settings.store
    yield _attempt(
        f"store.listen: segments may be received at {store.listen}",
        lambda: settings.access.access.check(store.listen),
    )
    yield from _port("store.listen", store.listen)
    yield from _folder("store.folder", store.folder)
    free, needed = _free_bytes(store.folder), store.reserve_bytes + store.max_segment_bytes
    if free < needed:
        yield CheckLine(
            "error" if free < store.reserve_bytes else "warning",
            f"store.folder: {store.folder} has {free / 1e9:.1f} GB free; store.reserve_bytes and "
            f"a segment of store.max_segment_bytes are {needed / 1e9:.1f} GB",
        )
    yield _attempt(f"store.method: {store.method}, level {store.level}", lambda: _method(settings))


def _method(settings: Settings) -> None:
    from l1scout.store.compress import Method

    recalibrate = settings.recalibrate
    Method(settings.store.method, settings.store.level, recalibrate.model, recalibrate.engine).check()


def _anomaly_model(folder: Path) -> None:
    from l1scout.model.directory import load_model

    load_model(folder, anomaly=True)


def _fit(settings: Settings, sources: list[tuple[str, Settings]]) -> Iterator[CheckLine]:
    """Compare what readout and store of one machine say of each other."""
    for name, own in sources:
        first = parse_addresses(own.readout.store)[0]
        if _port_of(first) != _port_of(settings.store.listen):
            where = f"sources.{name}.readout.store" if name else "readout.store"
            yield CheckLine(
                "warning",
                f"{where}: {first} is not store.listen ({settings.store.listen}): `l1scout run` refuses that",
            )


def _certificates(settings: Settings) -> Iterator[CheckLine]:
    access = settings.access
    if not (access.certificate or access.authority or access.client_authority):
        yield CheckLine("ok", "[access]: no TLS; loopback and trusted networks only")
        return
    if access.certificate:
        yield _attempt(
            f"access.certificate: fits its key, {access.key or access.certificate}", access.access.server
        )
    if access.authority:
        yield _attempt(f"access.authority: {access.authority}", access.access.client)
    key = access.key or access.certificate
    if key and _mode(key) & (stat.S_IRWXO | stat.S_IWGRP):
        yield CheckLine("warning", f"access.key: not this user only can read {key}: chmod 600 or 640")
    for name in ("certificate", "authority", "client_authority"):
        if path := getattr(access, name):
            yield from _dates(f"access.{name}", path)


def _dates(name: str, path: Path) -> Iterator[CheckLine]:
    """Say when a certificate ends."""
    try:
        # the standard library reads a certificate's dates from a file only with this function
        decoded = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    except (OSError, ssl.SSLError):
        return  # has been described
    begins, ends = (ssl.cert_time_to_seconds(decoded[key]) for key in ("notBefore", "notAfter"))
    now = time.time()
    if now < begins:
        yield CheckLine("error", f"{name}: {path} begins on {decoded['notBefore']}: is the clock right?")
    elif now >= ends:
        yield CheckLine("error", f"{name}: {path} has ended on {decoded['notAfter']}; make a new one")
    elif ends - now < SOON_S:
        yield CheckLine("warning", f"{name}: {path} ends in {(ends - now) / 86400:.0f} days; make a new one")
    else:
        yield CheckLine("ok", f"{name}: {path} is valid until {decoded['notAfter']}")


def _port(name: str, address: str) -> Iterator[CheckLine]:
    """Say whether a process can listen at an address now."""
    try:
        host, port = parse_address(address)
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, port))
            one.listen()
    except InputError as error:
        yield CheckLine("error", f"{name}: {error}")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        yield CheckLine("error", f"{name}: cannot listen at {address} ({why}); is one at work there?")
    else:
        yield CheckLine("ok", f"{name}: {address} is free")


def _folder(name: str, folder: Path) -> Iterator[CheckLine]:
    """Say whether a folder, or the one in which it is to be made, can be written, and is ours."""
    there = _existing(folder)
    try:
        if there == folder.absolute():
            own_folder(folder, name)  # it is there: nothing is made
    except (InputError, OSError) as error:
        yield CheckLine("error", str(error))
        return
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield CheckLine("error", f"{name}: {there} is not a folder that this user can write")
    else:
        made = "" if there == folder.absolute() else " (will be made)"
        yield CheckLine("ok", f"{name}: {folder}{made}, {_free_bytes(folder) / 1e9:.1f} GB free")


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if os.path.lexists(path))


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(_existing(folder)).free
    except OSError:
        return 0


def _readable(path: Path | None) -> None:
    try:
        assert path
        path.open("rb").close()
    except OSError as error:
        msg = f"board.packets: {path}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from error


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _port_of(address: str) -> int | None:
    try:
        return parse_address(address)[1]
    except InputError:
        return None
