"""What changes of access do to clients that were away meanwhile."""

from __future__ import annotations

from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import ServerProcess, Site


def removed(site: Site, cast: Cast) -> None:
    site.sql("DELETE FROM collaborators WHERE project_id = %s AND user_id = %s", cast.project, cast.bob.id)
    site.message(cast.session, "not for bob")


def removed_and_added_again(site: Site, cast: Cast) -> None:
    removed(site, cast)
    site.share(cast.project, cast.bob)


def deleted(site: Site, cast: Cast) -> None:
    with site.atomic():
        for table in ("messages", "sessions"):
            site.sql(f"DELETE FROM {table} WHERE scope = %s", cast.scope)
        site.sql("DELETE FROM collaborators WHERE project_id = %s", cast.project)
        site.delete("projects", cast.project)


def moved_out(site: Site, cast: Cast) -> None:
    site.update("sessions", cast.session, project_id=None)
    site.message(cast.session, "not for bob")


def made_private(site: Site, cast: Cast) -> None:
    site.sql("UPDATE agents SET is_public = false, name = 'not for bob' WHERE created_by_id = %s", cast.alice.id)


def another_project(site: Site, cast: Cast) -> None:
    project = site.project(cast.alice, "Another")
    site.message(site.session(cast.alice, project), "in another")
    site.share(project, cast.bob)


async def test_a_client_that_was_away_finds_access_as_it_is_now(server: ServerProcess, site: Site, cast: Cast) -> None:
    """Each deed, one after the other on casts of their own, and what a fresh client sees afterwards."""
    for deed in (removed, removed_and_added_again, deleted, moved_out, made_private, another_project):
        people = Cast.enter(site)
        site.message(people.session, "from before")
        agent = site.insert("agents", name="Agent", type="coder", created_by_id=people.alice.id, is_public=True)
        async with client(server, people.bob) as bob:
            await bob.subscribe(**EVERYTHING)
            assert agent in bob.rows("agents")
            bob.cut()
        deed(site, people)
        async with client(server, people.bob, replica=bob.replica) as again, client(server, people.bob) as fresh:
            answers = await again.resume(**EVERYTHING)
            assert all(answer["resumed"] for answer in answers)
            await fresh.subscribe(**EVERYTHING)
            for table in EVERYTHING:
                assert again.rows(table) == fresh.rows(table), f"{table} after {deed.__name__}"
            assert again.replica.scopes == fresh.replica.scopes
            if deed is not removed_and_added_again:
                assert "not for bob" not in "".join(again.texts), deed.__name__
