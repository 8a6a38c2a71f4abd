"""Servers as they run in production: Daphne alone, which migrates nothing and is told nothing but its address."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.acceptance.server import ROOT
from tests.acceptance.site import PATIENCE, ServerProcess, Site


class DaphneProcess(ServerProcess):
    """`daphne claudia.asgi:application`, of this code or of that in another folder."""

    def __init__(self, database_url: str, local_dir: Path, *, code: Path = ROOT, **variables: str) -> None:
        super().__init__(database_url, local_dir, **variables)
        self._folder = code
        endpoint = f"tcp:port={self.port}:interface=127.0.0.1:backlog=4096"
        self._command = [sys.executable, "-m", "daphne", "-e", endpoint, "claudia.asgi:application"]

    def start(self) -> DaphneProcess:
        """Returns when it accepts connections, and could deliver."""
        self._spawn()
        deadline = time.monotonic() + PATIENCE
        while True:
            if self.process.poll() is not None:
                self._thread.join(PATIENCE)
                raise AssertionError(f"the server ended with {self.process.poll()}:\n" + "".join(self.output))
            try:
                with urllib.request.urlopen(f"{self.origin}/readyz", timeout=5):
                    return self
            except OSError:
                if time.monotonic() > deadline:
                    self.process.kill()
                    raise AssertionError("the server is not ready:\n" + "".join(self.output)) from None
                time.sleep(0.05)  # it announces itself to nobody

    def refusal(self) -> str:
        """What a server that must not start says on standard error; its code must not be 0."""
        done = subprocess.run(
            self._command, env=self._env, cwd=self._folder, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode not in (0, None), f"it should have failed, but said:\n{done.stdout}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr.strip()


def produce(site: Site, *, code: Path = ROOT, **variables: str) -> DaphneProcess:
    """One more server of a site."""
    variables = {"SECRET_KEY": "of-all-servers-of-this-site-" + "k" * 40, "LOG_LEVEL": "INFO"} | variables
    server = DaphneProcess(site.database_url, site.folder / f"server{len(site.servers)}", code=code, **variables)
    site.servers.append(server)
    return server.start()


def status_of(server: ServerProcess, path: str) -> tuple[int, bytes]:
    """The status and the body of a GET."""
    try:
        with urllib.request.urlopen(f"{server.origin}{path}", timeout=PATIENCE) as answer:
            body: Any = answer.read()
            return answer.status, body
    except urllib.error.HTTPError as error:
        return error.code, error.read()
