"""A network of one's own, in which an address can fall silent: what is sent there is lost, and no answer says so.

A proxy cannot do that: the kernel goes on acknowledging what nobody reads. A network namespace can, and a thread may
have one of its own; what it starts, processes and threads, lives there, too.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.programs import program

CLONE_NEWNET = 0x40000000
#: In /proc/net/tcp.
ESTABLISHED = "01"


def alone(work: Callable[[], None]) -> None:
    """Does the work in a thread whose network is its own, and has nothing but loopback. Raises what it raises."""
    ip = program("ip", "iproute2")
    if os.geteuid() != 0:
        pytest.skip("only root may have a network of its own: what is lost without a word was NOT tried")
    failures: list[BaseException] = []

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "no network of one's own")
            subprocess.run([ip, "link", "set", "lo", "up"], check=True)
            work()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@contextmanager
def silent(address: str) -> Iterator[None]:
    """Meanwhile nothing arrives at this address of 127.0.0.0/8; the others are as before."""
    route = [program("ip", "iproute2"), "route", "{}", "blackhole", f"{address}/32", "table", "local"]
    subprocess.run([word.format("add") for word in route], check=True)
    try:
        yield
    finally:
        subprocess.run([word.format("del") for word in route], check=True)


def connections(pid: int, address: str) -> int:
    """How many that go to an address are open in the network in which a process lives."""
    there = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].startswith(f"{there}:") and row[3] == ESTABLISHED for row in rows)
