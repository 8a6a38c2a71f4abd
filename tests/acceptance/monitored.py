"""A site of its own for tests that break it: servers that look often, and what asks them how they are."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.acceptance.client import Client
from tests.acceptance.site import ROOT, Person, ServerProcess, Site, drop_database, make_database

#: After this long, what is awaited will not come.
PATIENCE = 30.0
Got = TypeVar("Got")
HASTE = {"MONITORING_INTERVAL": "1", "ALERT_SECONDS": "0.5"}
FEEDS = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'claudia feed'
    ORDER BY backend_start
"""
GATE = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 1
        AND classid = 'sync_events'::regclass::oid
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@contextmanager
def monitored(server_url: str, folder: Path, **variables: str) -> Iterator[Site]:
    """A database of its own with one server on it."""
    name, url = make_database(server_url)
    site = Site(url, folder)
    try:
        site.serve(**HASTE | variables)
        site.connect()
        yield site
    finally:
        site.close()
        drop_database(server_url, name)


def until(condition: Callable[[], Got], what: str) -> Got:
    """What the condition gives, once it holds."""
    deadline = time.monotonic() + PATIENCE
    while not (got := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)
    return got


async def until_soon(condition: Callable[[], Got], what: str) -> Got:
    """As `until`, while clients go on."""
    deadline = time.monotonic() + PATIENCE
    while not (got := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.02)
    return got


def manage(server: ServerProcess, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command on the server's database, whatever its exit code."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments], env=server._env | variables, cwd=ROOT,
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE,
    )  # fmt: skip


def healthcheck(server: ServerProcess, **variables: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    done = manage(server, "healthcheck", "--json", **variables)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def codes(report: dict[str, Any]) -> set[str]:
    """Of the issues in a report."""
    return {issue["code"] for issue in report["issues"]}


def get(server: ServerProcess, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers (in small letters) of an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.origin + path, headers=named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), {k.lower(): v for k, v in error.headers.items()}


def staff(site: Site, name: str = "staff") -> Person:
    """Somebody who may see the whole system."""
    person = site.person(name)
    site.update("users", person.id, is_staff=True)
    return person


async def statuses(one: Client) -> int:
    """Begins to watch; gives the index from which on status frames will be found."""
    at = await one.send("watch", topic="status")
    await one.next("status", after=at)
    return at


def latest(one: Client) -> dict[str, Any]:
    """The newest status frame."""
    return [frame for frame in one.frames if frame["type"] == "status"][-1]


async def shows(one: Client, condition: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
    """A status frame, from now on, for which the condition holds."""
    at = len(one.frames)

    def found() -> dict[str, Any] | None:
        return next((frame for frame in one.since(at, "status") if condition(frame)), None)

    try:
        return await until_soon(found, what)
    except AssertionError:
        raise AssertionError(f"waited in vain: {what}; the latest status is {latest(one)}") from None


def found_in(frame: dict[str, Any]) -> set[str]:
    """Codes of the issues in a staff's status frame."""
    return {detail["code"] for detail in frame["health"].get("details", [])}


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process does not move until the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def feeds(site: Site) -> list[int]:
    """Backends of the feeds, oldest first."""
    return [pid for (pid,) in site.sql(FEEDS)]
