"""The log of a real server: JSON, a line for each connection, ids on errors, and nobody's secrets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.browser import HASH, PASSWORD
from tests.acceptance.client import Client
from tests.acceptance.monitored import get, monitored, until, until_soon
from tests.acceptance.mutations import insert, update
from tests.acceptance.people import client
from tests.acceptance.site import ServerProcess, Site

#: Stands in everything that is written while the log is kept.
CONTENT = "zanzibar-a-word-that-stands-nowhere-else"


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # As much as can be logged.
    variables = {"LOG_FORMAT": "JSON", "LOG_LEVEL": "DEBUG", "METRICS_TOKEN": "metrics-" + CONTENT}
    with monitored(server_url, tmp_path_factory.mktemp("logged"), **variables) as site:
        yield site


@pytest.fixture(scope="module")
def server(place: Site) -> ServerProcess:
    return place.servers[0]


def entries(server: ServerProcess, message: str = "") -> list[dict[str, Any]]:
    """What was logged; every line that is not of the greeting is JSON."""
    found = [json.loads(line) for line in server.output if line.startswith("{")]
    return [entry for entry in found if message in entry["message"]]


async def test_a_connection_has_one_line_with_its_figures(place: Site, server: ServerProcess) -> None:
    alice = place.person("alice")
    async with client(server, alice) as one:
        await one.subscribe(a="projects", b="sessions")
        await one.ping()
        frames, size = len(one.texts), sum(len(text.encode()) for text in one.texts)

    def mine() -> list[dict[str, Any]]:
        return [entry for entry in entries(server, "a connection ended") if entry["client"] == one.installation]

    (life,) = await until_soon(mine, "the line of the connection")
    assert (life["level"], life["logger"], life["user"]) == ("INFO", "syncing.consumers", alice.id)
    assert (life["frames_received"], life["frames_sent"], life["subscriptions"]) == (3, frames, 2)
    # With the heads of the frames, two to four bytes each.
    assert size + 2 * frames <= life["bytes_sent"] <= size + 4 * frames
    assert life["code"] == 1000
    assert 0 < life["seconds"] < 60


async def test_the_line_tells_with_which_code_we_closed(server: ServerProcess) -> None:
    one = await Client(server.url).open()
    await one.send_raw("not JSON")
    assert await one.close_code() == 4400
    (life,) = await until_soon(
        lambda: [entry for entry in entries(server, "a connection ended") if entry["code"] == 4400], "the line"
    )
    assert (life["user"], life["client"], life["subscriptions"]) == (None, None, 0)


def test_what_a_request_leads_to_bears_its_id(server: ServerProcess) -> None:
    get(server, "/there/is/nothing/here", X_Request_Id="asked-by-the-test")
    (entry,) = until(lambda: entries(server, "Not Found: /there/is/nothing/here"), "the line of the request")
    assert entry["request_id"] == "asked-by-the-test"


async def test_a_mutation_that_fails_in_the_server_is_named(place: Site, server: ServerProcess) -> None:
    alice = place.person("alice")
    place.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'no such luck' USING DETAIL = NEW.summary; END $$"
    )
    place.sql("CREATE TRIGGER zzz_fail BEFORE INSERT ON memory FOR EACH ROW EXECUTE FUNCTION fail()")
    try:
        wanted = insert("memory", key="k", type="user_preference", user_id=alice.id, summary=CONTENT)
        async with client(server, alice) as one:
            at = await one.mutate(wanted)
            assert (await one.next("error", after=at))["ref"] == wanted["id"]
    finally:
        place.sql("DROP TRIGGER zzz_fail ON memory")
    (entry,) = await until_soon(lambda: entries(server, "a mutation could not be applied"), "the line of the mutation")
    assert (entry["level"], entry["mutation"], entry["client"]) == ("ERROR", wanted["id"], one.installation)
    assert "no such luck" in entry["exception"]
    assert "DETAIL: (withheld)" in entry["exception"]


async def test_nothing_secret_and_no_contents_of_rows(place: Site, server: ServerProcess) -> None:
    alice, other = place.person("alice"), place.person("bob")
    place.update("users", alice.id, password=HASH)
    project = place.project(alice, name=CONTENT)
    session = place.session(alice, project, title=CONTENT)
    place.message(session, CONTENT)
    async with client(server, alice) as one:
        await one.subscribe(projects="projects", messages="messages")
        row = one.rows("messages").popitem()[1]
        # Accepted, refused for what it says, refused by a unique rule, in conflict, unreadable.
        first = insert("memory", key=CONTENT, type="user_preference", user_id=alice.id)
        await one.results(first)
        for wanted in (
            insert("memory", key=CONTENT, type=CONTENT, user_id=alice.id),
            insert("collaborators", project_id=project, user_id=other.id, role=CONTENT),
            insert("collaborators", project_id=project, user_id=alice.id, role="editor"),
            update("messages", row["id"], base=row["sync_version"], content=CONTENT),
            update("messages", row["id"], base=10**15, content=CONTENT),
        ):
            at = await one.mutate(wanted)
            await until_soon(
                lambda at=at, id_=wanted["id"]: [
                    f for f in one.frames[at:] if f.get("id") == id_ or f.get("ref") == id_
                ],
                "an answer",
            )  # fmt: skip
        await one.send("subscribe", subscriptions=[{"id": "x", "table": "projects", "where": {"nosuch": CONTENT}}])
        await one.send("subscribe", subscriptions=[{"id": "y", "table": "projects", "where": {"name": CONTENT}}])
        await one.send("token", token=alice.token)
        await one.ping()
    two = await Client(server.url).open()
    await two.send_raw('{"type":"' + CONTENT + '"}')
    assert await two.close_code() == 4400
    three = await Client(server.url).open()
    await three.send("hello", client=three.installation, token="claudia_" + CONTENT)
    assert await three.close_code() == 4401
    # Requests: a login that fails, one that works, a page with a secret in its address.
    get(server, f"/login/?next=/{CONTENT}", Cookie=f"sessionid={CONTENT}")
    get(server, "/metrics", Authorization=f"Bearer {CONTENT}")
    get(server, "/readyz")
    # Errors of the database itself, with what was being written.
    for statement in (
        "INSERT INTO users (email, name) VALUES (%s, %s)",
        "INSERT INTO users (email, name) VALUES (%s, %s)",
    ):
        try:
            place.sql(statement, f"{CONTENT}@example.com", CONTENT)
        except Exception:  # the second is not unique
            continue
    until(lambda: entries(server, "a connection ended"), "the lines of the connections")
    # What is written at the end counts too.
    assert server.stop() == 0
    whole = "".join(server.output)
    assert len(entries(server)) >= 5
    for secret in (CONTENT, alice.token, PASSWORD, HASH, server._env["SECRET_KEY"], "postgres://"):
        assert secret not in whole, next(line for line in server.output if secret in line)[:2000]
    key = (server.local_dir / "field_encryption_key").read_text().strip()
    assert key not in whole
    assert os.environ.get("PGPASSWORD", "\0") not in whole
