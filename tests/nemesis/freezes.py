"""`manage.py serve` of a server whose feed, once told by SIGUSR2, freezes at a chosen place.

Places: `gate` (awake, it holds the gate and nothing else), `taking` (its checkpoint is inserted, not committed,
for readers are to import its snapshot),
`sending` (a checkpoint's batch is on its way to it, and it reads nothing). CLAUDIA_TESTS_FREEZE is `place:who`: who
stands still, the `server` or its `backend`. Before that the backend's pid is written to the file `frozen` in its
folder.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import termios
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)  # not this folder: its modules would be taken for others of these names
os.environ["DJANGO_SETTINGS_MODULE"] = "claudia.settings"
#: Bytes of a batch that is on its way, and not of an answer without one.
LARGE = 50_000


class Freezer:
    """Freezes once, at the first place reached after it was told to."""

    def __init__(self, place: str, who: str) -> None:
        self.place = place
        self.who = who
        self.armed = False
        self.taking = False

    def arm(self, *_: object) -> None:
        """From now on."""
        self.armed = True

    def reach(self, place: str, backend: int) -> None:
        """The feed is there."""
        if not self.armed or place != self.place:
            return
        self.armed = False
        (Path(os.environ["LOCAL_DIR"]) / "frozen").write_text(str(backend))
        os.kill(os.getpid() if self.who == "server" else backend, signal.SIGSTOP)


def waiting_bytes(descriptor: int) -> int:
    """How much has come by a socket and is not read yet."""
    (waiting,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))
    return int(waiting)


def plant(freezer: Freezer) -> None:
    """Lets the feed tell where it is."""
    from syncing import listener, pipeline

    see, take_rows, readable = listener.Feed._see, listener.Feed._take_rows, pipeline.Pipeline._readable

    def seeing(self: Any, look: Any) -> None:
        see(self, look)
        if self._gate_held and not freezer.taking:
            freezer.reach("gate", self.connection.info.backend_pid)

    async def taking(self: Any, **options: Any) -> Any:
        freezer.taking = True
        rows = await take_rows(self, **options)
        freezer.taking = False
        if rows and options.get("export"):
            freezer.reach("taking", self.connection.info.backend_pid)
        return rows

    async def reading(self: Any) -> None:
        await readable(self)
        if freezer.taking and waiting_bytes(self._pgconn.socket) > LARGE:
            freezer.reach("sending", self._connection.info.backend_pid)

    listener.Feed._see, listener.Feed._take_rows = seeing, taking  # type: ignore[method-assign]
    pipeline.Pipeline._readable = reading  # type: ignore[method-assign]


def main() -> None:
    import django

    django.setup()
    from django.core.management import execute_from_command_line

    freezer = Freezer(*os.environ["CLAUDIA_TESTS_FREEZE"].split(":"))
    signal.signal(signal.SIGUSR2, freezer.arm)
    plant(freezer)
    execute_from_command_line([str(ROOT / "manage.py"), "serve", *sys.argv[1:]])


if __name__ == "__main__":
    main()
