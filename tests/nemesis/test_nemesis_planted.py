"""The judge finds faults: planted ones, each in a scene of its own whose order in time is sure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from syncing import log
from tests.nemesis.campaign import Campaign, serve
from tests.nemesis.cluster import Cluster
from tests.nemesis.disasters import FailOver
from tests.nemesis.faults import lose_pokes
from tests.nemesis.judge import leaked_locks
from tests.nemesis.planted import BARRIER
from tests.nemesis.recorder import Installation, RecordingReplica

pytestmark = pytest.mark.slow


def scene(cluster: Cluster, folder: Path, plant: str = "none", **variables: str) -> Campaign:
    """A stage with one server, which has a fault."""
    return Campaign(
        cluster.url, folder, seed=0, like="planted", variables={"CLAUDIA_TESTS_PLANT": plant, **variables}
    )  # fmt: skip


@contextmanager
def held(cluster: Cluster, sql: str, *values: Any) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that has done this and is open."""
    with psycopg.connect(cluster.url, application_name="nemesis") as connection:
        connection.execute(sql, values)
        yield connection


async def waits_at(cluster: Cluster, number: int) -> None:
    """Returns when somebody waits for the advisory lock."""
    async with asyncio.timeout(20):
        while not cluster.sql(  # noqa: ASYNC110 another process's wait cannot be awaited
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", number
        ):
            await asyncio.sleep(0.02)


MESSAGE = "INSERT INTO public.messages (session_id, role, content) VALUES (%s, 'user', %s)"


@pytest.mark.parametrize("plant", ["none", "read_by_id"])
async def test_reading_by_id_loses_what_commits_late(cluster: Cluster, tmp_path: Path, plant: str) -> None:
    """The same scene with the sound server shows that it is the fault that is found."""
    async with scene(cluster, tmp_path, plant) as campaign:
        person = campaign.stage.people[0]
        one = await campaign.enter(person, "messages")
        first, second = campaign.stage.groups[0].session, campaign.site.session(person)
        with held(cluster, MESSAGE, first, "late") as late:
            campaign.site.message(second, "later, and committed before")
            await campaign.until(lambda: shows(one, "later, and committed before"), "the other's message")
            late.commit()
        violations = await campaign.verdict()
    assert any("messages where {} in p:" in one and "lacks 1 rows" in one for one in violations) is (
        plant == "read_by_id"
    ), violations
    assert bool(violations) is (plant == "read_by_id")


def shows(one: Installation, content: str) -> bool:
    """Whether a message with this content is on the screen."""
    return any(row["content"] == content for row in one.replica.rows("messages").values())


async def test_a_snapshot_that_is_at_no_checkpoint(cluster: Cluster, tmp_path: Path) -> None:
    async with scene(cluster, tmp_path, "snapshot_at_no_checkpoint") as campaign:
        session = campaign.stage.groups[0].session
        with held(cluster, "SELECT pg_advisory_xact_lock(%s)", BARRIER) as barrier:
            one = await campaign.enter(campaign.stage.people[0], "messages", ready=False)
            await waits_at(cluster, BARRIER)
            # The feed cannot go on: so the rows are ahead of the cursor with which they are shown.
            with held(cluster, "SELECT pg_advisory_xact_lock('public.sync_checkpoints'::regclass::oid::int, 2)"):
                campaign.site.message(session, "after the checkpoint")
                barrier.commit()
                await campaign.until(lambda: one.ready, "the snapshot")
        violations = await campaign.verdict()
    assert any("rows too many" in one for one in violations), violations


class HastyReplica(RecordingReplica):
    """Shows each frame of a step at once."""

    def _changes(self, frame: dict[str, Any]) -> None:
        self._apply([frame])


class HastyInstallation(Installation):
    """A client with a fault."""

    def new_replica(self) -> RecordingReplica:
        return HastyReplica(self.recording)


async def test_steps_that_are_applied_frame_by_frame(cluster: Cluster, tmp_path: Path) -> None:
    async with scene(cluster, tmp_path) as campaign:
        group = campaign.stage.groups[0]
        owner = campaign.stage.people[0]
        hasty = await campaign.enter(owner, "sessions", "messages", like=HastyInstallation)
        sound = await campaign.enter(owner, "sessions", "messages")
        long = "⟦group0:1⟧" + "x" * 100_000
        with campaign.site.atomic():
            campaign.site.update("sessions", group.session, title="⟦group0:1⟧")
            campaign.site.sql("UPDATE public.messages SET content = %s WHERE session_id = %s", long, group.session)
        violations = await campaign.verdict()
    assert any("a torn transaction" in one for one in violations), violations
    assert any("instead of" in one for one in violations), violations
    assert all(one.startswith(hasty.recording.name) for one in violations), (sound.recording.name, violations)


async def test_a_frame_that_is_shared_by_users_of_different_scopes(cluster: Cluster, tmp_path: Path) -> None:
    async with scene(cluster, tmp_path, "frames_shared_between_scopes") as campaign:
        stage = campaign.stage
        await campaign.enter(stage.people[0], "projects")
        outsider = await campaign.enter(campaign.site.person("mallory"), "projects")
        campaign.site.update("projects", stage.projects[0], description="not for everybody")
        await campaign.until(
            lambda: outsider.connection is not None and outsider.connection.violation is not None, "a complaint"
        )
        violations = await campaign.verdict(patience=2)
    assert any("a part of a scope that is not held" in one for one in violations), violations


async def test_no_slow_poll_while_pokes_are_lost(cluster: Cluster, tmp_path: Path) -> None:
    async with scene(cluster, tmp_path, SYNC_POLL_SECONDS="0") as campaign:
        await campaign.enter(campaign.stage.people[0], "messages")
        lose_pokes(campaign.site.db)
        await idle(cluster)
        violations = await campaign.verdict(patience=3)
    assert any("has not come to the end" in one for one in violations), violations


async def idle(cluster: Cluster) -> None:
    """Returns when the feed waits for a poke: it holds no gate and asks nothing more."""
    asked = "SELECT query_start::text, query FROM pg_stat_activity WHERE application_name = 'claudia feed'"
    async with asyncio.timeout(20):
        before: list[Any] = []
        while not before or before != cluster.sql(asked):
            before = cluster.sql(asked)
            await asyncio.sleep(0.3)


TWO_STATEMENTS = f"""
    CREATE OR REPLACE FUNCTION syncing.readers_asleep() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        IF NOT pg_try_advisory_lock_shared('public.sync_events'::regclass::oid::integer, 1) THEN
            RETURN false;
        END IF;
        PERFORM pg_advisory_xact_lock_shared({BARRIER});
        PERFORM pg_advisory_unlock_shared('public.sync_events'::regclass::oid::integer, 1);
        RETURN true;
    END $$
"""


async def test_lock_and_unlock_as_two_statements(cluster: Cluster, tmp_path: Path) -> None:
    """A writer that is cancelled between them leaves the gate locked."""
    async with scene(cluster, tmp_path) as campaign:
        await campaign.enter(campaign.stage.people[0], "messages")
        await idle(cluster)
        campaign.site.sql(TWO_STATEMENTS)
        session = campaign.stage.groups[0].session
        with psycopg.connect(cluster.url, autocommit=True) as writer:
            with held(cluster, "SELECT pg_advisory_xact_lock(%s)", BARRIER) as barrier:
                writing = asyncio.create_task(asyncio.to_thread(writer.execute, MESSAGE, [session, "cancelled"]))
                await waits_at(cluster, BARRIER)
                writer.cancel_safe()
                with pytest.raises(psycopg.errors.QueryCanceled):
                    await writing
                barrier.rollback()
            assert leaked_locks(campaign.site.db)
            violations = await campaign.verdict()
    assert any("a lock was left behind" in one for one in violations), violations


#: Of servers that look at nothing by themselves.
SILENT = {"SYNC_POLL_SECONDS": "60", "ALERT_SECONDS": "0"}


async def test_a_checkpoint_whose_snapshot_is_taken_before_the_lock(cluster: Cluster, tmp_path: Path) -> None:
    """Without the guard of the table, which refuses such a checkpoint."""
    async with scene(cluster, tmp_path, "snapshot_before_lock", **SILENT) as campaign:
        cluster.sql("ALTER TABLE public.sync_checkpoints DISABLE TRIGGER guard")
        session = campaign.stage.groups[0].session
        await asyncio.to_thread(serve, campaign.site, **SILENT)
        one = await campaign.enter(campaign.stage.people[0], "messages", address=0)
        other = await campaign.enter(campaign.stage.people[0], "messages", address=1)
        await idle(cluster)  # nothing but the poke of the first message makes anybody look
        with held(cluster, "SELECT pg_advisory_xact_lock(%s)", BARRIER) as barrier:
            with held(cluster, log.LOCK_WAIT) as lock:  # so that the other one takes none in between
                campaign.site.message(session, "first")
                await waits_at(cluster, BARRIER)  # its snapshot is taken: it sees the first message only
                campaign.site.message(session, "second")
                lock.commit()
            await campaign.until(lambda: shows(other, "second"), "the second message by the other server")
            barrier.commit()
        await campaign.until(lambda: shows(one, "first"), "the first message")
        violations = await campaign.verdict()
    assert any("steps back" in one for one in violations), violations


#: In the trigger that stamps a new memory.
WITHOUT = """
    DO $$ BEGIN
        EXECUTE (
            SELECT regexp_replace(pg_get_functiondef(p.oid), '{pattern}', '', 'g') FROM pg_proc p
            WHERE p.oid = (SELECT tgfoid FROM pg_trigger
                WHERE tgrelid = 'public.memory'::regclass AND tgname LIKE 'pgtrigger_zz_stamp_insert%'));
    END $$
"""
WITHOUT_TRACE = WITHOUT.format(pattern=r"UPDATE public\.sessions[^;]*;")
WITHOUT_LOCK = WITHOUT.format(pattern="FOR NO KEY UPDATE")


async def test_a_scope_that_is_derived_without_locking_the_parent(cluster: Cluster, tmp_path: Path) -> None:
    """A memory that is written while its session moves keeps the old scope for ever."""
    async with scene(cluster, tmp_path) as campaign:
        stage = campaign.stage
        with cluster.connect() as connection:
            connection.execute(WITHOUT_TRACE)  # which would wait, as the lock does
            connection.execute(WITHOUT_LOCK)
        await campaign.enter(stage.people[0], "sessions", "memory")
        await campaign.enter(stage.people[1], "sessions", "memory")
        session = stage.groups[0].session
        with held(cluster, "UPDATE public.sessions SET project_id = %s WHERE id = %s", stage.projects[1], session) as m:
            campaign.site.memory("left behind", session_id=session)
            m.commit()
        violations = await campaign.verdict()
    assert any("memory where {} in p:" in one for one in violations), violations


@pytest.mark.parametrize("traced", [True, False])
async def test_a_memory_that_leaves_no_trace_on_its_session(cluster: Cluster, tmp_path: Path, traced: bool) -> None:
    """Who moves the session by a snapshot from before it leaves it behind; with the trace the move is refused."""
    async with scene(cluster, tmp_path) as campaign:
        stage = campaign.stage
        if not traced:
            with cluster.connect() as connection:
                connection.execute(WITHOUT_TRACE)
        await campaign.enter(stage.people[0], "sessions", "memory")
        session = stage.groups[0].session
        with held(cluster, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ") as mover:
            mover.execute("SELECT FROM public.sessions")
            campaign.site.memory("left behind", session_id=session)
            move = ("UPDATE public.sessions SET project_id = %s WHERE id = %s", [stage.projects[1], session])
            if traced:
                with pytest.raises(psycopg.errors.SerializationFailure):
                    mover.execute(*move)
                mover.rollback()
            mover.execute(*move)
            mover.commit()
        violations = await campaign.verdict()
    assert bool(violations) is not traced, violations
    assert traced or any("memory where {} in p:" in one for one in violations), violations


@pytest.mark.parametrize("plant", ["none", "lost_tails_are_thinned"])
async def test_a_lost_tail_whose_cursors_are_taken_for_thinned_ones(
    cluster: Cluster, tmp_path: Path, plant: str
) -> None:
    """A promoted standby leaps over numbers. Who comes with one of those keeps what the database has lost."""
    async with scene(cluster, tmp_path, plant) as campaign:
        failover = FailOver(cluster, lossy=True)
        campaign.faults = [failover]
        await failover.begin(campaign)
        stage, session = campaign.stage, campaign.stage.groups[0].session
        one = await campaign.enter(stage.people[0], "messages")
        await failover.part()
        for turn in range(3):
            campaign.site.message(session, f"lost {turn}")
            await campaign.until(lambda t=turn: shows(one, f"lost {t}"), "a step of the tail")
        one.leave()
        await failover.fail_over(campaign)
        other = await campaign.enter(stage.people[0], "messages")
        await asyncio.to_thread(campaign.again, f"{MESSAGE} RETURNING id", session, "of the new history")
        await campaign.until(lambda: shows(other, "of the new history"), "the new history")
        one.come()
        violations = await campaign.verdict()
    assert bool(violations) is (plant != "none"), violations
    assert plant == "none" or any("3 rows too many" in one for one in violations), violations


def test_every_plant_is_in_a_scene() -> None:
    from tests.nemesis import planted

    scenes = Path(__file__).read_text()
    assert not [plant for plant in planted.PLANTS if f'"{plant}"' not in scenes]
