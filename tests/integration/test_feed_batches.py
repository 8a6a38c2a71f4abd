"""What cannot be told by rows, or is too much, is told as a reset of its tables."""

from __future__ import annotations

import pytest

from syncing import log
from syncing.log import Batch, Step
from tests.feeds import Database, WatchedFeed, add, connected, following

pytestmark = pytest.mark.django_db(transaction=True)

MANY = """
    INSERT INTO users (email, name, password)
    SELECT gen_random_uuid() || '@example.org', repeat('x', %s), '!' FROM generate_series(1, %s)
"""


async def step_of(feed: WatchedFeed, database: Database, *statements: tuple[str, list[object]]) -> Step:
    """The step of one transaction."""
    at = len(feed.recorder.steps)

    def told() -> list[Step]:
        # Checkpoints of others may come as steps in which nothing happened.
        return [step for step in feed.recorder.steps[at:] if step.batch.events or step.batch.resets]

    async with database.transaction():
        for sql, parameters in statements:
            await database.execute(sql, parameters)
    await feed.recorder.until(told, "a step")
    return told()[0]


async def test_a_batch_up_to_the_limit_is_told_by_rows_a_larger_one_as_a_reset_of_its_tables() -> None:
    async with following(batch_size=5) as feed, connected() as (writer,):
        full = await step_of(feed, writer, (MANY, [1, 5]))
        assert len(full.batch.events) == 5
        assert full.batch.resets == frozenset()
        giant = await step_of(feed, writer, (MANY, [1, 6]))
        assert giant.batch == Batch((), frozenset({"users"}))
        after = await add(writer)
        await feed.recorder.has(after)
        assert feed.recorder.rows[5:] == [after]


async def test_a_giant_batch_resets_only_the_tables_that_it_touches() -> None:
    async with following(batch_size=5) as feed, connected() as (writer,):
        await feed.recorder.has(await add(writer))
        sessions = "INSERT INTO sessions (user_id, title) SELECT id, 'of ' || name FROM users"
        step = await step_of(feed, writer, (MANY, [1, 3]), (sessions, []))
        assert step.batch == Batch((), frozenset({"users", "sessions"}))
        step = await step_of(feed, writer, ("UPDATE sessions SET title = 'x'; UPDATE sessions SET title = 'y'", []))
        assert step.batch == Batch((), frozenset({"sessions"}))


async def test_a_batch_of_few_but_large_events_is_a_reset_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = 20_000
    for name in ("READ", "TAKE"):
        monkeypatch.setattr(log, name, getattr(log, name).replace(str(log.BATCH_BYTES), str(bound)))
    monkeypatch.setattr(log, "BATCH_BYTES", bound)
    async with following() as feed, following() as other, connected() as (writer,):
        user = await add(writer)
        await feed.recorder.has(user)
        await other.recorder.has(user)
        sessions = "INSERT INTO sessions (user_id, description) VALUES (%s, repeat('x', %s))"
        small = await step_of(feed, writer, (sessions, [user, 5_000]))
        assert (len(small.batch.events), small.batch.resets) == (1, frozenset())
        large = await step_of(feed, writer, (sessions, [user, 20_000]))
        assert large.batch == Batch((), frozenset({"sessions"}))
        await other.recorder.until(lambda: any(step.batch.resets for step in other.recorder.steps), "the reset")
        assert not any(event.after and len(event.after) > bound for event in other.recorder.events)


async def test_a_logged_reset_is_told_as_one_beside_the_events_of_rows() -> None:
    async with following() as feed, connected() as (writer,):
        step = await step_of(
            feed,
            writer,
            (MANY, [1, 2]),
            ("SELECT syncing.log_reset('sessions')", []),
            ("SELECT syncing.log_reset('messages')", []),
            (MANY, [1, 1]),
        )
        assert step.batch.resets == {"sessions", "messages"}
        assert [event.table for event in step.batch.events] == ["users"] * 3


async def test_a_permitted_truncate_is_a_reset() -> None:
    async with following() as feed, connected() as (writer,):
        step = await step_of(feed, writer, ("TRUNCATE memory", []))
        assert step.batch == Batch((), frozenset({"memory"}), step.batch.bytes)


async def test_a_reset_that_is_rolled_back_is_not_told() -> None:
    async with following() as feed, connected() as (writer,):
        async with writer.transaction(force_rollback=True):
            await writer.execute("SELECT syncing.log_reset('users')")
        await feed.recorder.has(await add(writer))
        assert not any(step.batch.resets for step in feed.recorder.steps[1:])
