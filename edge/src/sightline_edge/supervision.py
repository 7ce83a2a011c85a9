"""Telling systemd how the node is: ready, alive, stopping (sd_notify(3)). Without systemd above it nothing is told."""

import os
import socket
import time
from contextlib import suppress


class Supervision:
    """Speaks to the service manager that started this process, if one did."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is in the kernel's abstract namespace, where it begins with a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        watchdog_us = int(os.environ.get("WATCHDOG_USEC", "0"))
        # Twice in the time within which the manager wants to hear of it.
        self._period_s = watchdog_us / 2e6 if watchdog_us else None
        self._said_s = 0.0

    def ready(self) -> None:
        """The node takes frames."""
        self._say("READY=1")

    def alive(self) -> None:
        """The node's loop goes round; to be called each time."""
        now_s = time.monotonic()
        if self._period_s is not None and now_s - self._said_s >= self._period_s:
            self._said_s = now_s
            self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The node was told to stop, and writes what it has."""
        self._say("STOPPING=1")

    def _say(self, what: str) -> None:
        if not self._address:
            return
        # A manager that does not listen, or does not read what it was told, must not hold the node up.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto(what.encode(), self._address)
