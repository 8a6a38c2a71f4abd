"""What is written at last, and is lost when an older state of the database comes back."""

from __future__ import annotations

from dataclasses import dataclass

from tests.acceptance.client import Client
from tests.acceptance.people import Cast
from tests.acceptance.site import Site
from tests.nemesis.agreement import texts


@dataclass
class Tail:
    """What was written at last: a new row, a change, and a row that was deleted."""

    changed: str
    deleted: str
    new: str = ""

    @classmethod
    def begin(cls, site: Site, cast: Cast) -> Tail:
        """The rows as they were before."""
        return cls(site.message(cast.session, "before"), site.message(cast.session, "there"))

    async def write(self, site: Site, cast: Cast, one: Client) -> None:
        """In many steps, each of which the client shows."""
        for turn in range(5):
            site.update("messages", self.changed, content=f"after {turn}")
            await one.until(lambda n=turn: f"after {n}" in texts(one, "messages", "content"), "the change")
        self.new = site.message(cast.session, "new")
        site.delete("messages", self.deleted)
        await one.shows("messages", self.new)
        await one.hides("messages", self.deleted)

    def lost(self, site: Site) -> bool:
        """Whether the database knows nothing of it."""
        contents = dict(site.sql("SELECT id::text, content FROM messages"))
        return contents[self.changed] == "before" and self.deleted in contents and self.new not in contents
