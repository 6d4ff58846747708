"""Report to systemd how a service is: up, stopping, alive (see ``man sd_notify``)."""

import contextlib
import os
import socket

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM")
"""Of the environment: for the process that systemd started, not for those that it starts."""


def notify(*lines: str) -> None:
    """Send lines such as ``READY=1`` or ``STATUS=text``; without systemd, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    text = "\n".join(line.replace("\n", " ") for line in lines)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        datagram.setblocking(False)
        datagram.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
        datagram.send(text.encode())
