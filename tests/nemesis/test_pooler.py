"""Behind PgBouncer in transaction mode: all but what needs a session goes through it; nothing is lost or mixed up."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from syncing.continuity import direct_gate
from syncing.poolers import NotDirect
from syncing.staff.exports import Export, rows_of
from tests.acceptance.browser import HASH
from tests.acceptance.devices import Device
from tests.acceptance.edits import Hand
from tests.acceptance.homecoming import come_back, differing, stage
from tests.acceptance.mutations import insert
from tests.acceptance.people import Cast, client
from tests.acceptance.server import ROOT, environment, free_port, refusal
from tests.acceptance.site import Person, Site
from tests.acceptance.staffer import Staffer
from tests.acceptance.verdict import Verdict
from tests.acceptance.web import ask
from tests.factories import UserFactory
from tests.nemesis.bouncer import Bouncer
from tests.nemesis.campaign import Campaign, holds
from tests.nemesis.cluster import Cluster
from tests.nemesis.faults import KillServer, LoseConnections

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def bouncer(cluster: Cluster) -> Iterator[Bouncer]:
    """Few sessions for many: whatever is left behind in one is found by somebody else."""
    with Bouncer(cluster) as bouncer:
        yield bouncer


@pytest.fixture
def site(cluster: Cluster, bouncer: Bouncer, tmp_path: Path) -> Iterator[Site]:
    """The database as servers see it, through the pooler; the test looks at it directly."""
    site = Site(cluster.url, tmp_path, served_url=bouncer.url)
    site.connect()
    yield site
    site.close()


async def test_the_theorem_holds_while_writers_and_servers_go_through_the_pooler(
    cluster: Cluster, bouncer: Bouncer, tmp_path: Path
) -> None:
    await holds(Campaign(
        cluster.url, tmp_path, seed=31, faults=[KillServer(), LoseConnections()], servers=2, transactions=60,
        pooled_url=bouncer.url, variables=bouncer.variables,
    ))  # fmt: skip


async def test_offline_edits_come_back_through_it_and_each_is_made_once(site: Site, bouncer: Bouncer) -> None:
    cast = Cast.enter(site)
    stage(site, cast)
    servers = [await asyncio.to_thread(site.serve, **bouncer.variables) for _ in range(2)]
    people = [cast.alice, cast.alice, cast.bob, cast.bob]
    devices = [Device(f"device{n}", person, random.Random(n)) for n, person in enumerate(people)]
    for device in devices:
        await (await device.settle(servers[0])).leave()
    chance = random.Random(5)
    hand = Hand(cast, chance)
    for device in devices:
        for _ in range(12):
            hand.edit(device)
    await come_back(devices, servers, servers[1], chance)
    connections = [await device.settle(servers[0]) for device in devices]
    try:
        Verdict(site, hand.edits).judge()
        for device, one in zip(devices, connections, strict=True):
            await one.until(lambda device=device: not differing(site, device), f"{device.name} shows what SQL says")
    finally:
        for one in connections:
            await one.leave()
    assert servers[0].complaints() == []


async def test_nobody_writes_under_anothers_name_although_all_share_two_sessions(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Clients of four people, and programs that say nothing of themselves but their name, all at once."""
    with Bouncer(cluster, size=2) as bouncer:
        site = Site(cluster.url, tmp_path, served_url=bouncer.url)
        try:
            site.connect()
            await _write_all_at_once(site, bouncer)
        finally:
            site.close()


async def _write_all_at_once(site: Site, bouncer: Bouncer) -> None:
    people = [site.person(f"writer{n}") for n in range(4)]
    sessions = {person.id: site.session(person) for person in people}
    server = await asyncio.to_thread(site.serve, SYNC_MUTATIONS_PER_SECOND="1000", **bouncer.variables)
    errors: list[BaseException] = []

    def program(n: int) -> None:
        try:
            with bouncer.connect(application_name=f"program {n}", autocommit=True) as connection:
                for _ in range(60):
                    session = sessions[people[n].id]
                    connection.execute(
                        "INSERT INTO messages (session_id, role, content) VALUES (%s, 'user', %s)",
                        [session, f"program {n}"],
                    )
        except BaseException as error:
            errors.append(error)

    async def person_writes(person: Person) -> None:
        async with client(server, person) as one:
            for _ in range(12):
                wanted = [
                    insert("messages", session_id=sessions[person.id], role="user", content=one.installation)
                    for _ in range(5)
                ]
                results = await one.results(*wanted)
                assert {result["status"] for result in results} == {"applied"}

    threads = [threading.Thread(target=program, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.gather(*map(person_writes, people))
    for thread in threads:
        await asyncio.to_thread(thread.join, 60)
    assert errors == []
    wrong = site.sql(
        "SELECT after::jsonb->>'content', client_id::text, user_id::text, origin FROM sync_events"
        " WHERE table_name = 'messages' AND op = 'I' AND CASE WHEN after::jsonb->>'content' LIKE 'program%%'"
        " THEN user_id IS NOT NULL OR client_id IS NOT NULL OR origin IS DISTINCT FROM after::jsonb->>'content'"
        " ELSE client_id::text IS DISTINCT FROM after::jsonb->>'content' OR scope <> 'u:' || user_id END"
    )
    assert wrong == []
    assert site.sql("SELECT count(*) FROM messages") == [(4 * 60 * 2,)]
    # They did share: the pooler had no more than these, and each of them served several.
    [pool] = [pool for pool in bouncer.show("POOLS") if pool["database"] == "claudia"]
    assert sum(pool[state] for state in ("sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login")) <= 2


async def test_only_the_feed_and_readers_of_snapshots_come_past_it(
    site: Site, cluster: Cluster, bouncer: Bouncer
) -> None:
    server = await asyncio.to_thread(site.serve, **bouncer.variables)
    cast = Cast.enter(site)
    async with client(server, cast.alice) as one:
        await one.subscribe(messages="messages")
        at_pooler = {server["local_port"] for server in bouncer.show("SERVERS")}
        direct = [
            name
            for name, port in site.sql(
                "SELECT application_name, client_port FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            if port not in at_pooler
        ]
    assert direct.count("claudia feed") == 1
    assert set(direct) <= {"claudia feed", "claudia snapshots", "claudia monitor"}
    assert direct.count("claudia snapshots") <= 2


async def test_pages_probes_exports_and_commands_work_through_it(site: Site, bouncer: Bouncer) -> None:
    server = await asyncio.to_thread(site.serve, DATABASE_POOL_SIZE="8", **bouncer.variables)
    cast = Cast.enter(site)
    site.sql(
        "INSERT INTO messages (session_id, role, content)"
        " SELECT %s, 'user', 'exported ' || n FROM generate_series(1, 3000) n",
        cast.session,
    )
    assert (await ask(server, "/readyz")).body["ready"] is True
    root = site.person("root", password=HASH, is_staff=True, is_superuser=True)
    staffer = await asyncio.to_thread(Staffer, server, root)
    for page in ("", "conversations/message/", "syncing/syncevent/", "projects/project/add/"):
        assert "<html" in await asyncio.to_thread(staffer.get, f"/admin/{page}")
    exported = await asyncio.to_thread(staffer.get, "/admin/conversations/message/export/csv/")
    assert exported.count("exported ") == 3000
    memory = site.memory("old", user_id=cast.alice.id, expires_at="2020-01-01T00:00:00Z")
    for command in (
        ["healthcheck", "--json"], ["sync_status", "--json"], ["sweep_conflicts", "--dry-run"], ["expire_memories"],
        ["prune_metrics", "--dry-run"], ["check", "--database", "default"], ["list_tokens"], ["migrate", "--check"],
    ):  # fmt: skip
        await asyncio.to_thread(server.manage, *command)
    assert site.sql("SELECT origin FROM sync_events WHERE row_id = %s AND op = 'D'", memory) == [
        ("command expire_memories",)
    ]
    assert server.complaints() == []


@pytest.mark.django_db
def test_an_export_reads_by_a_cursor_although_the_rest_may_not(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows at once would be the memory of the server."""
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    UserFactory()
    with CaptureQueriesContext(connection) as asked:
        list(rows_of(Export(User.objects.order_by("pk"), ("id",), frozenset())))
        list(User.objects.iterator())
    declared = [query["sql"] for query in asked.captured_queries if "DECLARE" in query["sql"]]
    assert len(declared) == 1


async def test_a_pooler_that_is_gone_costs_newcomers_and_writers_only_and_is_told(site: Site, bouncer: Bouncer) -> None:
    server = await asyncio.to_thread(site.serve, **bouncer.variables)
    cast = Cast.enter(site)
    async with client(server, cast.alice) as one:
        await one.subscribe(messages="messages")
        await asyncio.to_thread(bouncer.stop)
        message = site.message(cast.session, "while it is gone")
        await one.shows("messages", message)
        wanted = insert("messages", session_id=cast.session, role="user", content="later")
        at = await one.mutate(wanted)
        assert (await one.next("error", after=at, ref=wanted["id"]))["code"] == "unavailable"
        reply = await ask(server, "/readyz")
        assert (reply.status, [reason["code"] for reason in reply.body["reasons"]]) == (503, ["pooler"])
        await asyncio.to_thread(bouncer.start)
        [result] = await _until_applied(one, wanted)
        assert result["status"] == "applied"
    for _ in range(100):  # an answer is good for a second
        if (await ask(server, "/readyz")).status == 200:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not ready although the pooler is back")


async def _until_applied(one: Any, wanted: Any) -> list[Any]:
    for _ in range(100):
        at = await one.mutate(wanted)
        await one.until(
            lambda at=at: any(frame["type"] in ("result", "error") for frame in one.frames[at:]), "an answer"
        )
        if found := one.since(at, "result"):
            return list(found)
        await asyncio.sleep(one.since(at, "error")[0]["retry_after"])  # as the server asked
    raise AssertionError("never applied")


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", [{}, {"ignore_startup_parameters": "options"}])
def test_a_feed_that_would_listen_through_the_pooler_is_refused_in_plain_words(
    cluster: Cluster, tmp_path: Path, ignored: dict[str, str]
) -> None:

    with Bouncer(cluster, options=ignored) as bouncer:
        pooled = {"DATABASE_URL": bouncer.url, **bouncer.variables}
        serve = [sys.executable, str(ROOT / "manage.py"), "serve", "--port", str(free_port())]
        daphne = [sys.executable, "-m", "daphne", "-p", str(free_port()), "claudia.asgi:application"]
        for command in (serve, daphne):
            for name, variables in (
                ("DATABASE_URL", {"DATABASE_URL": bouncer.url}),
                ("SYNC_DATABASE_URL", pooled | {"SYNC_DATABASE_URL": bouncer.url}),
            ):
                said = refusal(command, environment(tmp_path, **variables))
                assert f"{name} leads to a connection pooler" in said, said


def test_two_addresses_of_different_databases_are_refused(cluster: Cluster, bouncer: Bouncer, tmp_path: Path) -> None:
    variables = bouncer.variables | {"DATABASE_URL": bouncer.url, "SYNC_DATABASE_URL": cluster.url_of("postgres")}
    command = [sys.executable, str(ROOT / "manage.py"), "serve", "--port", str(free_port())]
    assert "different databases" in refusal(command, environment(tmp_path, **variables))


async def test_a_feed_whose_new_connection_is_none_of_its_own_says_so(cluster: Cluster, bouncer: Bouncer) -> None:
    """After the start: a name that leads elsewhere since."""
    async with await psycopg.AsyncConnection.connect(cluster.url, autocommit=True) as direct:
        assert await direct_gate(direct) > 0
    async with await psycopg.AsyncConnection.connect(bouncer.url, autocommit=True) as pooled:
        with pytest.raises(NotDirect, match="leads to a connection pooler"):
            await direct_gate(pooled)
