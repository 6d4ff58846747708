"""Boards connect here: raw TCP on this machine and from trusted networks, TLS with a certificate from others.

One board at a time. A connection counts as a board's when it has sent something; until then it costs a file
descriptor, and gives way to newer ones. A board that comes while another one is connected waits, unread,
until it is sure that the other one is at work: then it is rejected. So nothing is lost of a board that was
started again faster than readout has read what the one before had sent.
"""

import contextlib
import select
import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from l1scout.access import Access, Networks, explain_tls, is_trusted
from l1scout.readout.streams_in import Ending
from l1scout.wire import IDLE_S, interrupt, keep_alive, listening_socket, shut

HANDSHAKE_S = 5.0
"""Total time of a TLS handshake."""
TAKEOVER_S = 2.0
"""Time without a packet after which a board gives way to another connection that sends."""
SURE_S = 2.0
"""A board that still sends packets this long after another one has come is at work."""
_TICK_S = 0.25
_LEFT_BYTES = 1 << 26
"""Read at most, of what had arrived when readout stopped to listen."""
_MAX_WAITING = 128
_ACCEPT_AT_ONCE = 64
_GATHER_BYTES, _GATHER_S = 1 << 22, 0.05
"""Bytes to wait for, and the longest wait, once all that had arrived was read: packets that are read together
take two thirds of the processor time of single ones."""
_ALARM_S = 60.0
_MAX_HELD = 8
_PEEK = 6


class BoardConnection:
    """A board's connection as a stream; it ends when the board closes it, is silent, or readout stops.

    Parameters
    ----------
    connection : socket.socket
    peer : str
        Its address.
    ending : Ending
        Whether readout is to stop.

    Attributes
    ----------
    ended : bool
        All that it sent was read.
    """

    def __init__(self, connection: socket.socket, peer: str, ending: Ending) -> None:
        self.socket, self.peer, self._ending = connection, peer, ending
        self.ended, self._left = False, _LEFT_BYTES
        self._gathers = not isinstance(connection, ssl.SSLSocket)  # which gives little at a time
        self._all_read = False
        self._began = time.monotonic()
        self._last_packet: float | None = None
        self._waits_since: float | None = None
        connection.settimeout(_TICK_S)

    def readinto(self, buffer: memoryview, /) -> int:
        """Wait for bytes."""
        self._waits_since = since = time.monotonic()
        try:
            while time.monotonic() - since < IDLE_S:
                try:
                    if self._ending.now:
                        return self._what_has_arrived(buffer)
                    if self._all_read:
                        self._gather()
                    n = self.socket.recv_into(buffer)
                    self._all_read = self._gathers and n < len(buffer)
                    self.ended = n == 0
                    return n
                except TimeoutError:
                    if self._ending.soon():
                        return 0
                except OSError:
                    return 0  # reset: what was received counts
            return 0
        finally:
            self._waits_since = None

    def _gather(self) -> None:
        """Wait until several packets have arrived, the socket's buffer is full, or `_GATHER_S` has passed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _GATHER_BYTES)
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.poll(1000 * _GATHER_S)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def _what_has_arrived(self, buffer: memoryview) -> int:
        self.socket.settimeout(0)
        n = self.socket.recv_into(buffer) if self._left > 0 else 0
        self._left -= n
        return n

    def has_sent_packet(self) -> None:
        """Note that a packet was read: who sends packets is a board."""
        self._last_packet = time.monotonic()

    def gives_way(self) -> bool:
        """Say whether another board may take its place: it is silent, or has never sent a packet."""
        since = self._began if self._last_packet is None else self._waits_since
        return since is not None and time.monotonic() - since >= TAKEOVER_S

    def is_at_work(self, since: float) -> bool:
        """Say whether it still sends, long after another one has come."""
        return self._last_packet is not None and self._last_packet - since >= SURE_S


@dataclass
class _Waiting:
    """A connection that has not shown yet that it is a board."""

    socket: socket.socket
    host: str
    peer: str
    end: float
    handshake: ssl.SSLSocket | None = None
    held_since: float = 0.0


class BoardListener:
    """Accepts one board after the other, and hands each to a thread of its own.

    Parameters
    ----------
    address : str
        ``host:port``; port 0 takes a free one.
    access : Access
        With `certificate` and `client_authority`, boards of other machines can connect by TLS.
    networks : tuple of networks
        Boards there connect without TLS, as those on this machine do.
    handle : callable
        Gets the `BoardConnection`, which is closed when it returns.
    ending : Ending
        Given to the connections.
    log : callable
        ``log(event, level=..., **values)``.

    Attributes
    ----------
    rejected : int
        Connections that were not let in.

    Raises
    ------
    InputError
        If the address cannot be had, or boards of other machines could not connect safely.
    """

    def __init__(
        self,
        address: str,
        access: Access,
        networks: Networks,
        handle: Callable[[BoardConnection], None],
        *,
        ending: Ending,
        log: Callable[..., None],
    ) -> None:
        access.check_boards(address, networks)
        self._context = access.server() if access.client_authority else None
        self._networks, self._handle, self._ending, self._log = networks, handle, ending, log
        self._socket, self.address = listening_socket(address)
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[socket.socket, _Waiting] = {}
        self._held: list[_Waiting] = []
        self._board: BoardConnection | None = None
        self._serving: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="board listener", daemon=True)
        self.rejected = 0
        self._last_rejected = ("", -_ALARM_S)

    @property
    def connected(self) -> bool:
        """Whether a board is connected, or what it has sent is still being read."""
        return self._serving is not None and self._serving.is_alive()

    @property
    def alarms(self) -> list[str]:
        """What an operator must look at now, one line each."""
        why, when = self._last_rejected
        if time.monotonic() - when > _ALARM_S:
            return []
        return [f"{self.rejected} connections to the boards' port rejected, the last one: {why}"]

    def start(self) -> "BoardListener":
        """Accept, in a thread."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Take no more connections, and close all."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(5.0)
        self._socket.close()
        with self._lock:
            board = self._board
        if board:
            interrupt(board.socket)

    def _run(self) -> None:
        self._selector.register(self._socket, selectors.EVENT_READ)
        while not self._closed.is_set():
            for key, _ in self._selector.select(_TICK_S):
                if key.fileobj is self._socket:
                    self._accept()
                elif waiting := self._waiting.get(key.fileobj):  # type: ignore[call-overload]
                    self._look_at(waiting)
            now = time.monotonic()
            for waiting in [w for w in self._waiting.values() if now > w.end]:
                what = "no TLS handshake in time" if waiting.handshake else "sent nothing"
                self._reject(waiting, what)
            for held in self._held.copy():
                self._admit_or_reject(held)
        for waiting in (*self._waiting.values(), *self._held):
            shut(waiting.socket)
        self._selector.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                connection, address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:  # such as too many open files
                self._log("cannot accept a connection", level="error", why=error.strerror)
                self._closed.wait(_TICK_S)
                return
            host, peer = address[0], "{}:{}".format(*address[:2])
            waiting = _Waiting(connection, host, peer, time.monotonic() + IDLE_S)
            connection.setblocking(False)
            self._waiting[connection] = waiting
            self._selector.register(connection, selectors.EVENT_READ)
            if not is_trusted(host, self._networks) and self._context is None:
                self._reject(
                    waiting, "is not in readout.trusted_networks, and readout has no certificate for TLS"
                )
            elif len(self._waiting) > _MAX_WAITING:
                self._reject(self._dispensable(), "too many connections that send nothing")

    def _dispensable(self) -> _Waiting:
        """Return the oldest silent connection of the machine that has most of them."""
        silent = [w for w in self._waiting.values() if w.handshake is None] or [*self._waiting.values()]
        most, _ = Counter(w.host for w in silent).most_common(1)[0]
        return next(w for w in silent if w.host == most)

    def _look_at(self, waiting: _Waiting) -> None:
        """Read the first bytes of a connection, or go on with its handshake."""
        try:
            if waiting.handshake is None:
                first = waiting.socket.recv(_PEEK, socket.MSG_PEEK)
                if not first:
                    self._reject(waiting, "closed without having sent anything")
                    return
                if is_trusted(waiting.host, self._networks):
                    self._decide(waiting, first)
                    return
                self._begin_handshake(waiting)
            assert waiting.handshake is not None
            waiting.handshake.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(waiting.socket, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._selector.modify(waiting.socket, selectors.EVENT_WRITE)
        except BlockingIOError:
            return
        except OSError as error:
            self._reject(waiting, explain_tls(error, "", listens=True).removeprefix(": "))
        else:
            self._hold(waiting)

    def _begin_handshake(self, waiting: _Waiting) -> None:
        assert self._context is not None
        old = waiting.socket
        self._forget(waiting)
        waiting.end = time.monotonic() + HANDSHAKE_S
        waiting.socket = waiting.handshake = self._context.wrap_socket(
            old, server_side=True, do_handshake_on_connect=False
        )
        self._waiting[waiting.socket] = waiting
        self._selector.register(waiting.socket, selectors.EVENT_READ)

    def _decide(self, waiting: _Waiting, first: bytes) -> None:
        if len(first) == _PEEK and first[:2] == b"\x16\x03" and first[2] < 5 and first[5] == 1:
            msg = "speaks TLS, but readout trusts its network: set readout.trusted_networks there, too"
            self._reject(waiting, msg)
        else:
            self._hold(waiting)

    def _hold(self, waiting: _Waiting) -> None:
        """Take a connection that is a board's out of those that are waited for; read nothing of it yet."""
        if len(self._held) >= _MAX_HELD:
            self._reject(waiting, "too many boards")
            return
        self._forget(waiting)
        waiting.held_since = time.monotonic()
        waiting.end = waiting.held_since + IDLE_S
        self._held.append(waiting)
        self._admit_or_reject(waiting)

    def _admit_or_reject(self, held: _Waiting) -> None:
        """Let a board in if there is no other, or one that gives way; reject it if the other is at work."""
        with self._lock:
            board, serving = self._board, self._serving
        if board and not board.gives_way():
            if board.is_at_work(held.held_since) or time.monotonic() > held.end:
                self._reject(held, f"another board is connected, from {board.peer}")
            return
        if board:
            self._log("board gives way to another one", level="warning", peer=board.peer, to=held.peer)
            interrupt(board.socket)
        self._forget(held)
        keep_alive(held.socket)
        new = BoardConnection(held.socket, held.peer, self._ending)
        thread = threading.Thread(target=self._serve, args=(new, serving), name="board", daemon=True)
        with self._lock:
            self._board, self._serving = new, thread
        thread.start()

    def _serve(self, board: BoardConnection, before: threading.Thread | None) -> None:
        if before:
            before.join()  # packets come in order
        self._log("connected", peer=board.peer)
        try:
            self._handle(board)
        except OSError as error:
            self._log("connection ended", level="warning", peer=board.peer, why=str(error))
        finally:
            with self._lock:
                if self._board is board:
                    self._board = None
            if board.ended and isinstance(board.socket, ssl.SSLSocket):
                with contextlib.suppress(OSError):
                    board.socket.unwrap()  # so that the board knows that all was read
            board.socket.close()  # without TLS, the board sees it by this

    def _forget(self, waiting: _Waiting) -> None:
        if waiting in self._held:
            self._held.remove(waiting)
        elif self._waiting.pop(waiting.socket, None):
            self._selector.unregister(waiting.socket)

    def _reject(self, waiting: _Waiting, why: str) -> None:
        """Close a connection, and count and log it."""
        self._forget(waiting)
        shut(waiting.socket)
        self.rejected += 1
        self._last_rejected = (f"{waiting.peer} {why}", time.monotonic())
        self._log("client rejected", level="warning", peer=waiting.peer, why=why)
