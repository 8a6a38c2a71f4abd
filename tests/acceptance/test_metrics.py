"""Metrics tell the truth: what servers recorded equals what the log, the receipts and the clients say."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.acceptance.client import Client
from tests.acceptance.measured import counted, distribution, eventually, measured_site, total
from tests.acceptance.mutations import delete, insert, update
from tests.acceptance.people import Cast, client
from tests.acceptance.site import ServerProcess, Site

OPERATIONS = {"I": "insert", "U": "update", "D": "delete", "R": "reset"}


@pytest.fixture
def site(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with measured_site(server_url, tmp_path_factory.mktemp("measured")) as site:
        yield site


@pytest.fixture
def first(site: Site) -> ServerProcess:
    return site.servers[0]


def logged(site: Site) -> Counter[tuple[str, str]]:
    """Entries of the log since the first checkpoint, by table and operation."""
    rows = site.sql(
        "SELECT table_name, op::text, count(*) FROM sync_events WHERE NOT pg_visible_in_snapshot(xid,"
        " (SELECT snapshot FROM sync_checkpoints ORDER BY id LIMIT 1)) AND table_name <> 'sync_heartbeats'"
        " GROUP BY 1, 2"
    )
    return Counter({(table, OPERATIONS[op]): count for table, op, count in rows})


def bytes_of(one: Client) -> int:
    """Bytes of the frames that it got, headers included (RFC 6455: of unmasked frames)."""
    sizes = [len(text.encode()) for text in one.texts]
    return sum(size + (2 if size < 126 else 4 if size < 1 << 16 else 10) for size in sizes)


async def test_two_servers_add_up_to_what_the_log_the_receipts_and_the_clients_say(
    site: Site, first: ServerProcess
) -> None:
    second = site.serve(SYNC_METRICS_SECONDS="1")
    # Each begins to follow by a checkpoint of its own; what that one takes from others' hands nobody counts.
    follow = "SELECT 1 FROM sync_checkpoints WHERE opens_mark HAVING count(*) >= 2"
    await asyncio.to_thread(eventually, lambda: site.sql(follow), "both follow the log")
    cast = Cast.enter(site)
    async with client(first, cast.bob) as bob, client(second, cast.vera) as vera, client(second, cast.bob) as other:
        await bob.subscribe(memory="memory", sessions="sessions")
        await vera.subscribe(memory="memory")
        made = [insert("memory", key=f"k{n}", type="project_state", project_id=cast.project) for n in range(30)]
        results = await bob.results(*made)
        edits = [update("memory", made[n]["row"], results[n]["version"], summary=f"s{n}") for n in range(20)]
        await bob.results(*edits)
        stale = update("memory", made[0]["row"], results[0]["version"], strategy="manual", summary="other")
        (conflict,) = await other.results(stale)
        assert conflict["status"] == "conflict"
        forbidden = insert("memory", key="k", type="user_preference", user_id=cast.alice.id)
        bad, again = (await other.results(forbidden))[0], (await bob.results(made[0]))[0]
        assert (bad["status"], again["replayed"]) == ("rejected", True)
        await bob.results(delete("memory", made[29]["row"], results[29]["version"]))
        at = await bob.send("resolve", id=insert("memory")["id"], conflict=conflict["conflict"], strategy="remote_wins")
        await bob.next("result", after=at)
        # Both take checkpoints at the same time, and what one of them took the other takes part of, too.
        site.sql("INSERT INTO sessions (user_id, title) SELECT %s, g::text FROM generate_series(1, 500) g", cast.bob.id)
        for n in range(100):
            site.update("memory", made[n % 28]["row"], summary=f"by SQL {n}")
        await vera.until(
            lambda: vera.rows("memory")[made[99 % 28]["row"]]["summary"] == "by SQL 99", "all that was written"
        )
        await bob.until(lambda: len(bob.rows("sessions")) >= 500, "all sessions")
        for one in (bob, vera, other):
            await one.ping()
    assert {first.stop(), second.stop()} == {0}

    assert counted(site, "changes", "table", "operation") == Counter(
        {(table.replace("sync_conflicts", "conflicts"), op): count for (table, op), count in logged(site).items()}
    )
    receipts = Counter(dict(site.sql("SELECT status, count(*) FROM sync_receipts GROUP BY 1")))
    assert receipts == {"applied": 52, "conflict": 1, "rejected": 1}
    assert counted(site, "mutations", "status") == receipts
    assert total(site, "mutations_replayed") == 1
    assert distribution(site, "mutation_seconds").count >= 1
    assert counted(site, "conflicts_opened", "table") == {"memory": 1}
    assert counted(site, "conflicts_resolved", "table", "how") == {("memory", "remote_wins"): 1}
    clients = (bob, vera, other)
    assert total(site, "frames_sent") == sum(len(one.texts) for one in clients)
    assert total(site, "bytes_sent") == sum(map(bytes_of, clients))
    assert total(site, "connections_opened") == 3
    assert counted(site, "connections_closed", "code") == {"1000": 3}
    assert total(site, "snapshots") == 3

    written = distribution(site, "write_to_checkpoint_seconds")
    assert written.count == sum(logged(site).values())
    assert written.least >= 0
    steps = distribution(site, "checkpoint_to_socket_seconds")
    delivered = distribution(site, "delivery_seconds")
    assert steps.count > 0
    assert delivered.count >= written.count * 0.9  # in both processes; but of a step that told nobody in none
    assert steps.least >= 0
    assert delivered.least >= max(written.least, steps.least)
    assert delivered.greatest <= 20


async def test_a_batch_too_large_to_be_read_is_counted_all_the_same(site: Site, first: ServerProcess) -> None:
    cast = Cast.enter(site)
    eventually(lambda: counted(site, "changes", "table", "operation") == logged(site), "all of it is counted")
    first.stop()
    small = site.serve(SYNC_METRICS_SECONDS="1", SYNC_BATCH_SIZE="100")
    async with client(small, cast.bob) as bob:
        await bob.subscribe(sessions="sessions")
        site.sql("INSERT INTO sessions (user_id, title) SELECT %s, g::text FROM generate_series(1, 250) g", cast.bob.id)
        await bob.until(lambda: len(bob.rows("sessions")) > 250, "all sessions, staged anew")
    small.stop()
    assert counted(site, "changes", "table", "operation") == logged(site)
    assert counted(site, "resets", "table")["sessions"] == 1
    assert total(site, "snapshots") == 2


async def test_sigterm_writes_what_was_not_yet_written(site: Site, first: ServerProcess) -> None:
    first.stop()
    site.sql("DELETE FROM sync_metrics")
    slow = site.serve(SYNC_METRICS_SECONDS="600")
    cast = Cast.enter(site)
    async with client(slow, cast.bob) as bob:
        await bob.subscribe(memory="memory")
        (result,) = await bob.results(insert("memory", key="k", type="user_preference", user_id=cast.bob.id))
        assert result["status"] == "applied"
        assert site.sql("SELECT count(*) FROM sync_metrics") == [(0,)]
        assert slow.stop() == 0
        assert await bob.close_code() == 1012
    assert counted(site, "mutations", "status") == {"applied": 1}
    assert counted(site, "connections_closed", "code") == {"1012": 1}
    assert total(site, "frames_sent") == len(bob.texts)
    assert site.sql("SELECT latest FROM sync_metrics WHERE name = 'clients'") == [(0.0,)]


async def test_a_server_that_is_killed_loses_no_more_than_it_had_not_yet_written(
    site: Site, first: ServerProcess
) -> None:
    cast = Cast.enter(site)
    async with client(first, cast.bob) as bob:
        mine = {"type": "user_preference", "user_id": cast.bob.id}
        await bob.results(*[insert("memory", key=f"early {n}", **mine) for n in range(10)])
        eventually(lambda: counted(site, "mutations", "status")["applied"] == 10, "the first interval is written")
        await bob.results(insert("memory", key="late", **mine))
        first.stop(signal.SIGKILL)
        bob.cut()
    assert counted(site, "mutations", "status")["applied"] in (10, 11)
    # What was written is whole: each window is there with all its rows, or not at all.
    windows = site.sql("SELECT starts_at, count(*) FROM sync_metrics GROUP BY 1")
    assert all(rows > 1 for _, rows in windows)


async def test_a_client_that_was_away_and_resumes_is_a_catch_up_and_no_snapshot(
    site: Site, first: ServerProcess
) -> None:
    cast = Cast.enter(site)
    async with client(first, cast.bob) as bob:
        await bob.subscribe(memory="memory")
    row = site.memory("while away", user_id=cast.bob.id)
    async with client(first, cast.bob, replica=bob.replica) as again:
        await again.resume(memory="memory")
        assert row in again.rows("memory")
    first.stop()
    assert total(site, "catch_ups") == 1
    assert total(site, "snapshots") == 1


async def test_what_clients_record_is_checked_bounded_and_kept_apart(site: Site, first: ServerProcess) -> None:
    cast = Cast.enter(site)
    async with client(first, cast.bob) as bob:
        for value in (100, 150, 350.5):
            await bob.send("metric", name="api_response_time", value=value, unit="ms")
        assert (await bob.refused("metric", name="Bad name", value=1))["code"] == "invalid"
        assert (await bob.refused("metric", name="huge", value=1e300))["code"] == "invalid"
        assert (await bob.refused("metric", name="good", value=1, unit="with space"))["code"] == "invalid"
        own = await bob.refused("metric", name="frames_sent", value=1e9)
        assert (own["code"], own["ref"]) == ("invalid", "frames_sent")
    async with client(first, cast.bob) as bob:
        for n in range(20):
            await bob.send("metric", name=f"name_{n}", value=n)
        assert (await bob.refused("metric", name="one_more", value=1))["code"] == "invalid"
        await bob.send("metric", name="name_0", value=1)
        await bob.ping()
    async with client(first, cast.vera) as vera:
        for _ in range(60):
            await vera.send("metric", name="flood", value=1)
        limited = await vera.next("error", after=0, code="rate_limited", ref="flood")
        assert 0 < limited["retry_after"] < 1
        await vera.ping()
        refused = len(vera.since(0, "error"))
    first.stop()
    ((count, greatest, unit, labels),) = site.sql(
        "SELECT sum(count)::int, max(greatest), min(unit), min(labels::text)::json FROM sync_metrics WHERE name = %s",
        "api_response_time",
    )
    assert (count, greatest, unit, labels) == (3, 350.5, "ms", {"source": "client"})
    assert distribution(site, "flood").count == 60 - refused
    assert distribution(site, "name_0").count == 2
    assert total(site, "frames_sent") < 1e6


def test_a_command_writes_what_it_recorded_when_it_ends(site: Site, first: ServerProcess) -> None:
    first.manage(
        "shell", "-c", "from syncing.recording import record_metric; record_metric('rows', 5, 'rows', job='x')"
    )
    assert site.sql("SELECT name, total, unit, labels FROM sync_metrics WHERE name = 'rows'") == [
        ("rows", 5.0, "rows", {"job": "x"})
    ]
