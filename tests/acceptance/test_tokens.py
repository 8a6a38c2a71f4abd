"""API tokens on live connections: renewed, revoked, expired; their owners deactivated."""

from __future__ import annotations

import asyncio
import hashlib
from uuid import uuid4

import pytest

from tests.acceptance.client import Client
from tests.acceptance.people import Cast, client
from tests.acceptance.site import ServerProcess, Site


async def close_code_of(server: ServerProcess, token: str) -> int | None:
    """How a connection with this token ends."""
    one = await Client(server.url).open()
    await one.send("hello", client=str(uuid4()), token=token)
    return await one.close_code()


async def test_an_expired_token_is_4401(server: ServerProcess, site: Site, cast: Cast) -> None:
    assert await close_code_of(server, site.token(cast.alice.id, expires_in=-1)) == 4401


async def test_a_revoked_token_is_4401(server: ServerProcess, site: Site, cast: Cast) -> None:
    site.sql("UPDATE api_tokens SET revoked_at = now() WHERE user_id = %s", cast.alice.id)
    assert await close_code_of(server, cast.alice.token) == 4401


async def test_the_token_of_a_deactivated_user_is_4403(server: ServerProcess, site: Site, cast: Cast) -> None:
    revoked = site.token(cast.alice.id, "revoked")
    site.update("users", cast.alice.id, is_active=False)
    assert await close_code_of(server, cast.alice.token) == 4403
    site.sql("UPDATE api_tokens SET revoked_at = now() WHERE user_id = %s", cast.alice.id)
    assert await close_code_of(server, revoked) == 4401, "a token that is no good tells nothing of its owner"


async def test_a_user_who_is_deactivated_is_closed_with_4403_within_a_second(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    async with client(server, cast.alice) as alice, client(server, cast.bob) as bob:
        await alice.subscribe(projects="projects")
        site.update("users", cast.alice.id, is_active=False)
        assert await alice.close_code(patience=1) == 4403
        await bob.ping()


async def test_a_user_who_is_deleted_is_closed_with_4403(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.mallory) as mallory:
        site.sql("DELETE FROM api_tokens WHERE user_id = %s", cast.mallory.id)
        assert await mallory.close_code() == 4401
    gone = site.person("gone")
    async with client(server, gone) as one:
        with site.atomic():
            site.sql("DELETE FROM api_tokens WHERE user_id = %s", gone.id)
            site.delete("users", gone.id)
        assert await one.close_code() in (4401, 4403)


async def test_revoking_a_token_by_command_closes_its_connections_and_no_others(
    server: ServerProcess, site: Site, cast: Cast
) -> None:
    other = site.token(cast.alice.id, "other")
    async with client(server, cast.alice) as revoked, Client(server.url, other) as kept:
        await revoked.subscribe(projects="projects")
        token = site.sql(
            "SELECT id FROM api_tokens WHERE digest = %s", hashlib.sha256(cast.alice.token.encode()).hexdigest()
        )
        await asyncio.to_thread(server.manage, "revoke_token", str(token[0][0]))
        assert await revoked.close_code() == 4401
        await kept.subscribe(projects="projects")
        assert cast.project in kept.rows("projects")


async def test_a_token_that_expires_closes_its_connections(hasty: ServerProcess, site: Site, cast: Cast) -> None:
    async with Client(hasty.url, site.token(cast.alice.id, expires_in=1)) as one:
        await one.subscribe(projects="projects")
        assert await one.close_code() == 4401


async def test_a_token_that_is_cut_short_closes_its_connections(server: ServerProcess, site: Site, cast: Cast) -> None:
    async with client(server, cast.alice) as one:
        site.sql("UPDATE api_tokens SET expires_at = now() WHERE user_id = %s", cast.alice.id)
        assert await one.close_code(patience=1) == 4401


async def test_a_renewed_token_takes_the_place_of_the_old_one(server: ServerProcess, site: Site, cast: Cast) -> None:
    new = site.token(cast.alice.id, "new")
    async with client(server, cast.alice) as one:
        await one.subscribe(projects="projects")
        await one.send("token", token=new)
        await one.ping()
        site.sql("UPDATE api_tokens SET revoked_at = now() WHERE user_id = %s AND name = 'alice'", cast.alice.id)
        project = site.project(cast.alice)
        await one.shows("projects", project)
        await one.ping()
        site.sql("UPDATE api_tokens SET revoked_at = now() WHERE user_id = %s AND name = 'new'", cast.alice.id)
        assert await one.close_code() == 4401


@pytest.mark.parametrize("whose", ["bob", "nobody"])
async def test_a_token_that_is_not_the_users_closes(server: ServerProcess, cast: Cast, whose: str) -> None:
    async with client(server, cast.alice) as one:
        await one.subscribe(projects="projects")
        await one.send("token", token=cast.bob.token if whose == "bob" else "claudia_nobody")
        assert await one.close_code() == 4401
