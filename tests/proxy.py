"""A proxy between two processes of the chain that cuts, holds and damages what passes."""

import contextlib
import socket
import struct
import threading
import time


class Proxy:
    """Stands between two processes; can cut, hold after a number of bytes, and flip a bit."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.flip_at = -1
        self.passed = 0
        self.held = threading.Event()
        """Set while bytes wait here that are not to go on."""
        self._limit = float("inf")
        self._cuts = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._server.accept()
            except OSError:
                return
            try:
                two = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                one.close()
                continue
            self._open += [one, two]
            for a, b, forward in ((one, two, True), (two, one, False)):
                threading.Thread(target=self._pump, args=(a, b, forward), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket, forward: bool) -> None:
        cuts = self._cuts
        try:
            while piece := a.recv(1 << 16):
                if not forward:
                    b.sendall(piece)
                while forward and piece and self._cuts == cuts:
                    room = min(len(piece), self._limit - self.passed)
                    if room <= 0:
                        self.held.set()
                        time.sleep(0.005)
                        continue
                    part, piece = bytearray(piece[: int(room)]), piece[int(room) :]
                    if 0 <= self.flip_at - self.passed < len(part):
                        part[self.flip_at - self.passed] ^= 4
                    b.sendall(part)
                    self.passed += len(part)
        except OSError:
            pass
        finally:
            for s in (a, b):
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
                s.close()

    def hold(self, after: int = 0) -> None:
        """Let a number of bytes through to the listener, and keep what comes after them."""
        self.held.clear()
        self._limit = self.passed + after

    def release(self) -> None:
        """Let everything through again."""
        self._limit = float("inf")

    def cut(self) -> None:
        """Reset all connections; what is held is lost.

        Reset, because the other side would take long to notice an end while nothing of its data is read.
        """
        self._cuts += 1
        while self._open:
            s = self._open.pop()
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
