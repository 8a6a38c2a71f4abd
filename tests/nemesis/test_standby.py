"""What is read on a standby is, byte for byte, what the primary has at the checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from syncing.standby import Standby
from tests.acceptance.people import Cast
from tests.acceptance.site import Site
from tests.nemesis.boundary import agrees, boundary, catch_up
from tests.nemesis.cluster import Cluster, cluster_like
from tests.nemesis.stage import Stage
from tests.nemesis.writers import Writers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(template: Path) -> Iterator[Cluster]:
    """One for all: nothing here harms it."""
    with cluster_like(template) as cluster:
        yield cluster.start()


@pytest.fixture(scope="module")
def standby(cluster: Cluster) -> Iterator[Cluster]:
    standby = cluster.standby()
    yield standby
    standby.remove()


@pytest.fixture
def reader(cluster: Cluster, standby: Cluster) -> Iterator[Standby]:
    """As a process has it that found its standby well."""
    reader = Standby(standby.url, lag_seconds=20, most_events=10_000)
    with boundary(cluster) as at:
        reader.look(at.checkpoint)
    assert reader.usable
    yield reader
    reader.close()


class Play:
    """Rows on which something happens after a checkpoint. Each act is one transaction or more."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cast = Cast.enter(site)
        self.elsewhere = site.project(self.cast.mallory, "Elsewhere")
        self.session = site.session(self.cast.alice, self.cast.project, "plain")
        self.message = site.message(self.session, "before")
        self.memory = site.memory("key", project_id=self.cast.project, content='{"n": 1, "t": "ü"}', importance=3)
        site.message(self.session, "nothing happens to it")

    def insert(self) -> None:
        self.site.message(self.session, "after")

    def update(self) -> None:
        self.site.update("messages", self.message, content="after")

    def update_twice(self) -> None:
        with self.site.atomic():
            self.site.update("messages", self.message, content="between")
            self.site.update("messages", self.message, content="after", tokens=5)
        self.site.update("messages", self.message, tokens=0)

    def spell_anew(self) -> None:
        """The same value, as JSON; not the same text."""
        self.site.update("memory", self.memory, content='{"n": 1.0, "t": "ü"}')

    def enter_a_shape(self) -> None:
        self.site.update("memory", self.memory, importance=9, tags=["plain"])

    def leave_a_shape(self) -> None:
        self.site.update("messages", self.message, role="assistant")
        self.site.update("sessions", self.session, status="paused")

    def move(self) -> None:
        """The session, and its messages with it, to another scope."""
        self.site.update("sessions", self.session, project_id=self.elsewhere)

    def move_there_and_change(self) -> None:
        self.move()
        self.site.update("messages", self.message, content="after", role="assistant")

    def move_there_and_back(self) -> None:
        self.move()
        self.site.update("sessions", self.session, project_id=self.cast.project)

    def publish(self) -> None:
        self.site.insert("agents", name="a", type="coder", created_by_id=self.cast.alice.id, is_public=True)

    def change_its_id(self) -> None:
        self.site.update("messages", self.message, id=uuid4())

    def delete(self) -> None:
        self.site.delete("messages", self.message)

    def change_and_delete(self) -> None:
        self.update()
        self.delete()

    def delete_and_insert_again(self) -> None:
        self.delete()
        self.site.insert("messages", id=self.message, session_id=self.session, role="user", content="again")

    def delete_insert_and_change(self) -> None:
        self.delete_and_insert_again()
        self.update()

    def insert_change_and_delete(self) -> None:
        row = self.site.message(self.session, "after")
        self.site.update("messages", row, content="later")
        self.site.delete("messages", row)

    def delete_with_children(self) -> None:
        self.site.sql("DELETE FROM messages WHERE session_id = %s", self.session)
        self.site.delete("sessions", self.session)

    def revoke(self) -> None:
        self.site.sql("DELETE FROM collaborators WHERE user_id = %s", self.cast.bob.id)

    def partly_roll_back(self) -> None:
        with self.site.atomic():
            self.update()
            with suppress(psycopg.errors.RaiseException), self.site.atomic():
                self.delete()
                self.site.sql("DO $$ BEGIN RAISE 'no'; END $$")
            self.insert()


ACTS = [act for name, act in vars(Play).items() if not name.startswith("_")]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_what_committed_after_the_checkpoint_is_taken_back(
    cluster: Cluster, standby: Cluster, own_site: Site, reader: Standby, act: Callable[[Play], None]
) -> None:
    play = Play(own_site)
    with boundary(cluster) as at:
        act(play)
        catch_up(cluster, standby)
        assert agrees(cluster, reader, at), "the standby has not seen what happened: nothing is proven"


def test_so_is_what_began_before_the_checkpoint_and_had_not_committed(
    cluster: Cluster, standby: Cluster, own_site: Site, reader: Standby
) -> None:
    play = Play(own_site)
    with ExitStack() as stack:
        with own_site.atomic():
            play.update()
            play.insert()
            at = stack.enter_context(boundary(cluster))
            play.move()
        catch_up(cluster, standby)
        assert agrees(cluster, reader, at).keys() >= {"messages", "sessions"}


def test_at_random(cluster: Cluster, standby: Cluster, own_site: Site, reader: Standby) -> None:
    """Checkpoints while many write, each compared when some more has been written, of which the standby has all."""
    stage = Stage.set(own_site)
    progress = threading.Condition()

    def tell(committed: int) -> None:
        with progress:
            progress.notify_all()

    def reached(number: int) -> bool:
        with progress:
            return progress.wait_for(lambda: work.committed >= number or bool(work.errors), 40)

    work = Writers(cluster.url, stage, seed=8, count=6, transactions=200, on_commit=tell)
    work.start()
    taken_back: set[str] = set()
    rounds = 0
    while work.committed < work.total:
        with boundary(cluster) as at:
            assert reached(min(work.committed + 5, work.total)), work.failures[-3:]
            catch_up(cluster, standby)
            taken_back |= agrees(cluster, reader, at).keys()
            rounds += 1
    work.join(40)
    assert rounds >= 5
    assert taken_back >= {"agents", "collaborators", "memory", "messages", "sessions"}
