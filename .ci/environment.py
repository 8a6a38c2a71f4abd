"""Make the virtual environment that the Makefile's commands run in: `python3 .ci/environment.py run|test|bench [PORT]`.

It checks what pip cannot say well, installs the pinned requirements when they changed, and lets two of its kind wait
for each other. Only the standard library, and only syntax that an old Python 3 can read, so that it can say that it is.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this is where the others are turned away
    found = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"claudia: Python 3.11 or newer is needed, this is {found}; name another one: make PYTHON=python3.12 …")

import contextlib
import fcntl
import hashlib
import shutil
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
#: By purpose; whoever can test can run, whoever can measure can test.
REQUIREMENTS = {
    "run": ["requirements.txt"],
    "test": ["requirements.txt", "tests/requirements.txt"],
    "bench": ["requirements.txt", "tests/requirements.txt", "benchmarks/requirements.txt"],
}
NEEDED_MODULES = {"venv": "python3-venv", "ensurepip": "python3-venv", "ssl": "the ssl module"}


def main(purpose: str, port: str) -> None:
    with (ROOT / ".ci" / "environment.py").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes in one clone must not install at once
        if usable() and is_current(purpose):
            return
        if purpose == "run":
            check_port(port)
        make()
        install(REQUIREMENTS[purpose][-1])
        purposes = list(REQUIREMENTS)
        for done in purposes[: purposes.index(purpose) + 1]:
            stamp(done).write_text(digest(done))


def stamp(purpose: str) -> Path:
    return VENV / f".installed-{purpose}"


def digest(purpose: str) -> str:
    parts = [sys.version.encode(), *((ROOT / name).read_bytes() for name in REQUIREMENTS[purpose])]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def is_current(purpose: str) -> bool:
    return stamp(purpose).is_file() and stamp(purpose).read_text() == digest(purpose)


def usable() -> bool:
    """Whether there is a whole environment: an interrupted one has no pip, a moved one no Python."""
    check = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", check], capture_output=True).returncode == 0


def check_port(port: str) -> None:
    """Nobody should wait for an installation only to hear that the port is taken."""
    if port.isdecimal() and 0 < int(port) < 65536:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", int(port)))
                probe.listen()
            except OSError as error:
                fail(f"Port {port} cannot be used ({error.strerror}): choose another one, as in make run PORT=8001.")


def make() -> None:
    if usable():
        return
    for module, package in NEEDED_MODULES.items():
        if not imports(module):
            fail(f"This Python ({sys.executable}) lacks {module}: install {package}, or name another: make PYTHON=….")
    print("Making .venv …", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True)
    if made.returncode != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        reason = " ".join((made.stderr or made.stdout).split())[-300:]
        fail(f"The virtual environment could not be made: {reason}")


def imports(module: str) -> bool:
    with contextlib.suppress(ImportError):
        __import__(module)
        return True
    return False


def install(requirements: str) -> None:
    print(f"Installing {requirements} …", flush=True)
    options = ["-qq", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore"]
    command = [PYTHON, "-m", "pip", "install", *options, "-r", ROOT / requirements]
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
        fail(f"pip could not install {requirements}; its reasons stand above.")


def fail(sentence: str) -> None:
    sys.exit(f"claudia: {sentence}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
