"""A real server process for tests, as `make run` starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from claudia.postgres.__main__ import forget

ROOT = Path(__file__).resolve().parent.parent.parent
LAST_LINE = "Ctrl-C stops it."


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(local_dir: Path, **variables: str) -> dict[str, str]:
    """The environment of a server process: ours without what the tests set for themselves."""
    ours = {"DJANGO_SETTINGS_MODULE", "DATABASE_URL", "PORT", "TEST_DATABASE_URL"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    # Maintenance would take processors from what is measured, and close conflicts under a test's hands.
    ours_too = {"LOCAL_DIR": str(local_dir), "PYTHONUNBUFFERED": "1", "MAINTAIN_WHILE_SERVING": "0"}
    return kept | ours_too | variables


def serve_command(port: int) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), "serve", "--demo", "--port", str(port)]


def refusal(command: list[str], env: dict[str, str]) -> str:
    """What a command that must fail says on standard error."""
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode not in (0, None), f"it should have failed, but said:\n{done.stdout}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip()


def left_over(processes: list[psutil.Process], seconds: float = 30) -> list[psutil.Process]:
    """Those that have not ended within the time. A zombie has: an idle init never collects it."""
    deadline = time.monotonic() + seconds
    while True:
        left = [process for process in processes if _runs(process)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)  # an end that one is not the parent of cannot be awaited portably


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Server:
    """`manage.py serve --demo` with its own folder, database and port; use it in a `with`."""

    local_dir: Path
    variables: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    output: str = ""

    def __enter__(self) -> Server:
        env = environment(self.local_dir, **self.variables)
        self.process = subprocess.Popen(
            serve_command(self.port), env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if LAST_LINE in line:
                return self
        raise AssertionError(f"the server ended ({self.process.wait()}) before it was ready:\n{self.output}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def note(self) -> dict[str, Any]:
        """What .local/dev.json says."""
        note: dict[str, Any] = json.loads((self.local_dir / "dev.json").read_text())
        return note

    def family(self) -> list[psutil.Process]:
        """The server and all processes below it, its database's included."""
        server = psutil.Process(self.process.pid)
        return [server, *server.children(recursive=True)]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code; nothing happens when it has ended already."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.output += self.process.stdout.read()
            self.process.stdout.close()
        return self.process.wait()

    def forget(self) -> None:
        """Remove the database, also where root's servers keep it."""
        forget(self.local_dir / "postgres")
