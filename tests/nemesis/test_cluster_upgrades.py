"""A column is dropped or renamed while clients are connected: in the right order nobody notices, in the wrong one
nobody is told anything wrong. Servers run as in production; a version is a copy of the code with its own migrations.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.acceptance.measured import eventually
from tests.acceptance.mutations import insert, update
from tests.acceptance.people import EVERYTHING, Cast, client, sentinel
from tests.acceptance.production import DaphneProcess, produce, status_of
from tests.acceptance.site import Person, Site
from tests.nemesis.agreement import agrees, back
from tests.nemesis.cluster import Cluster
from tests.nemesis.versions import ALIKE, COPY, MOOD, TEMPER, Version, moody

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
RESTART = 1012


def without_mood(folder: Path, cluster: Cluster, like: Version) -> Version:
    """A memory has no mood any more; the migration is made, and not marked."""
    version = Version(folder, cluster.url, like)
    version.undeclare("mood")
    version.drop(MOOD)
    version.make_migration("no_mood")
    return version


def with_temper(folder: Path, cluster: Cluster, like: Version) -> Version:
    """What was a mood is a temper, in one migration."""
    version = Version(folder, cluster.url, like)
    version.undeclare("mood")
    version.declare("temper")
    version.replace("memory/models.py", MOOD, TEMPER)
    text = version.make_migration("temper", answers="y\n").read_text()
    assert "RenameField" in text
    return version


def moods(one: Any, column: str = "mood") -> dict[str, str]:
    """What a client shows, by key."""
    return {row["key"]: row[column] for row in one.rows("memory").values()}


def post(server: DaphneProcess, person: Person, *mutations: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Mutations over HTTP: the status and the answer."""
    body = json.dumps({"client": str(uuid4()), "mutations": mutations}).encode()
    headers = {"Authorization": f"Bearer {person.token}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{server.origin}/api/mutations", body, headers)) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


async def test_a_column_is_dropped_in_the_right_order_and_nobody_is_disconnected_by_it(
    cluster: Cluster, own_site: Site, tmp_path: Path
) -> None:
    first = await asyncio.to_thread(moody, tmp_path / "first", cluster.url)
    await asyncio.to_thread(first.migrate)
    second = await asyncio.to_thread(without_mood, tmp_path / "second", cluster, first)
    waits = second.migration("no_mood")
    second.mark_after_rollout(waits)
    old = await asyncio.to_thread(produce, own_site, code=first.folder)
    cast = Cast.enter(own_site)
    row = own_site.memory("one", user_id=cast.bob.id, mood="wild")
    async with client(old, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        await one.shows("memory", row)
        # The newer version starts beside the older one; the migration waits.
        new = await asyncio.to_thread(produce, own_site, code=second.folder)
        assert any(f"memory.{waits.stem}" in line and "wait" in line for line in new.output)
        assert f"memory.{waits.stem}" in await asyncio.to_thread(second.manage, "check", "--database", "default")
        async with back(new, cast.bob, deepcopy(one.replica)) as other:  # both go on from here
            resumed = {answer["id"]: answer["resumed"] for answer in await other.resume(**EVERYTHING)}
            assert {id_ for id_, goes_on in resumed.items() if not goes_on} == {"memory"}
            await other.until(lambda: other.replica.ready("memory"), "the memories are read anew")
            assert "mood" not in other.rows("memory")[row]
            await agrees(own_site, other)
            # What a page of the former version may still send, is refused in plain words.
            version = other.rows("memory")[row]["sync_version"]
            (result,) = await other.results(update("memory", row, version, mood="tame"))
            assert (result["status"], result["error"]["code"]) == ("rejected", "unknown_column")
            assert "mood" in json.dumps(result["error"])
            for refused, code in (
                ({"id": "a", "table": "memory", "columns": ["mood"]}, "unknown_column"),
                ({"id": "b", "table": "memory", "where": {"mood": "wild"}}, "unknown_column"),
            ):
                error = await other.refused("subscribe", subscriptions=[refused])
                assert (error["code"], error["ref"]) == (code, refused["id"])
                assert "mood" in error["message"]
            assert await asyncio.to_thread(old.stop) == 0
            at = len(other.frames)
            await asyncio.to_thread(second.migrate)
            handle = other.replica.subscriptions["memory"]
            await other.until(
                lambda: any(handle in frame.get("staging", ()) for frame in other.since(at, "changes")), "a reset"
            )
            await other.until(lambda: other.replica.ready("memory"), "the memories are read anew")
            (made,) = await other.results(insert("memory", key="new", type="user_preference", user_id=cast.bob.id))
            assert made["status"] == "applied"
            await agrees(own_site, other)
    assert status_of(new, "/readyz")[0] == 200
    assert old.complaints() == new.complaints() == []


@pytest.mark.parametrize("change", [without_mood, with_temper], ids=["dropped", "renamed"])
async def test_in_the_wrong_order_old_servers_live_on_and_send_their_clients_to_the_new_ones(
    change: Any, cluster: Cluster, own_site: Site, tmp_path: Path
) -> None:
    first = await asyncio.to_thread(moody, tmp_path / "first", cluster.url)
    await asyncio.to_thread(first.migrate)
    second = await asyncio.to_thread(change, tmp_path / "second", cluster, first)
    old = await asyncio.to_thread(produce, own_site, code=first.folder)
    cast = Cast.enter(own_site)
    row = own_site.memory("one", user_id=cast.bob.id, mood="wild")
    async with client(old, cast.bob) as one, client(old, cast.vera) as filters:
        await one.subscribe(**EVERYTHING)
        await filters.subscribe(memory={"table": "memory", "where": {"mood": "wild"}})
        await asyncio.to_thread(second.migrate)
        assert [await each.close_code() for each in (one, filters)] == [RESTART, RESTART]
        assert all("mood" in memory for memory in one.rows("memory").values()), "told of a row without its mood"
    # It lives, says what is wrong, and takes nobody in.
    assert status_of(old, "/healthz")[0] == 200
    code, body = status_of(old, "/readyz")
    (reason,) = json.loads(body)["reasons"]
    assert (code, reason["code"]) == (503, "outdated")
    assert "memory has no mood" in reason["message"]
    late = client(old, cast.bob)
    await late.open()
    await late.send("hello", client=late.installation, token=late.token)
    assert await late.close_code() == RESTART
    wanted = insert("memory", key="late", type="user_preference", user_id=cast.bob.id, mood="wild")
    status, answer = await asyncio.to_thread(post, old, cast.bob, wanted)
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    said = DaphneProcess(own_site.database_url, tmp_path / "again", code=first.folder).refusal()
    assert "claudia: A newer version has migrated the database: memory has no mood" in said.splitlines()[-1]
    assert "Start the newer version" in said.splitlines()[-1]
    # The newer version: the memories are read anew, and life goes on.
    new = await asyncio.to_thread(produce, own_site, code=second.folder)
    async with back(new, cast.bob, one.replica) as again:
        resumed = {answer["id"]: answer["resumed"] for answer in await again.resume(**EVERYTHING)}
        assert {id_ for id_, goes_on in resumed.items() if not goes_on} == {"memory"}
        await again.until(lambda: again.replica.ready("memory"), "the memories are read anew")
        own_site.update("memory", row, summary="and it goes on")
        await agrees(own_site, again)
        if change is with_temper:
            assert moods(again, "temper") == {"one": "wild"}
    (complaint,) = old.complaints()
    assert "this process can serve no clients" in complaint
    assert new.complaints() == []
    assert await asyncio.to_thread(old.stop) == 0


async def test_an_old_server_goes_on_by_itself_where_the_database_is_migrated_back(
    cluster: Cluster, own_site: Site, tmp_path: Path
) -> None:
    first = await asyncio.to_thread(moody, tmp_path / "first", cluster.url)
    await asyncio.to_thread(first.migrate)
    second = await asyncio.to_thread(without_mood, tmp_path / "second", cluster, first)
    old = await asyncio.to_thread(produce, own_site, code=first.folder)
    cast = Cast.enter(own_site)
    await asyncio.to_thread(second.migrate)
    eventually(lambda: any("can serve no clients" in line for line in old.output), "it is told, without any client")
    before = second.migration("mood").stem
    await asyncio.to_thread(second.manage, "migrate", "memory", before, "--verbosity", "0")
    eventually(lambda: any("can serve clients again" in line for line in old.output), "it looks again")
    async with client(old, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        (made,) = await one.results(
            insert("memory", key="back", type="user_preference", user_id=cast.bob.id, mood="wild")
        )
        assert made["status"] == "applied"
        await agrees(own_site, one)
        assert moods(one) == {"back": "wild"}


async def test_a_column_is_renamed_over_two_releases_and_nobody_is_disconnected_by_it(
    cluster: Cluster, own_site: Site, tmp_path: Path
) -> None:
    first = await asyncio.to_thread(moody, tmp_path / "first", cluster.url)
    await asyncio.to_thread(first.migrate)

    def both() -> Version:
        """Expand: the new name beside the old one, both kept alike by the database, and a copy of what is there."""
        version = Version(tmp_path / "second", cluster.url, first)
        version.add(TEMPER)
        version.declare("temper")
        models = version.folder / "memory" / "models.py"
        models.write_text(
            models.read_text().replace("\nclass Memory(", f"\nimport pgtrigger  # noqa{ALIKE}class Memory(")
        )
        file = version.make_migration("temper")
        text = file.read_text()
        end = text.rindex("    ]\n")
        file.write_text(f"{text[:end]}        {COPY},\n{text[end:]}")
        return version

    def one_name() -> Version:
        """Contract: only the new name."""
        version = Version(tmp_path / "third", cluster.url, second)
        version.undeclare("mood")
        version.drop(MOOD)
        models = version.folder / "memory" / "models.py"
        models.write_text(models.read_text().replace(ALIKE.lstrip("\n"), ""))
        version.mark_after_rollout(version.make_migration("no_mood"))
        return version

    old = await asyncio.to_thread(produce, own_site, code=first.folder)
    cast = Cast.enter(own_site)
    own_site.memory("before", user_id=cast.bob.id, mood="wild")
    async with client(old, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        second = await asyncio.to_thread(both)
        await asyncio.to_thread(second.migrate)
        new = await asyncio.to_thread(produce, own_site, code=second.folder)
        async with client(new, cast.bob) as other:
            await other.subscribe(**EVERYTHING)
            assert moods(other, "temper") == {"before": "wild"}
            # Each version writes its own name, and each reads what the other wrote.
            memory = {"type": "user_preference", "user_id": cast.bob.id}
            (made,) = await one.results(insert("memory", key="old", mood="grim", **memory))
            (also,) = await other.results(insert("memory", key="new", temper="glad", **memory))
            assert made["status"] == also["status"] == "applied"
            await sentinel(own_site, one)
            await sentinel(own_site, other)
            assert moods(one) == moods(other, "temper") == {"before": "wild", "old": "grim", "new": "glad"}
            await agrees(own_site, one)
        assert await asyncio.to_thread(old.stop) == 0
        assert await one.close_code() == RESTART
    third = await asyncio.to_thread(one_name)
    last = await asyncio.to_thread(produce, own_site, code=third.folder)
    assert await asyncio.to_thread(new.stop) == 0
    async with client(last, cast.bob) as one:
        await one.subscribe(**EVERYTHING)
        await asyncio.to_thread(third.migrate)
        (row,) = [id_ for id_, row in one.rows("memory").items() if row["key"] == "old"]
        own_site.update("memory", row, temper="mild")
        await agrees(own_site, one)
        assert moods(one, "temper") == {"before": "wild", "old": "mild", "new": "glad"}
        assert "mood" not in one.rows("memory")[row]
    for server in (old, new, last):
        assert server.complaints() == []


async def test_a_column_that_is_declared_and_not_migrated_is_named_by_the_check(
    cluster: Cluster, own_site: Site, tmp_path: Path
) -> None:
    version = Version(tmp_path / "forgetful", cluster.url)
    assert "no issues" in await asyncio.to_thread(version.manage, "check", "--database", "default")
    version.replace("memory/sync.py", '"frequency",\n', '"frequency",\n        "scope",\n')
    said = await asyncio.to_thread(version.manage, "check", "--database", "default")
    for capture in ("aa_capture_delete", "aa_capture_insert", "aa_capture_update"):
        assert f"{capture} of memory is another one" in said
    assert "Run manage.py makemigrations and migrate" in said
    # A server of it would tell clients rows without the column: it does not start.
    refusal = DaphneProcess(own_site.database_url, tmp_path / "refused", code=version.folder).refusal()
    assert "memory does not log scope" in refusal.splitlines()[-1]
