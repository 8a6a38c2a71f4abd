"""One data directory: made once, started, stopped, and freed of an orphan that a crash left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from claudia.postgres.place import Place
from claudia.postgres.problem import PostgresProblem

USER = DATABASE = "claudia"
HOST = "127.0.0.1"
READY_SECONDS = 300  # recovery after a crash may take its time
OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # their paths may be at most 107 bytes long, a clone's path may be longer
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "jit": "off",
}
# A test database is thrown away: durability would only cost time.
TEST_OPTIONS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}


@dataclass(frozen=True)
class Cluster:
    """A data directory, and the log beside it, as the server's supervisor handles them."""

    place: Place
    log: Path
    for_tests: bool = False

    @property
    def data(self) -> Path:
        return self.place.data

    def create(self, password: str) -> None:
        """initdb, unless there is a cluster; an interrupted one leaves nothing that looks like one."""
        if (self.data / "PG_VERSION").exists():
            if self._major(self.data) == self._major(None):
                return
            if not self.for_tests:
                raise PostgresProblem(
                    f"{self.data} was made by PostgreSQL {self._major(self.data)}, but {self._major(None)} is"
                    " installed: move your data with `manage.py backup` and `restore`, or remove the folder."
                )
            shutil.rmtree(self.data)
        draft, secret = self.data.with_name("data.draft"), self.data.with_name("initdb-password")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        secret.unlink(missing_ok=True)
        secret.touch(mode=0o600)
        try:
            secret.write_text(password)
            for path in (draft, secret):
                os.chown(path, self.place.account.uid, self.place.account.gid)
            self._initdb(draft, secret)
        finally:
            secret.unlink()
        draft.rename(self.data)

    def start(self) -> tuple[subprocess.Popen[bytes], int]:
        """Start the server on a free port; return its process and the port once it accepts connections."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            port = _free_port(self._last_port())
            process = self._spawn(port)
            while process.poll() is None:
                if self._status() == ("ready", process.pid):
                    self._port_file.write_text(str(port))
                    return process, port
                if time.monotonic() > deadline:
                    self.stop(process.pid)
                    process.wait()
                    raise PostgresProblem(f"PostgreSQL did not get ready in {READY_SECONDS} s; see {self.log}.")
                time.sleep(0.03)
            # Another program took the port meanwhile, or the last backends of a killed server are still leaving.
            reason = self._last_error()
            self._port_file.unlink(missing_ok=True)
            if time.monotonic() > deadline or not ("Address already in use" in reason or "pre-existing" in reason):
                raise PostgresProblem(f"PostgreSQL did not start: {reason} (see {self.log}).")
            time.sleep(0.2)

    def port(self) -> int:
        """The port of the running server."""
        return int(self._pid_file()[3])

    def stop(self, pid: int) -> None:
        """Stop the server with this pid: politely, then firmly. Return when it is gone or gone for us (a zombie)."""
        for number, seconds in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 5)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if not self._is_ours(pid):
                    return
                time.sleep(0.02)

    def stop_orphan(self) -> None:
        """Stop a server whose supervisor was killed; forget the pid file when its pid belongs to a stranger by now."""
        try:
            pid = int(self._pid_file()[0])
        except (OSError, ValueError, IndexError):
            return
        if self._is_ours(pid):
            self.stop(pid)
        elif _exists(pid):
            # PostgreSQL would take the stranger for itself and refuse to start. (A dead pid it handles better than we
            # could: it also looks for backends that are still alive.)
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _initdb(self, folder: Path, secret: Path) -> None:
        command: list[str | Path] = [
            self.place.binaries / "initdb",
            "-D",
            folder,
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "--pwfile",
            secret,
        ]
        command += ["--encoding", "UTF8", "--no-instructions", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--no-sync"] if self.for_tests else []
        # Sorting and case come from the builtin provider; the C library's locale, which not all machines have in
        # UTF-8, only serves what is left.
        for libc_locale in ("C.UTF-8", "C"):
            options = self.place.account.process_options
            done = subprocess.run(
                [*command, f"--locale={libc_locale}"], capture_output=True, text=True, errors="replace", **options
            )
            if done.returncode == 0:
                return
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()[-1:]
        raise PostgresProblem(f"initdb failed: {' '.join(lines) or done.returncode}.")

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        command = [str(self.place.binaries / "postgres"), "-D", str(self.data)]
        for name, value in (OPTIONS | (TEST_OPTIONS if self.for_tests else {}) | {"port": str(port)}).items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, **self.place.account.process_options)

    @property
    def _port_file(self) -> Path:
        return self.log.with_name("port")

    def _last_port(self) -> int:
        """The port of the last time: an address that somebody noted stays good when it can."""
        try:
            return int(self._port_file.read_text())
        except (OSError, ValueError):
            return 0

    def _pid_file(self) -> list[str]:
        return (self.data / "postmaster.pid").read_text().splitlines()

    def _status(self) -> tuple[str, int]:
        try:
            lines = self._pid_file()
            return lines[7].strip(), int(lines[0])
        except (OSError, ValueError, IndexError):
            return "starting", 0

    def _is_ours(self, pid: int) -> bool:
        """Whether `pid` is a server on this data directory; pids are reused, so its command line must say so."""
        return str(self.data) in _command_line(pid)

    def _last_error(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        errors = [line for line in lines if "FATAL:" in line or "could not bind" in line or "Address already" in line]
        return "; ".join(line.partition(":  ")[2] or line for line in errors[-2:]) or "it gave no reason"

    def _major(self, data: Path | None) -> str:
        if data is not None:
            return (data / "PG_VERSION").read_text().strip()
        command: list[str | Path] = [self.place.binaries / "postgres", "--version"]
        options = self.place.account.process_options
        return (
            subprocess.run(command, capture_output=True, text=True, check=True, **options)
            .stdout.split()[2]
            .split(".")[0]
        )


def _free_port(wish: int) -> int:
    """The port that is wished for if it is free, else any; 0 wishes for none."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wish))
        except OSError:
            probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _command_line(pid: int) -> str:
    """The command line of a process; empty when it is gone or a zombie."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True).stdout
