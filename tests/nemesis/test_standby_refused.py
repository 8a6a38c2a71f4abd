"""A standby that cannot show a checkpoint, or stops while it does, is not used; and is used again when it is well."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from syncing.declarations import declaration_of
from syncing.metrics import metrics
from syncing.shape_rows import read_shape
from syncing.shapes import Shape
from syncing.standby import Lost, Standby
from tests.acceptance.people import Cast
from tests.acceptance.site import Site
from tests.nemesis.boundary import TABLES, Boundary, Gathered, agrees, boundary, catch_up
from tests.nemesis.cluster import Cluster, cluster_like

pytestmark = pytest.mark.slow
MESSAGES = Shape.of(declaration_of("messages"))
#: More than one FETCH brings.
MANY = 5_000


@pytest.fixture
def standby(cluster: Cluster) -> Iterator[Cluster]:
    standby = cluster.standby(max_standby_streaming_delay="0")
    yield standby
    standby.remove()


@contextmanager
def reader_of(url: str, lag_seconds: float = 20, most_events: int = 10_000) -> Iterator[Standby]:
    """Nobody has looked at the standby yet."""
    reader = Standby(url, lag_seconds=lag_seconds, most_events=most_events)
    yield reader
    reader.close()


def look(cluster: Cluster, reader: Standby) -> str | None:
    """Looks, as a process does every few seconds; what is wrong."""
    with boundary(cluster) as at:
        reader.look(at.checkpoint)
    assert reader.usable == (reader.trouble is None)
    return reader.trouble.code if reader.trouble else None


def refused(reader: Standby, at: Boundary) -> str | None:
    """Why a round is refused; None if it is not."""
    reasons = ["behind", "promoted", "other_history", "busy", "reset", "unreachable", "lost", "unknown"]
    before = {reason: metrics.counter("standby_refusals", reason=reason).total() for reason in reasons}
    with reader.view(at.checkpoint, TABLES) as view:
        if view is not None:
            return None
    (reason,) = [
        reason for reason in reasons if metrics.counter("standby_refusals", reason=reason).total() > before[reason]
    ]
    return reason


# -- before anything is read -------------------------------------------------------------------------------------------


def test_before_the_first_look_it_is_not_used(cluster: Cluster, standby: Cluster) -> None:
    with reader_of(standby.url) as reader, boundary(cluster) as at:
        assert refused(reader, at) == "unknown"
        reader.look(at.checkpoint)
        assert refused(reader, at) is None


def test_one_that_is_behind_is_not_used_until_it_is_not(cluster: Cluster, standby: Cluster) -> None:
    with reader_of(standby.url, lag_seconds=0.1) as reader:
        standby.sql("SELECT pg_wal_replay_pause()")
        with boundary(cluster) as before:
            assert look(cluster, reader) == "behind"
            since = reader.trouble and reader.trouble.since
            assert refused(reader, before) == "behind"
        assert look(cluster, reader) == "behind"
        assert reader.trouble
        assert reader.trouble.since == since
        standby.sql("SELECT pg_wal_replay_resume()")
        catch_up(cluster, standby)
        with boundary(cluster) as at:
            standby.wait_for(cluster.sql("SELECT pg_current_wal_flush_lsn()::text")[0][0])
            reader.look(at.checkpoint)
            assert reader.trouble is None
            assert refused(reader, at) is None


def test_one_that_falls_behind_is_noticed_by_the_first_round(cluster: Cluster, standby: Cluster) -> None:
    with reader_of(standby.url) as reader:
        assert look(cluster, reader) is None
    with reader_of(standby.url, lag_seconds=0.1) as reader:
        reader.usable = True
        standby.sql("SELECT pg_wal_replay_pause()")
        with boundary(cluster) as at:
            assert refused(reader, at) == "behind"
            assert not reader.usable
        standby.sql("SELECT pg_wal_replay_resume()")


def test_one_that_comes_up_within_the_bound_is_waited_for(cluster: Cluster, standby: Cluster, own_site: Site) -> None:
    Cast.enter(own_site)
    with reader_of(standby.url) as reader:
        assert look(cluster, reader) is None
        standby.sql("SELECT pg_wal_replay_pause()")
        with boundary(cluster) as at:
            agreed: list[bool] = []
            thread = threading.Thread(target=lambda: agreed.append(agrees(cluster, reader, at) is not None))
            thread.start()
            # It has looked, and does not see the checkpoint.
            while not standby.sql(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'claudia snapshots' AND query = 'ROLLBACK'"
            ):
                pass
            standby.sql("SELECT pg_wal_replay_resume()")
            thread.join()
            assert agreed == [True]


def test_one_that_was_promoted_is_not_used(cluster: Cluster, standby: Cluster) -> None:
    with reader_of(standby.url) as reader:
        assert look(cluster, reader) is None
        with boundary(cluster) as at:
            catch_up(cluster, standby)
            standby.promote()
            assert refused(reader, at) == "promoted", "it shows the checkpoint, and what others wrote there since"
        assert look(cluster, reader) == "promoted"


def test_the_primary_itself_is_not_used(cluster: Cluster) -> None:
    with reader_of(cluster.url) as reader:
        assert look(cluster, reader) == "promoted"


def test_one_of_another_primary_is_not_used(cluster: Cluster, template: Path) -> None:
    with cluster_like(template) as other, ExitStack() as stack:
        other.start()
        for _ in range(5):
            stack.enter_context(boundary(other))
        strange = other.standby()
        stack.callback(strange.remove)
        with reader_of(strange.url) as reader:
            assert look(cluster, reader) == "other_history"


def test_one_whose_log_speaks_of_another_cluster_is_not_used(cluster: Cluster, standby: Cluster) -> None:
    """As after a dump was restored: the checkpoint may be there, and its transaction ids mean nothing."""
    cluster.sql("INSERT INTO sync_cluster (system_identifier) VALUES (1)")
    with reader_of(standby.url) as reader, boundary(cluster) as at:
        catch_up(cluster, standby)
        reader.look(at.checkpoint)
        assert reader.trouble
        assert reader.trouble.code == "other_history"


def test_one_that_is_away_is_not_used(cluster: Cluster, standby: Cluster) -> None:
    with reader_of(standby.url) as reader:
        assert look(cluster, reader) is None
        standby.stop("immediate")
        with boundary(cluster) as at:
            assert refused(reader, at) == "unreachable"
        assert reader.trouble
        assert "127.0.0.1" not in reader.trouble.message
        standby.start()
        assert look(cluster, reader) is None


def test_a_connection_that_was_ended_meanwhile_is_made_anew(cluster: Cluster, standby: Cluster) -> None:
    with reader_of(standby.url) as reader:
        assert look(cluster, reader) is None
        with boundary(cluster) as at:
            assert refused(reader, at) is None
            ended = standby.sql(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE application_name = 'claudia snapshots'"
            )
            assert ended == [(True,)]
            assert refused(reader, at) is None
        assert reader.usable


def test_what_cannot_be_taken_back_row_by_row_is_read_on_the_primary(
    cluster: Cluster, standby: Cluster, own_site: Site
) -> None:
    cast = Cast.enter(own_site)
    with reader_of(standby.url, most_events=6) as reader:
        assert look(cluster, reader) is None
        with boundary(cluster) as at:
            for _ in range(3):  # and the name of the collaborator with that of the user
                own_site.sql("UPDATE users SET name = name || '.' WHERE id = %s", cast.bob.id)
            catch_up(cluster, standby)
            assert agrees(cluster, reader, at)["users"].touched == [cast.bob.id]
            own_site.sql("UPDATE users SET name = name || '.' WHERE id = %s", cast.bob.id)
            catch_up(cluster, standby)
            assert refused(reader, at) == "busy"
        with boundary(cluster) as at:
            own_site.sql("SELECT syncing.log_reset('messages')")
            catch_up(cluster, standby)
            assert refused(reader, at) == "reset"
            with reader.view(at.checkpoint, {"sessions"}) as view:
                assert view, "what happened to other tables is no reason"
        assert reader.usable


# -- in the middle -----------------------------------------------------------------------------------------------------


class Interrupted(Gathered):
    """Something happens when the first rows have come."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self._happens = happens

    def write(self, chunk: bytes) -> None:
        if not self.chunks:
            self._happens()
        super().write(chunk)


def many(site: Site) -> Cast:
    """Messages that do not come at once."""
    cast = Cast.enter(site)
    site.sql(
        "INSERT INTO messages (session_id, role, content) SELECT %s, 'user', repeat('lorem ', 20)"
        " FROM generate_series(1, %s)",
        cast.session,
        MANY,
    )
    return cast


def read(reader: Standby, at: Boundary, cast: Cast, happens: Callable[[], object]) -> None:
    """Reads the messages, and fails in the middle."""
    rows = Interrupted(happens)
    with pytest.raises(Lost):
        read_into(rows, reader, at, cast)
    assert rows.chunks, "nothing was read before it"
    assert not rows.whole


def read_into(rows: Gathered, reader: Standby, at: Boundary, cast: Cast) -> None:
    with reader.view(at.checkpoint, {"messages"}) as view:
        assert view is not None
        read_shape(view.connection, MESSAGES, {cast.scope: rows}, view.later.get("messages"))


def test_recovery_that_cancels_the_read(cluster: Cluster, standby: Cluster, own_site: Site) -> None:
    cast = many(own_site)
    with reader_of(standby.url) as reader:
        assert look(cluster, reader) is None
        with boundary(cluster) as at:
            at.truth.rollback()  # or the primary could not clean up

            def clean_up() -> None:
                own_site.sql("DELETE FROM messages WHERE session_id = %s", cast.session)
                own_site.sql("VACUUM messages")
                catch_up(cluster, standby)

            read(reader, at, cast, clean_up)
        assert reader.trouble
        assert reader.trouble.code == "lost", "idle at that moment, the backend is ended"
        assert look(cluster, reader) is None


def test_recovery_that_cancels_a_statement(cluster: Cluster, standby: Cluster, own_site: Site) -> None:
    cast = many(own_site)
    with reader_of(standby.url) as reader:
        assert look(cluster, reader) is None
        with boundary(cluster) as at:
            at.truth.rollback()
            own_site.sql("DELETE FROM messages WHERE session_id = %s", cast.session)
            catch_up(cluster, standby)

            def sleep_inside() -> None:
                with reader.view(at.checkpoint, {"messages"}) as view:
                    assert view is not None
                    own_site.sql("DELETE FROM sessions")
                    own_site.sql("VACUUM messages, sessions")
                    view.connection.execute("SELECT count(*), pg_sleep(60) FROM public.messages")

            with pytest.raises(Lost):
                sleep_inside()
        assert reader.trouble
        assert reader.trouble.code == "conflict"


def test_a_standby_that_is_killed(cluster: Cluster, standby: Cluster, own_site: Site) -> None:
    cast = many(own_site)
    with reader_of(standby.url) as reader:
        assert look(cluster, reader) is None
        with boundary(cluster) as at:
            read(reader, at, cast, lambda: standby.stop("immediate"))
        assert reader.trouble
        assert reader.trouble.code == "lost"


def test_a_standby_that_stands_still(cluster: Cluster, standby: Cluster, own_site: Site) -> None:
    """No error comes from there, ever: who looks at it ends the waiting."""
    cast = many(own_site)
    with reader_of(standby.url) as reader, ExitStack() as stack:
        assert look(cluster, reader) is None
        with boundary(cluster) as at:
            looking = threading.Thread(target=reader.look, args=[at.checkpoint])

            def freeze() -> None:
                assert standby.process
                server = psutil.Process(standby.process.pid)
                for process in (server, *server.children()):
                    process.suspend()
                    stack.callback(resume, process)
                looking.start()

            read(reader, at, cast, freeze)
            looking.join()
        assert reader.trouble
        assert reader.trouble.code == "lost"
        # Who comes after it does not wait at all.
        with boundary(cluster) as at:
            assert refused(reader, at) == "lost"


def resume(process: psutil.Process) -> None:
    """It goes on, if it still lives."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGCONT)
