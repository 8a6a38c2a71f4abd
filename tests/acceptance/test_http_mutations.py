"""`POST /api/mutations`: the same answers for programs that hold no socket, with where the write becomes visible."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.acceptance.client import Frame
from tests.acceptance.mutations import insert, update
from tests.acceptance.people import Cast, client
from tests.acceptance.site import Person, ServerProcess, Site
from tests.acceptance.web import Reply, ask

CLIENT = "73a688b9-e207-4c6c-9556-f60459f2fe1d"


async def post(server: ServerProcess, person: Person | None, *mutations: Frame, **members: Any) -> Reply:
    """Sends mutations."""
    body = {"client": CLIENT, "mutations": list(mutations), **members}
    return await ask(server, "/api/mutations", person, method="POST", body=body)


async def test_results_tell_the_transaction_and_the_cursor_from_which_the_write_is_visible(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    made = insert("sessions", title="by http")
    refused = insert("sessions", title=5)
    reply = await post(server, cast.bob, made, refused)
    assert reply.status == 200
    applied, rejected = reply.body["results"]
    assert (applied["id"], applied["status"]) == (made["id"], "applied")
    assert "type" not in applied
    assert rejected["error"]["fields"].keys() == {"title"}
    assert rejected.keys() == {"id", "status", "error"}
    number, mark = applied["cursor"].split(".")
    ((stored, sees),) = site.sql(
        "SELECT mark, pg_visible_in_snapshot(%s::text::xid8, snapshot) FROM sync_checkpoints WHERE id = %s",
        str(applied["txid"]), number,
    )  # fmt: skip
    assert (stored, sees) == (mark, True)
    ((xid,),) = site.sql("SELECT xid::text::bigint FROM sync_events WHERE row_id = %s", made["row"])
    assert xid == applied["txid"]


async def test_a_copy_by_http_of_what_came_by_the_socket_gets_the_same_answer(
    server: ServerProcess, cast: Cast
) -> None:
    made = insert("sessions", title="twice")
    async with client(server, cast.bob, installation=CLIENT) as bob:
        (result,) = await bob.results(made)
    (again,) = (await post(server, cast.bob, made)).body["results"]
    assert again["replayed"] is True
    assert again["version"] == result["version"]
    (other,) = (await post(server, cast.alice, made)).body["results"]
    assert (other["status"], other["error"]["code"]) == ("rejected", "invalid")


async def test_a_group_by_http(server: ServerProcess, site: Site, cast: Cast) -> None:
    group = [insert("sessions", title="never"), insert("sessions", title=5)]
    results = (await post(server, cast.bob, *group, atomic=True)).body["results"]
    assert [result["error"]["code"] for result in results] == ["atomic_aborted", "invalid"]
    assert site.sql("SELECT count(*) FROM sessions WHERE title = 'never'") == [(0,)]


async def test_who_may_not_is_told_so(server: ServerProcess, site: Site, cast: Cast) -> None:
    made = insert("sessions", title="no")
    assert (await post(server, None, made)).status == 401
    site.sql("UPDATE users SET is_active = false WHERE id = %s", cast.bob.id)
    assert (await post(server, cast.bob, made)).status == 403
    assert site.sql("SELECT count(*) FROM sessions WHERE title = 'no'") == [(0,)]


async def test_a_page_of_another_origin_cannot_write_by_the_browser_s_session(
    server: ServerProcess, cast: Cast
) -> None:
    body = {"client": CLIENT, "mutations": []}
    foreign = {"Origin": "https://evil.example", "Cookie": "sessionid=x"}
    reply = await ask(server, "/api/mutations", method="POST", body=body, headers=foreign)
    assert reply.status == 403
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = await ask(server, "/api/mutations", cast.bob, method="POST", body=body, headers=form)
    assert (reply.status, reply.body["error"]["code"]) == (400, "bad_frame")


async def test_what_cannot_be_read_is_refused_clearly(server: ServerProcess, cast: Cast) -> None:
    for body in (b"", b"{", b"[]", b'{"client":"x","mutations":[]}', b'{"mutations":[]}'):
        reply = await ask(server, "/api/mutations", cast.bob, method="POST", body=body)
        assert (reply.status, reply.body["error"]["code"]) == (400, "bad_frame"), body
    reply = await ask(server, "/api/mutations", cast.bob, method="POST", body=b" " * 1_100_000)
    assert (reply.status, reply.body["error"]["code"]) == (413, "too_large")
    reply = await post(server, cast.bob, *[insert("sessions", title="many") for _ in range(101)])
    assert (reply.status, reply.body["error"]["code"]) == (413, "too_large")
    assert (await ask(server, "/api/mutations", cast.bob)).status == 405


async def test_a_storm_is_told_when_to_come_again(server: ServerProcess, cast: Cast) -> None:
    replies = [await post(server, cast.vera, *[insert("sessions", title=5) for _ in range(60)]) for _ in range(3)]
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1


# -- both sides of a conflict ------------------------------------------------------------------------------------------


async def test_base_and_remote_are_served_on_request_under_present_access(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    row = site.session(cast.alice, cast.project, title="base")
    ((version,),) = site.sql("SELECT sync_version FROM sessions WHERE id = %s", row)
    site.update("sessions", row, title="theirs")
    (result,) = (await post(server, cast.bob, update("sessions", row, version, title="mine"))).body["results"]
    assert result["status"] == "conflict"
    path = f"/api/conflicts/{result['conflict']}"
    reply = await ask(server, path, cast.bob)
    assert reply.status == 200
    assert (reply.body["base"], reply.body["local"], reply.body["remote"]) == (
        {"title": "base"}, {"title": "mine"}, {"title": "theirs"},
    )  # fmt: skip
    assert (await ask(server, path, cast.alice)).status == 404
    assert (await ask(server, f"/api/conflicts/{uuid4()}", cast.bob)).status == 404
    assert (await ask(server, path)).status == 401
    site.sql("DELETE FROM collaborators WHERE user_id = %s", cast.bob.id)
    assert (await ask(server, path, cast.bob)).status == 404
