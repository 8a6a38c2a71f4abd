"""Health under each fault, and after it: real servers, a real database, and what really breaks them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.acceptance.monitored import (
    GATE,
    codes,
    feeds,
    found_in,
    frozen,
    get,
    healthcheck,
    manage,
    monitored,
    shows,
    staff,
    statuses,
    until,
    until_soon,
)
from tests.acceptance.people import client
from tests.acceptance.site import Person, Site, drop_database, make_database

LOOKS_AND_WAITS = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'claudia monitor' AND datname = current_database() AND wait_event_type = 'Lock'
"""
QUERY = "SELECT 'what is written here is nobody''s business' FROM pg_sleep(0)"


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with monitored(server_url, tmp_path_factory.mktemp("monitored"), ALERT_TRANSACTION_SECONDS="1") as site:
        yield site


@pytest.fixture(scope="module")
def boss(place: Site) -> Person:
    return staff(place)


def ready(place: Site) -> bool:
    return get(place.servers[0], "/readyz")[0] == 200


def test_all_is_well_with_a_server_that_follows_the_log(place: Site) -> None:
    until(lambda: ready(place), "the server is ready")
    code, report = healthcheck(place.servers[0])
    assert (code, report["status"], report["score"], report["issues"]) == (0, "healthy", 100, [])
    assert {part: one["status"] for part, one in report["parts"].items()} == {
        "database": "healthy", "sync": "healthy", "monitoring": "healthy",
    }  # fmt: skip


async def test_a_feed_that_is_stuck_is_offline_whatever_else_answers(place: Site, boss: Person) -> None:
    async with client(place.servers[0], boss) as one:
        await statuses(one)
        (backend,) = feeds(place)
        with frozen(backend):
            # A warning at first, while the process is young.
            frame = await shows(
                one, lambda frame: frame["health"]["status"] == "critical" and not frame["online"], "it is offline"
            )
            assert "feed_silent" in found_in(frame)
            assert f"its backend {backend} is connected" in " ".join(frame["health"]["issues"])
            status, body, _ = get(place.servers[0], "/readyz")
            assert (status, '"feed_silent"' in body, '"ready":false' in body) == (503, True, True)
            assert get(place.servers[0], "/healthz")[0] == 200
        await shows(one, lambda frame: frame["online"] and not found_in(frame), "all is well again")
        await until_soon(lambda: ready(place), "the server is ready again")


async def test_a_frozen_holder_of_the_gate_is_named(place: Site, boss: Person) -> None:
    with psycopg.connect(place.database_url, autocommit=True, application_name="frozen reader") as holder:
        holder.execute("SELECT pg_advisory_lock('sync_events'::regclass::oid::int, 1)")
        pid = holder.info.backend_pid
        async with client(place.servers[0], boss) as one:
            await statuses(one)
            frame = await shows(one, lambda frame: "gate_frozen" in found_in(frame), "the holder is named")
            assert f"Backend {pid} (frozen reader) holds the gate" in " ".join(frame["health"]["issues"])
            # Nobody is woken any more, yet the slow poll delivers: it is not offline.
            assert frame["online"]
            holder.close()
            await shows(one, lambda frame: "gate_frozen" not in found_in(frame), "the gate is free")


async def test_a_feed_that_is_frozen_while_it_holds_the_gate_is_named(place: Site, boss: Person) -> None:
    async with client(place.servers[0], boss) as one:
        await statuses(one)

        def held() -> int | None:
            place.sql("UPDATE users SET name = name || '.' WHERE id = %s", boss.id)
            found = place.sql(GATE)
            if not found:
                return None
            pid: int = found[0][0]
            os.kill(pid, signal.SIGSTOP)
            if place.sql(GATE) == [(pid,)]:
                return pid
            os.kill(pid, signal.SIGCONT)
            return None

        pid = until(held, "the feed holds the gate and is frozen")
        try:
            await shows(one, lambda frame: {"gate_frozen", "feed_silent"} <= found_in(frame), "both are named")
        finally:
            os.kill(pid, signal.SIGCONT)
        await shows(one, lambda frame: frame["online"] and not found_in(frame), "all is well again")


async def test_an_old_transaction_is_named_with_its_query_to_staff_only(place: Site, boss: Person) -> None:
    with psycopg.connect(place.database_url, application_name="nightly import") as writer:
        writer.execute("UPDATE users SET name = name || '.' WHERE id = %s", [boss.id])
        writer.execute(QUERY)
        async with client(place.servers[0], boss) as one:
            await statuses(one)
            frame = await shows(one, lambda frame: "old_transaction" in found_in(frame), "the transaction is named")
            detail = next(d for d in frame["health"]["details"] if d["code"] == "old_transaction")
            assert "nobody''s business" in detail["detail"]
            told = " ".join(frame["health"]["issues"])
            assert f"A transaction of nightly import (backend {writer.info.backend_pid}, idle in transaction)" in told
            assert "business" not in told
            # It holds up nobody else's changes.
            assert frame["online"]
            code, report = healthcheck(place.servers[0])
            assert (code, codes(report)) in [(1, {"old_transaction"}), (2, {"old_transaction"})]
            assert "nobody''s business" in manage(place.servers[0], "healthcheck").stdout
            writer.rollback()
            await shows(one, lambda frame: not found_in(frame), "all is well again")
    assert not [line for line in place.servers[0].output if "business" in line]


def test_a_disk_that_is_nearly_full_is_told(place: Site) -> None:
    # The real disk, which is not really full: any would be nearly full by this threshold.
    code, report = healthcheck(place.servers[0], ALERT_DISK_FREE_PERCENT="100")
    assert code in (1, 2)
    assert codes(report) == {"disk"}
    subjects = {issue["subject"] for issue in report["issues"]}
    spools = f"temporary files on {socket.gethostname()}"
    # The test database lies on this machine, unless TEST_DATABASE_URL leads elsewhere.
    assert subjects == {spools} | (set() if os.environ.get("TEST_DATABASE_URL") else {"PostgreSQL's data"})


def test_a_server_that_is_nearly_out_of_disk_is_not_ready(place: Site) -> None:
    server = place.serve(ALERT_DISK_FREE_PERCENT="100", MONITORING_INTERVAL="1")
    status, body, _ = get(server, "/readyz")
    # Of 100 % that are wanted less than a third must be free to be critical: else it is ready, rightly.
    full = "disk" in codes(healthcheck(server)[1]) and healthcheck(server)[0] == 2
    assert (status == 503) is full, body
    server.stop()


async def test_clients_that_do_not_read_are_told(place: Site, boss: Person) -> None:
    reader, slow = boss, place.person("slow")
    server = place.serve(MONITORING_INTERVAL="1", ALERT_LAG_SECONDS="0.5", ALERT_SECONDS="0")
    project = place.project(slow)
    async with client(server, reader) as one, client(server, slow, max_queue=1) as two:
        await two.subscribe(p="projects")
        two.socket.transport.pause_reading()
        await statuses(one)

        def behind() -> bool:
            for _ in range(20):
                place.update("projects", project, description=os.urandom(40_000).hex())
            frames = [frame for frame in one.frames if frame["type"] == "status"]
            return "clients_behind" in found_in(frames[-1])

        await until_soon(behind, "the client is behind")
        frame = [frame for frame in one.frames if frame["type"] == "status"][-1]
        assert frame["clients_behind"] == 1
        assert frame["lag_seconds"] >= 0.5
        assert frame["health"]["status"] == "warning"
        two.socket.transport.resume_reading()
        await shows(one, lambda frame: not found_in(frame) and not frame["clients_behind"], "it has caught up")
    server.stop()


async def test_a_process_that_was_killed_is_missed_by_nobody_who_sees_that_it_is_gone(place: Site) -> None:
    other = place.serve(MONITORING_INTERVAL="1")
    until(lambda: get(other, "/readyz")[0] == 200, "the other server is ready")
    assert len(place.sql("SELECT pid FROM sync_processes")) == 2
    other.stop(signal.SIGKILL)
    until(lambda: len(feeds(place)) == 1, "its backend has ended")
    code, report = healthcheck(place.servers[0])
    assert (code, report["issues"]) == (0, [])
    assert place.sql("SELECT pid FROM sync_processes") == [(place.servers[0].process.pid,)]


def test_a_process_that_hangs_is_missed(place: Site) -> None:
    other = place.serve(MONITORING_INTERVAL="1")
    until(lambda: get(other, "/readyz")[0] == 200, "the other server is ready")
    with frozen(other.process.pid):
        code, report = healthcheck(place.servers[0])
        # Frozen while it held the gate, it also kept the other from being woken, for a moment: that is told, too.
        assert code in (1, 2)  # a warning while the process is young
        assert codes(report) - {"road_slow", "gate_frozen"} == {"feed_silent"}
        assert any(f"process {other.process.pid} on " in issue["message"] for issue in report["issues"])
    until(lambda: healthcheck(place.servers[0])[0] == 0, "it answers again")
    # One that ends in good order says so.
    other.stop()
    assert len(place.sql("SELECT pid FROM sync_processes")) == 1


def test_a_database_that_is_down_is_told_and_the_server_recovers_by_itself(place: Site, server_url: str) -> None:
    name = place.database
    with psycopg.connect(server_url, autocommit=True) as control:
        control.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            control.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            status, body, _ = get(place.servers[0], "/readyz")
            assert (status, "database_unreachable" in body) == (503, True)
            assert get(place.servers[0], "/healthz")[0] == 200
            code, report = healthcheck(place.servers[0])
            assert (code, report["status"], codes(report)) == (2, "critical", {"database_unreachable"})
            told = manage(place.servers[0], "sync_status")
            assert (told.returncode, "offline" in told.stdout) == (0, True), told.stderr
        finally:
            control.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    place.connect()
    until(lambda: ready(place), "the server is ready again")
    assert healthcheck(place.servers[0])[0] == 0


def test_readiness_is_answered_while_the_session_that_looks_stands_still(place: Site) -> None:
    server = place.servers[0]
    until(lambda: ready(place), "the server is ready")
    stopped: set[int] = set()
    try:
        with psycopg.connect(place.database_url) as holder, ThreadPoolExecutor(1) as asker:
            holder.execute("LOCK TABLE django_migrations")
            asking = asker.submit(until, lambda: not ready(place) and get(server, "/readyz"), "it is not ready")
            while not asking.done():
                # Others look, too: all are stopped, those for it among them.
                for (pid,) in place.sql(LOOKS_AND_WAITS):
                    os.kill(pid, signal.SIGSTOP)
                    stopped.add(pid)
            status, body, _ = asking.result()
            assert (status, "has not answered within 3 s" in body) == (503, True)
        # Its one thread still waits; nothing is in anybody's way any more.
        status, body, _ = get(server, "/readyz")
        assert (status, "database_unreachable" in body) == (503, True)
        assert get(server, "/metrics")[0] == 200
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    until(lambda: ready(place), "the server is ready again")


def test_without_a_server_nothing_is_delivered(server_url: str, place: Site) -> None:
    server = place.servers[0]
    name, url = make_database(server_url)
    try:
        code, report = healthcheck(server, DATABASE_URL=url)
        assert (code, codes(report)) == (2, {"migrations"})
        assert manage(server, "migrate", "-v0", DATABASE_URL=url).returncode == 0
        code, report = healthcheck(server, DATABASE_URL=url)
        assert (code, codes(report)) == (2, {"no_server"})
    finally:
        drop_database(server_url, name)
