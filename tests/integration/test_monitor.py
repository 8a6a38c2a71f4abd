"""How all is, as Python asks: the road is proved by a heartbeat, and by nothing else."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from syncing import heartbeats, monitor
from syncing.databases import brief_connection, conninfo
from syncing.hub import Hub
from tests.histories import begin_anew

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 20.0


@asynccontextmanager
async def server() -> AsyncIterator[Hub]:
    """A hub in this process, as a server has it."""
    hub = Hub()
    hub.start()
    try:
        await until(lambda: hub.position and in_the_table(), "the hub is there")
        yield hub
    finally:
        await hub.stop()


@pytest.fixture
def writer() -> Any:
    with psycopg.connect(conninfo("writer", **{"claudia.allow_truncate": "on"}), autocommit=True) as connection:
        begin_anew(connection, 1)
        yield connection


async def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.02)


def in_the_table() -> list[tuple[Any, ...]]:
    with brief_connection() as database:
        return database.execute("SELECT pid, answered_at FROM sync_processes").fetchall()


async def status() -> monitor.Status:
    return await asyncio.to_thread(monitor.status)


async def test_online_is_what_has_just_delivered_a_heartbeat(writer: psycopg.Connection) -> None:
    offline = await status()
    assert (offline.online, [issue.code for issue in offline.health.issues]) == (False, ["no_server"])
    async with server() as hub:
        before, news = hub.position, hub.pulse.news
        found = await status()
        assert found.online
        assert found.health.status == "healthy", found.health.issues
        assert hub.position != before, "it went through log and feed"
        # Nobody is to look again because somebody looked.
        assert hub.pulse.news == news
        (process,) = found.processes
        assert (process.pid, process.id, process.answered) == (os.getpid(), hub.pulse.id, True)
        assert process.seconds is not None
        assert 0 < process.seconds < heartbeats.PATIENCE
        assert found.last_sync is not None
        assert abs(found.last_sync - datetime.now(UTC)) < timedelta(seconds=60)
    # Who ends in good order is not missed.
    assert in_the_table() == []
    assert not (await status()).online


async def test_a_row_that_says_it_is_there_is_no_proof(
    writer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "PATIENCE", 0.2)
    async with server() as hub:
        assert (await status()).online
        # It answers as soon as it is asked, but its feed stands still: what it says is of before.
        stale = hub.position
        assert stale is not None
        hub.pulse.feel = lambda step: step  # type: ignore[method-assign]
        answering = asyncio.create_task(answer_for_ever(hub, stale.snapshot))
        monkeypatch.setattr(heartbeats.call_the_roll, "__defaults__", (0.2,))
        found = await status()
        answering.cancel()
        assert not found.online
        assert [issue.code for issue in found.health.issues] == ["feed_silent"]


async def answer_for_ever(hub: Hub, snapshot: str) -> None:
    while True:
        await hub.pulse._write(snapshot)


async def test_what_is_pending_is_what_no_checkpoint_has(writer: psycopg.Connection) -> None:
    async with server():
        assert (await status()).pending_events == 0
    writer.execute("UPDATE users SET name = name || '.'")
    writer.execute("UPDATE users SET name = name || '.'")
    found = await status()
    # The heartbeat that asked is one of them.
    assert found.pending_events == 2 + 1


async def test_who_subscribes_is_told_until_it_ends(
    writer: psycopg.Connection, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MONITORING_INTERVAL = 0.05
    told: list[monitor.Status] = []
    async with server():
        with monitor.subscribe(told.append):
            await until(lambda: len(told) >= 3, "three statuses")
        await until(lambda: not monitor.broadcast.runs, "nobody computes any more")
    assert all(one.online for one in told)
    times = [one.checked_at for one in told]
    assert times == sorted(times)


async def test_latency_and_changes_come_from_what_servers_measured(writer: psycopg.Connection) -> None:
    async with server() as hub:
        news = hub.pulse.news
        for _ in range(3):
            writer.execute("UPDATE users SET name = name || '.'")
        await until(lambda: hub.pulse.news > news, "the changes are delivered")
        await until(lambda: hub.pulse.figures()["changes_per_second"], "they are counted")
        found = await status()
        assert found.changes_per_second["users"] > 0
        assert "sync_heartbeats" not in found.changes_per_second
