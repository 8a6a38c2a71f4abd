"""The commands as people and scripts use them: exit codes, pipes, a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.acceptance.monitored import PATIENCE, get, manage, monitored, until
from tests.acceptance.site import ROOT, ServerProcess, Site

WATCH = [sys.executable, str(ROOT / "manage.py"), "sync_status", "--watch", "--every", "0.5"]


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with monitored(server_url, tmp_path_factory.mktemp("commanded"), ALERT_SECONDS="0") as site:
        until(lambda: get(site.servers[0], "/readyz")[0] == 200, "the server is ready")
        yield site


@pytest.fixture(scope="module")
def server(place: Site) -> ServerProcess:
    return place.servers[0]


@dataclass
class Running:
    """A command, and what it has written."""

    process: subprocess.Popen[bytes]
    reads: int
    output: bytes = b""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def follow(self) -> Running:
        """Reads in a thread, until the end."""
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        while True:
            try:
                some = os.read(self.reads, 65_536)
            except OSError:  # the terminal's other end is closed
                return
            if not some:
                return
            with self._lock:
                self.output += some

    def times(self, text: bytes) -> int:
        """How often it stands in the output."""
        return self.output.count(text)


def test_healthcheck_speaks_to_people_and_to_scripts(server: ServerProcess) -> None:
    told = manage(server, "healthcheck")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[0] == "healthy, 100 of 100"
    report = json.loads(manage(server, "healthcheck", "--json").stdout)
    assert report["parts"].keys() == {"database", "sync", "monitoring"}
    warned = manage(server, "healthcheck", ALERT_CONNECTIONS_PERCENT="1")
    assert (warned.returncode, warned.stdout.splitlines()[0]) == (1, "warning, 90 of 100")
    assert "Lower DATABASE_POOL_SIZE" in warned.stdout


def test_a_database_that_is_nowhere_is_critical_and_no_traceback(server: ServerProcess) -> None:
    done = manage(server, "healthcheck", "--json", DATABASE_URL="postgres://nobody@127.0.0.1:1/nothing")
    assert done.returncode == 2
    assert [issue["code"] for issue in json.loads(done.stdout)["issues"]] == ["database_unreachable"]
    assert "Traceback" not in done.stderr


def test_sync_status_is_shown_once_or_as_json(server: ServerProcess) -> None:
    told = manage(server, "sync_status")
    assert told.returncode == 0, told.stderr
    assert "\x1b" not in told.stdout
    for text in ("Claudia ● online", "healthy 100/100", "latency", str(server.process.pid)):
        assert text in told.stdout
    report: dict[str, Any] = json.loads(manage(server, "sync_status", "--json").stdout)
    assert (report["online"], report["health"]["score"]) == (True, 100)
    assert [process["pid"] for process in report["processes"]] == [server.process.pid]
    assert manage(server, "sync_status", "--watch", "--every", "0").returncode == 2


def test_a_pipe_gets_one_picture_after_the_other_until_ctrl_c(server: ServerProcess) -> None:
    process = subprocess.Popen(WATCH, env=server._env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    running = Running(process, process.stdout.fileno()).follow()
    until(lambda: running.times(b"Claudia") >= 2, "two pictures")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    assert b"\x1b" not in running.output
    assert process.stderr.read() == b""


def test_a_terminal_is_left_as_it_was(server: ServerProcess) -> None:
    ours, theirs = pty.openpty()
    env = server._env | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        WATCH, env=env, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    running = Running(process, ours).follow()
    until(lambda: running.times("● ".encode()) >= 6, "two pictures")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    until(lambda: running.times(b"\x1b[?1049l"), "the screen that was there before")
    os.close(ours)
    assert running.times(b"\x1b[?1049h") == 1, "one screen of its own"
    assert running.output.rfind(b"\x1b[?25h") > running.output.rfind(b"\x1b[?25l"), "the cursor is back"
    # Pictures replace each other: nothing is wiped in between, which would flicker.
    assert running.times(b"\x1b[2J") <= 1
    assert b"Traceback" not in running.output


def test_json_line_by_line_ends_with_sigterm(server: ServerProcess) -> None:
    process = subprocess.Popen([*WATCH, "--json"], env=server._env, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert all(line["online"] for line in lines)
    process.terminate()
    assert process.wait(PATIENCE) == 0
    process.stdout.close()
