"""Ports of this machine for the servers of tests."""

import socket


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
