"""A Redis of the tests' own, that can be killed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field

from tests.acceptance.server import free_port
from tests.nemesis.cluster import new_folder
from tests.programs import program

PATIENCE = 30.0


@dataclass
class Redis:
    """At `url`; `with` ends it, whether it was started or not. It keeps nothing when it is killed."""

    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Redis:
        program("redis-server")
        self.folder = new_folder()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    @property
    def url(self) -> str:
        """For REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Redis:
        """Returns when it answers."""
        command = [
            program("redis-server"),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            self.folder,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.ask("PING") == "+PONG":
                    return self
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"redis does not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)  # there is nothing that one could wait for

    def kill(self) -> None:
        """As kill -9 does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)

    def ask(self, command: str) -> str:
        """The first line of the answer to a command without arguments that hold spaces."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.makefile("r").readline().strip()
