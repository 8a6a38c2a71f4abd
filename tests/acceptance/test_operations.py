"""What operators do reaches clients, whichever server process they are connected to, and those who are away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.acceptance.measured import counted, eventually, total
from tests.acceptance.monitored import found_in, monitored, shows, statuses
from tests.acceptance.people import Cast, client, sentinel
from tests.acceptance.site import Site
from tests.acceptance.staffer import Staffer, member

RESTART = 1012
FOLLOWED = {"messages", "sessions", "users"}


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("operated")
    haste = {"ALERT_TRANSACTION_SECONDS": "0.5", "SYNC_METRICS_SECONDS": "1"}
    with monitored(server_url, folder, **haste) as site:
        site.serve(MONITORING_INTERVAL="1", **haste)
        yield site


@pytest.fixture(scope="module")
def cast(place: Site) -> Cast:
    cast = Cast.enter(place)
    for number in range(5):
        place.message(cast.session, f"message {number}")
    return cast


@pytest.fixture(scope="module")
def operator(place: Site) -> Staffer:
    return Staffer(place.servers[0], member(place, "olga", "operator"))


# -- resync ------------------------------------------------------------------------------------------------------------


async def test_one_client_at_another_server_reads_anew_and_nobody_else(
    place: Site, cast: Cast, operator: Staffer
) -> None:
    first, second = place.servers
    async with client(first, cast.alice) as here, client(second, cast.alice) as there:
        for one in (here, there):
            await one.subscribe(messages="messages", sessions="sessions")
        rows, handles = there.rows("messages"), {there.replica.stored_shape(id_) for id_ in ("messages", "sessions")}
        at, quiet = len(there.frames), len(here.frames)
        text = operator.post("/admin/operations/resync/", client=there.installation)
        assert f"Forced client {there.installation} to resync." in text
        await there.until(lambda: there.since(at, "snapshot"), "rows are sent anew")
        await there.until(lambda: all(map(there.replica.ready, ("messages", "sessions"))), "all are ready")
        staging = {handle for frame in there.since(at, "changes") for handle in frame.get("staging", ())}
        assert staging == handles
        assert there.rows("messages") == rows
        extra = place.message(cast.session, "and on it goes")
        await there.shows("messages", extra)
        await here.shows("messages", extra)
        assert here.since(quiet, "snapshot") == []


async def test_only_the_table_that_was_chosen_is_read_anew(place: Site, cast: Cast, operator: Staffer) -> None:
    async with client(place.servers[1], cast.bob) as one:
        await one.subscribe(messages="messages", sessions="sessions")
        messages, at = one.replica.stored_shape("messages"), len(one.frames)
        operator.post("/admin/operations/resync/", client=one.installation, table="messages")
        await one.until(lambda: one.since(at, "snapshot"), "rows are sent anew")
        await one.until(lambda: one.replica.ready("messages"), "they are ready")
        assert {frame["shape"] for frame in one.since(at, "snapshot")} == {messages}


async def test_everyone_reads_anew_at_every_server(place: Site, cast: Cast, operator: Staffer) -> None:
    first, second = place.servers
    async with client(first, cast.alice) as one, client(second, cast.bob) as two:
        for each in (one, two):
            await each.subscribe(messages="messages")
        at = [len(each.frames) for each in (one, two)]
        assert "Forced every client to resync." in operator.post("/admin/operations/resync/")
        for each, since in zip((one, two), at, strict=True):
            await each.until(lambda each=each, since=since: each.since(since, "snapshot"), "rows are sent anew")
            await each.until(lambda each=each: each.replica.ready("messages"), "they are ready")


async def test_who_is_away_reads_anew_when_they_come_again_and_only_then(
    place: Site, cast: Cast, operator: Staffer
) -> None:
    async with client(place.servers[0], cast.vera) as one:
        await one.subscribe(messages="messages")
    known = "SELECT count(*) FROM sync_clients WHERE client = %s"
    eventually(lambda: place.sql(known, one.installation)[0][0], "the client is noted")
    operator.post("/admin/operations/resync/", user=cast.vera.id)
    again: list[bool] = []
    for server in (*place.servers, place.servers[0]):
        async with client(server, cast.vera, replica=one.replica, installation=one.installation) as back:
            again += [answer["resumed"] for answer in await back.resume(messages="messages")]
    assert again == [False, True, True]


@pytest.mark.parametrize(
    ("options", "who", "tables"),
    [
        (["--client", "{phone}"], {"phone"}, FOLLOWED),
        (["--client", "{phone}", "--table", "sessions"], {"phone"}, {"sessions"}),
        (["--user", "{alice}"], {"phone", "laptop"}, FOLLOWED),
        (["--user", "{alice}", "--client", "{laptop}"], {"laptop"}, FOLLOWED),
        (["--user", "{bob}", "--client", "{laptop}"], set(), set()),
        (["--user", "{bob}", "--table", "messages", "--table", "sessions"], {"bob"}, {"messages", "sessions"}),
        (["--table", "messages"], {"phone", "laptop", "bob"}, {"messages"}),
        ([], {"phone", "laptop", "bob"}, FOLLOWED),
    ],
    ids=lambda value: " ".join(value) or "everyone" if isinstance(value, list) else "",
)
async def test_force_resync_reaches_whom_its_options_name_and_nobody_else(
    options: list[str], who: set[str], tables: set[str], place: Site, cast: Cast
) -> None:
    first, second = place.servers
    async with (
        client(first, cast.alice) as phone,
        client(second, cast.alice) as laptop,
        client(second, cast.bob) as bob,
    ):
        everyone = {"phone": phone, "laptop": laptop, "bob": bob}
        for one in everyone.values():
            await one.subscribe(**{table: table for table in FOLLOWED})
        named = {"phone": phone.installation, "laptop": laptop.installation}
        named |= {"alice": cast.alice.email, "bob": cast.bob.email}
        at = {name: len(one.frames) for name, one in everyone.items()}

        def anew(name: str) -> set[str]:
            """The tables of which a client was sent rows since."""
            shapes = {frame["shape"] for frame in everyone[name].since(at[name], "snapshot")}
            return {table for table in FOLLOWED if everyone[name].replica.subscriptions[table] in shapes}

        await asyncio.to_thread(first.manage, "force_resync", *(option.format(**named) for option in options))
        for name in who:
            await everyone[name].until(lambda name=name: tables <= anew(name), f"{name} is sent {tables}")
        for name, one in everyone.items():
            await one.until(lambda one=one: all(map(one.replica.ready, FOLLOWED)), "all are ready")
            await sentinel(place, one)
            assert anew(name) == (tables if name in who else set()), name


# -- disconnect --------------------------------------------------------------------------------------------------------


async def test_who_is_disconnected_may_come_again_and_goes_on(place: Site, cast: Cast, operator: Staffer) -> None:
    async with client(place.servers[0], cast.alice) as here, client(place.servers[1], cast.alice) as there:
        await there.subscribe(messages="messages")
        text = operator.post("/admin/operations/disconnect/", client=there.installation, user=cast.alice.id)
        assert "Disconnected client" in text
        assert await there.close_code() == RESTART
        await here.ping()
        async with client(place.servers[1], cast.alice, replica=there.replica) as back:
            (answer,) = await back.resume(messages="messages")
            assert answer["resumed"]


async def test_all_clients_of_a_person_are_disconnected_at_every_server(
    place: Site, cast: Cast, operator: Staffer
) -> None:
    here, there = place.servers
    async with client(here, cast.bob) as one, client(there, cast.bob) as two, client(here, cast.alice) as other:
        operator.post("/admin/operations/disconnect/", user=cast.bob.id)
        assert [await each.close_code() for each in (one, two)] == [RESTART, RESTART]
        await other.ping()


# -- maintenance -------------------------------------------------------------------------------------------------------


def test_a_task_runs_and_its_outcome_is_shown_and_kept(place: Site, operator: Staffer) -> None:
    def outcome() -> str:
        newest = operator.json("/admin/dashboard/now/")["operations"][0]
        return f"{newest['what']}: {newest['outcome']}"

    assert "prune_metrics: " in operator.post("/admin/operations/run/prune_metrics/")
    eventually(lambda: "run prune_metrics: done after" in outcome(), "it is done")
    assert "0 rows deleted" in outcome()
    place.sql("INSERT INTO memory (key, type, user_id, expires_at) SELECT 'old', 'user_preference', id,"
              " now() - interval '1 day' FROM users LIMIT 1")  # fmt: skip
    operator.post("/admin/operations/run/expire_memories/")
    eventually(lambda: "run expire_memories: done after" in outcome(), "it is done")
    assert place.sql("SELECT count(*) FROM memory WHERE key = 'old'") == [(0,)]


# -- figures -----------------------------------------------------------------------------------------------------------


async def test_figures_of_two_servers_are_those_of_sql(place: Site, cast: Cast, operator: Staffer) -> None:
    first, second = place.servers
    boss = member(place, "vic", "viewer")
    async with client(first, cast.alice) as one, client(second, cast.bob) as two, client(second, boss) as watcher:
        await statuses(watcher)
        for each in (one, two):
            await each.subscribe(messages="messages")
        ids = [place.message(cast.session, f"figure {number}") for number in range(40)]
        for each in (one, two):
            await each.shows("messages", *ids)
        logged = (
            "SELECT count(*) FROM sync_events WHERE table_name = 'messages'"
            " AND created_at > (SELECT min(started_at) FROM sync_processes)"
        )
        (expected,) = place.sql(logged)[0]
        eventually(lambda: counted(place, "changes", "table")["messages"] == expected, "all changes are counted")
        await shows(watcher, lambda frame: frame["clients"] == 3, "three clients")
        now = operator.json("/admin/dashboard/now/")
        assert len(now["processes"]) == 2
        assert now["clients"]["total"] == 3
        told = {client["client"]: client for client in now["clients"]["listed"]}
        assert set(told) == {each.installation for each in (one, two, watcher)}
        assert told[two.installation]["email"] == cast.bob.email
        assert told[two.installation]["bytes"] > sum(map(len, two.texts)) / 2

    def settled() -> bool:
        series = operator.json("/admin/dashboard/series/?range=1h")
        lines = {line["name"]: line["total"] for line in series["charts"]["changes"]}
        deliveries = place.sql("SELECT coalesce(sum(count), 0) FROM sync_metrics WHERE name = 'delivery_seconds'")
        return (
            lines.get("messages") == expected
            and series["deliveries"] == deliveries[0][0]
            and round(series["charts"]["bandwidth"][0]["total"]) == total(place, "bytes_sent")
        )

    eventually(settled, "the dashboard's figures are those of sync_metrics")


async def test_the_text_of_a_query_is_for_those_who_may_read_what_people_wrote(
    place: Site, operator: Staffer, cast: Cast
) -> None:
    viewer, support = (member(place, group, group) for group in ("viewer", "support"))
    seen = {group: Staffer(place.servers[0], person) for group, person in (("viewer", viewer), ("support", support))}
    with place.atomic():
        place.sql("SELECT 'nobody''s business', pg_current_xact_id()")
        async with client(place.servers[0], viewer) as one, client(place.servers[1], support) as two:
            for each in (one, two):
                await statuses(each)
            for each, told in ((one, False), (two, True)):
                frame = await shows(each, lambda frame: "old_transaction" in found_in(frame), "the transaction")
                details = [detail["detail"] for detail in frame["health"]["details"]]
                assert any("business" in detail for detail in details) is told
        found = {group: staffer.json("/admin/dashboard/now/")["transaction"] for group, staffer in seen.items()}
    assert found["viewer"]["pid"] == found["support"]["pid"]
    assert found["viewer"]["query"] is None
    assert "business" in found["support"]["query"]


async def test_an_ordinary_user_watches_their_own_connection_only(place: Site, cast: Cast) -> None:
    async with client(place.servers[0], cast.mallory) as one:
        await statuses(one)
        frame = await shows(one, lambda frame: True, "a status")
        assert not {"clients", "changes_per_second", "processes"} & set(frame)


def test_no_server_complains(place: Site) -> None:
    assert [line for server in place.servers for line in server.complaints()] == []
