"""The small cast on a real site: alice owns the project, bob edits, vera views, mallory is outside."""

from __future__ import annotations

from dataclasses import dataclass

from tests.acceptance.client import Client
from tests.acceptance.site import Person, ServerProcess, Site

#: A subscription to everything that there is.
EVERYTHING = {
    table: table
    for table in ("users", "projects", "collaborators", "agents", "sessions", "messages", "memory", "conflicts")
}


@dataclass(frozen=True)
class Cast:
    """Four people, their project, and a session in it that is alice's."""

    alice: Person
    bob: Person
    vera: Person
    mallory: Person
    project: str
    session: str

    @classmethod
    def enter(cls, site: Site) -> Cast:
        """Puts them on the stage."""
        alice, bob, vera, mallory = (site.person(name) for name in ("alice", "bob", "vera", "mallory"))
        project = site.project(alice, "Dashboard")
        site.share(project, bob, "editor")
        site.share(project, vera, "viewer")
        return cls(alice, bob, vera, mallory, project, site.session(alice, project))

    @property
    def scope(self) -> str:
        """Of the project."""
        return f"p:{self.project}"


def client(server: ServerProcess, person: Person, **options: object) -> Client:
    """A client of the person's, by token; to be entered."""
    return Client(server.url, person.token, **options)  # type: ignore[arg-type]


async def sentinel(site: Site, one: Client) -> None:
    """Everything that was committed before has reached the client, if it ever will: steps come in order.

    The client follows `users`.
    """
    (me,) = one.rows("users")
    [[version]] = site.sql("UPDATE users SET name = name || '.' WHERE id = %s RETURNING sync_version", me)
    await one.until(lambda: one.rows("users")[me]["sync_version"] >= version, "the sentinel")
