"""Loopback ports: which is free, and who has the one that is not."""

import itertools
import random
import socket

from sightline_contract.errors import PortInUseError

LOOPBACK = "127.0.0.1"


# Below the ports that systems give to outgoing connections (from 32768 on): one of those may be taken by any client before its
# server starts, or while it restarts. Each process walks them in an order of its own, and so gives none twice.
_PORTS = range(15_000, 30_000)
_order = itertools.cycle(random.SystemRandom().sample(_PORTS, len(_PORTS)))


def free_port() -> int:
    """A port that was free a moment ago. Raises PortInUseError if none is."""
    for port in itertools.islice(_order, len(_PORTS)):
        if is_free(port):
            return port
    raise PortInUseError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free: end what listens there")


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free, as servers see it
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Whether a server accepts connections on ``port``."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def require_free(port: int, service: str, remedy: str) -> None:
    """Raise PortInUseError naming who listens on ``port``, if anybody does."""
    if not is_free(port):
        raise PortInUseError(f"port {port}, which {service} needs, is in use by {listener(port)}: {remedy}")


def listener(port: int) -> str:
    """Name and pid of the process that listens on ``port``, as far as this user may know."""
    import psutil

    try:
        for each in psutil.net_connections(kind="tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid:
                return f"{psutil.Process(each.pid).name()} (pid {each.pid})"
    except psutil.Error:
        pass
    return "another process"
