"""A server process that is told to stop answers what has come, closes everything, and ends in time."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.client import Client, Frame
from tests.acceptance.measured import eventually
from tests.acceptance.mutations import insert
from tests.acceptance.people import Cast, client
from tests.acceptance.production import produce, status_of
from tests.acceptance.site import ServerProcess, Site

RESTART = 1012
SOCKETS = 20
#: Mutations of each socket before the signal, which the server has received for certain; and after it began to stop.
RECEIVED = 5
#: Seconds, by the server's own word. A process that takes longer than ENDED_WITHIN is ended by its watch, with code 1.
LIMIT = 10.0


@pytest.fixture
def started(site: Site) -> Iterator[list[ServerProcess]]:
    """Servers that a test starts for their end; none is left."""
    before = len(site.servers)
    yield site.servers
    for server in site.servers[before:]:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)
    del site.servers[before:]


def start(site: Site, how: str, **variables: str) -> ServerProcess:
    """By Daphne alone, as in production, or by `manage.py serve`."""
    return produce(site, **variables) if how == "daphne" else site.serve(**variables)


async def ended(server: ServerProcess, code: int = 0) -> float:
    """Waits for its end; for how many seconds it was stopping, by its own word."""
    assert await asyncio.to_thread(server.process.wait, 30) == code, "".join(server.output)
    server._thread.join(30)
    assert server.complaints() == []
    (figure,) = re.findall(r"the server has stopped.*?seconds\"?[=:] ?([\d.]+)", "".join(server.output))
    assert float(figure) < LIMIT
    return float(figure)


def message(cast: Cast, number: object) -> Frame:
    return insert("messages", session_id=cast.session, role="user", content=str(number))


def results(one: Client) -> dict[str, Frame]:
    """What the client was told of its mutations, by their ids."""
    return {frame["id"]: frame for frame in one.frames if frame["type"] == "result"}


def receipts(site: Site, mutations: list[Frame]) -> dict[str, int]:
    """How often each was applied: rows that bear its id in the log, by mutation."""
    rows = site.sql(
        "SELECT mutation_id::text, count(*) FROM sync_events WHERE table_name = 'messages' AND op = 'I'"
        " AND mutation_id = ANY(%s::uuid[]) GROUP BY 1", [one["id"] for one in mutations],
    )  # fmt: skip
    return dict(rows)


class Busy:
    """A client that sends mutations until its connection is closed."""

    def __init__(self, server: ServerProcess, cast: Cast) -> None:
        self.client = client(server, cast.alice)
        self.cast = cast
        self.received: list[Frame] = []
        self.late: list[Frame] = []

    async def begin(self) -> None:
        """Mutations that the server has received: it has answered a ping that was sent after them."""
        await self.client.open()
        await self.client.hello()
        await self.client.subscribe(messages={"table": "messages", "where": {"session_id": self.cast.session}})
        self.received = [message(self.cast, number) for number in range(RECEIVED)]
        await self.client.mutate(*self.received)
        await self.client.ping()

    async def go_on(self) -> None:
        """One more after the other, until the server closes."""
        try:
            while True:
                one = message(self.cast, f"late {len(self.late)}")
                await self.client.mutate(one)
                self.late.append(one)
                await asyncio.sleep(0.02)  # as fast as it may
        except Exception:
            assert await self.client.close_code() == RESTART


@pytest.mark.slow
@pytest.mark.parametrize("how", ["daphne", "serve"])
async def test_all_that_was_received_is_answered_before_the_close(
    how: str, site: Site, cast: Cast, started: list[ServerProcess]
) -> None:
    fast = {"SYNC_MUTATIONS_PER_SECOND": "10000", "SYNC_MUTATIONS_PER_FRAME": "1000"}
    stopped, other = [await asyncio.to_thread(start, site, how, **fast) for _ in range(2)]
    crowd = [Busy(stopped, cast) for _ in range(SOCKETS)]
    await asyncio.gather(*(one.begin() for one in crowd))
    # All of them wait for the number of the next message of one session; the first ones are in the database by now.
    with site.atomic():
        site.sql("SELECT FROM sessions WHERE id = %s FOR UPDATE", cast.session)
        more = [asyncio.create_task(one.go_on()) for one in crowd]
        waiting = [message(cast, f"waits {number}") for number in range(SOCKETS)]
        for one, held in zip(crowd, waiting, strict=True):
            await one.client.mutate(held)
            one.received.append(held)
            await one.client.ping()
        stopped.process.send_signal(signal.SIGTERM)
        await says(stopped, "the server stops")
    await asyncio.gather(*more)
    await ended(stopped)
    for one in crowd:
        told = results(one.client)
        assert {held["id"] for held in one.received} <= told.keys(), "received, and not answered"
        applied = receipts(site, one.received + one.late)
        assert all(answer["status"] == "applied" and applied.get(id_) == 1 for id_, answer in told.items())
        # What was not answered comes again at another server, and is there once.
        unanswered = [late for late in one.late if late["id"] not in told]
        async with client(other, cast.alice, installation=one.client.installation) as again:
            answers = await again.results(*unanswered) if unanswered else []
            assert {answer["status"] for answer in answers} <= {"applied"}
        assert set(receipts(site, one.received + one.late).values()) == {1}
    assert site.sql("SELECT count(*) FROM sync_metrics WHERE name = 'mutations'")[0][0] > 0
    assert site.sql("SELECT count(*) FROM sync_processes WHERE pid = %s", stopped.process.pid) == [(0,)]


@pytest.mark.slow
async def test_a_mutation_that_hangs_is_cancelled_and_applied_once_when_it_comes_again(
    site: Site, cast: Cast, started: list[ServerProcess], server: ServerProcess
) -> None:
    stopped = await asyncio.to_thread(start, site, "daphne")
    hanging = message(cast, "hangs")
    # An advisory lock, which no lock_timeout of the mutation's spares: its own statement asks for it.
    site.sql(
        "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET LOCAL lock_timeout = 0;"
        " SET LOCAL statement_timeout = 0; PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$;"
        " CREATE TRIGGER hang BEFORE INSERT ON messages FOR EACH ROW WHEN (NEW.content = 'hangs')"
        " EXECUTE FUNCTION hang()"
    )
    try:
        with site.atomic():
            site.sql("SELECT pg_advisory_xact_lock(77)")
            one = client(stopped, cast.alice)
            await one.open()
            await one.hello()
            await one.mutate(hanging)
            await waits_for_a_lock(site)
            stopped.process.send_signal(signal.SIGTERM)
            assert await one.close_code() == RESTART
            await ended(stopped)
            assert results(one) == {}
            assert site.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77") == [(1,)]
        async with client(server, cast.alice, installation=one.installation) as again:
            for replayed in (False, True):
                (answer,) = await again.results(hanging)
                assert (answer["status"], answer.get("replayed", False)) == ("applied", replayed)
        assert receipts(site, [hanging]) == {hanging["id"]: 1}
    finally:
        site.sql("DROP FUNCTION hang() CASCADE")


async def waits_for_a_lock(site: Site) -> None:
    """Returns when somebody waits for a lock that the test holds."""
    sql = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    await asyncio.to_thread(eventually, lambda: site.sql(sql), "a mutation waits for the lock")


async def says(server: ServerProcess, text: str) -> None:
    """Returns when the server's log has this text."""
    await asyncio.to_thread(eventually, lambda: any(text in line for line in server.output), text)


async def test_who_does_not_read_does_not_keep_the_process(
    site: Site, cast: Cast, started: list[ServerProcess]
) -> None:
    stopped = await asyncio.to_thread(start, site, "daphne")
    deaf = client(stopped, cast.alice, max_queue=1)
    await deaf.open()
    await deaf.hello()
    await deaf.subscribe(messages={"table": "messages", "where": {"session_id": cast.session}})
    deaf.socket.transport.pause_reading()
    for _ in range(40):
        site.message(cast.session, "x" * 400_000)
    async with client(stopped, cast.bob) as reads:
        await reads.subscribe(messages={"table": "messages", "where": {"session_id": cast.session}})
        stopped.process.send_signal(signal.SIGTERM)
        assert await reads.close_code() == RESTART
        await ended(stopped)
    deaf.cut()


async def test_readyz_says_no_while_all_else_goes_on_and_then_nobody_listens(
    site: Site, cast: Cast, started: list[ServerProcess]
) -> None:
    stopped = await asyncio.to_thread(start, site, "daphne", STOP_WAIT_SECONDS="1.5")
    async with client(stopped, cast.alice) as one:
        await one.subscribe(messages={"table": "messages", "where": {"session_id": cast.session}})
        line = http.client.HTTPConnection("127.0.0.1", stopped.port, timeout=10)
        assert await asyncio.to_thread(asked, line, "/readyz") == 200
        stopped.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(eventually, lambda: asked(line, "/readyz") == 503, "the signal arrives")
        assert await asyncio.to_thread(asked, line, "/healthz") == 200
        async with client(stopped, cast.bob) as late:
            (answer,) = await late.results(message(cast, "while it waits"))
            assert answer["status"] == "applied"
            await one.until(lambda: "while it waits" in texts(one), "the message")
            assert await one.close_code() == RESTART
            assert await late.close_code() == RESTART
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", stopped.port)).close()
    await ended(stopped)


def texts(one: Client) -> set[Any]:
    """Of the messages that the client shows."""
    return {row["content"] for row in one.rows("messages").values()}


def asked(line: http.client.HTTPConnection, path: str) -> int:
    """The status of a GET over a connection that is kept."""
    line.request("GET", path)
    answer = line.getresponse()
    answer.read()
    return answer.status


async def test_a_request_that_was_received_is_answered_and_a_later_one_is_refused(
    site: Site, cast: Cast, started: list[ServerProcess]
) -> None:
    stopped = await asyncio.to_thread(start, site, "daphne")
    first, second = (http.client.HTTPConnection("127.0.0.1", stopped.port, timeout=20) for _ in range(2))
    assert asked(second, "/healthz") == 200
    wanted = message(cast, "over HTTP")
    body = json.dumps({"client": "0198c0de-0000-7000-8000-000000000001", "mutations": [wanted]})
    headers = {"Authorization": f"Bearer {cast.alice.token}", "Content-Type": "application/json"}
    with site.atomic():
        site.sql("SELECT FROM sessions WHERE id = %s FOR UPDATE", cast.session)
        first.request("POST", "/api/mutations", body, headers)
        await waits_for_a_lock(site)
        stopped.process.send_signal(signal.SIGTERM)
        await says(stopped, "the server stops")
        assert await asyncio.to_thread(asked, second, "/readyz") == 503
        second.request("POST", "/api/mutations", body, headers)
        refused = second.getresponse()
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    answer: Any = await asyncio.to_thread(first.getresponse)
    (result,) = json.loads(answer.read())["results"]
    assert result["status"] == "applied"
    await ended(stopped)
    assert receipts(site, [wanted]) == {wanted["id"]: 1}


async def test_a_second_signal_ends_it_at_once(site: Site, cast: Cast, started: list[ServerProcess]) -> None:
    stopped = await asyncio.to_thread(start, site, "daphne", STOP_WAIT_SECONDS="300")
    async with client(stopped, cast.alice) as one:
        stopped.process.send_signal(signal.SIGTERM)
        await says(stopped, "the server stops in 300 s")
        stopped.process.send_signal(signal.SIGINT)
        assert await one.close_code() == 1006
    assert await asyncio.to_thread(stopped.process.wait, 30) == 128 + signal.SIGINT
    stopped._thread.join(30)
    assert "stopped at once, by a second signal" in stopped.output[-1]


@pytest.mark.slow
def test_what_never_ends_by_itself_is_ended_by_the_watch_with_a_reason(
    site: Site, started: list[ServerProcess]
) -> None:
    stopped = ServerProcess(site.database_url, site.folder / "stubborn", like="stubborn", LOG_LEVEL="INFO")
    site.servers.append(stopped)
    stopped.start()
    eventually(lambda: status_of(stopped, "/healthz")[0] == 200, "it serves, and handles signals")
    stopped.process.send_signal(signal.SIGTERM)
    assert stopped.process.wait(30) == 1
    stopped._thread.join(30)
    assert any("the server has stopped" in line for line in stopped.output), "all else was done"
    assert "the server did not end in time, and is ended: stubborn" in stopped.output[-1]
