"""The feed: one direct connection a process that listens, takes checkpoints and reads the batches between them.

Poke, then pull: a notification carries no data, so that lost, doubled and reordered ones are harmless. Writers notify
only when no reader is awake; an awake reader ("hot") holds the gate, an advisory lock, and polls every 2 ms. Before a
reader sleeps it waits until every transaction that could have seen the gate closed is over.

Losing the connection is an ordinary event: connect, LISTEN, read on from the checkpoint last delivered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Any, Protocol

import psycopg

from syncing import log
from syncing.databases import conninfo
from syncing.log import Batch, Checkpoint, Step

logger = logging.getLogger(__name__)

HOT_POLL = 0.002
HOT_FOR = 0.1
LONGEST_BACKOFF = 1.0
#: A checkpoint lock that one backend holds this long belongs to a frozen reader.
FROZEN_AFTER = 5.0
SESSION = {
    "synchronous_commit": "on",  # a checkpoint makes durable what it lets out
    "plan_cache_mode": "force_custom_plan",  # generic plans over the ring cost 7–9 ms instead of 0.45
    "idle_in_transaction_session_timeout": "2s",
    "tcp_user_timeout": "3s",
    "default_transaction_isolation": "read\\ committed",
}


class Round(Protocol):
    """Readers that wait for a snapshot to import."""

    async def import_snapshot(self, name: str) -> None:
        """Every reader imports the exported snapshot; raises where one could not."""

    def start(self, checkpoint: Checkpoint) -> None:
        """The checkpoint is committed: read."""

    def abort(self) -> None:
        """The checkpoint is not, or perhaps not, committed: throw everything away."""


class Audience(Protocol):
    """Whom the feed tells; all of it in the event loop."""

    def deliver(self, step: Step) -> None:
        """The next step."""

    def broken(self) -> None:
        """What was delivered is not part of this database's history: everything must be staged anew."""

    def access_changed(self, message: dict[str, Any]) -> None:
        """A token or a user changed: {"token": id} or {"user": id}."""

    async def open_round(self) -> Round | None:
        """Readers for those who wait for a snapshot, None if nobody waits."""


class Feed:
    """Follows the log and tells the audience, step by step. `run()` is the task; `wake()` asks for a round at once."""

    def __init__(self, audience: Audience, *, poll_seconds: float, batch_size: int) -> None:
        self.audience = audience
        self.poll_seconds = poll_seconds
        self.batch_size = batch_size
        self.position: Checkpoint | None = None
        self.alive_at = 0.0
        self._start = ""  # a snapshot since whose predecessor nothing was logged: where the next batch begins
        self._mark: str | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._wake = asyncio.Event()
        self._round_wanted = False
        self._gate: int | None = None
        self._gate_held = False
        self._lock_missed_at: float | None = None

    def wake(self) -> None:
        """Somebody waits for a snapshot."""
        self._round_wanted = True
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Connection errors are outlived, with backoff; other errors too, but loudly."""
        backoff = 0.05
        while True:
            try:
                self._connection = await psycopg.AsyncConnection.connect(
                    conninfo("claudia feed", **SESSION), autocommit=True, prepare_threshold=None
                )
                try:
                    await self._orient()
                    backoff = 0.05
                    await self._follow()
                except psycopg.errors.LockNotAvailable:
                    await self._terminate_frozen()
                    raise
                finally:
                    connection, self._connection = self._connection, None
                    self._gate_held = False
                    await connection.close()
            except psycopg.Error as error:
                logger.warning("feed: %s; reconnecting", str(error).strip().splitlines()[0] if str(error) else error)
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.exception("feed: unexpected error; everybody is staged anew")
                self.audience.broken()
                self.position = None
            await asyncio.sleep(backoff)
            backoff = min(LONGEST_BACKOFF, backoff * 2)

    # -- finding the place -------------------------------------------------------------------------------------------

    async def _orient(self) -> None:
        """On a new connection: listen first, then find out whether the world is still the same, then read on."""
        connection = self.connection
        connection.add_notify_handler(self._notified)
        await connection.execute("LISTEN claudia_sync")
        await connection.execute("LISTEN claudia_access")
        self._mark = log.new_mark()
        self._gate = (await self._row("SELECT 'public.sync_events'::regclass::oid::int"))[0]
        await self._recognise_cluster()
        if self.position and not await self._still_there(self.position):
            logger.warning("feed: the history after checkpoint %s is gone; everybody is staged anew", self.position.id)
            self.position = None
            self.audience.broken()
        if self.position:
            # Any later snapshot of the old connection may name an xid that was reissued after a crash.
            self._start = self.position.snapshot
        else:
            self._start = (await self._row("SELECT pg_current_snapshot()::text"))[0]
            await self._take(always=True, wait=True)
        # Access may have changed while nobody listened.
        self.audience.access_changed({"all": True})

    async def _recognise_cluster(self) -> None:
        """Discards what speaks of another cluster's transactions: log, checkpoints, where receipts were written."""
        async with self.connection.transaction():
            await self.connection.execute("LOCK TABLE public.sync_cluster IN SHARE ROW EXCLUSIVE MODE")
            here = (await self._row("SELECT system_identifier FROM pg_control_system()"))[0]
            known = await self._maybe_row("SELECT system_identifier FROM public.sync_cluster")
            if known and known[0] == here:
                return
            if known:
                logger.warning("this database was restored from another cluster: its log and checkpoints are discarded")
                await self.connection.execute("TRUNCATE public.sync_events")
                await self.connection.execute("DELETE FROM public.sync_checkpoints")
                await self.connection.execute("UPDATE public.sync_receipts SET xid = NULL WHERE xid IS NOT NULL")
            await self.connection.execute("DELETE FROM public.sync_cluster")
            await self.connection.execute("INSERT INTO public.sync_cluster (system_identifier) VALUES (%s)", [here])

    async def _still_there(self, position: Checkpoint) -> bool:
        newest = await self._maybe_row(log.NEWEST)
        kept = await self._maybe_row(log.AT, [position.id])
        return bool(newest and kept and newest[0] >= position.id and kept[1] == position.mark)

    # -- following ---------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self._walk_hot()
            if await self._walk_idle():
                # Nothing is held and nothing asked until a poke, a wake or the slow poll finds something.
                await self._sleep(self.poll_seconds or None)
                while not await self._advance():
                    await self._sleep(self.poll_seconds or None)

    async def _walk_hot(self) -> None:
        """Polls until nothing has happened for a while."""
        await self.connection.execute("SELECT set_config('idle_session_timeout', '1s', false)")
        hot_until = time.monotonic() + HOT_FOR
        while time.monotonic() < hot_until:
            if await self._advance(try_gate=True):
                hot_until = time.monotonic() + HOT_FOR
            else:
                await asyncio.sleep(HOT_POLL)

    async def _walk_idle(self) -> bool:
        """Opens the gate and waits until all who saw it closed are over; False if something new came meanwhile."""
        await self.connection.execute(
            "SELECT set_config('idle_session_timeout', '0', false),"
            " CASE WHEN %s THEN pg_advisory_unlock(%s::int, 1) END",
            [self._gate_held, self._gate],
        )
        self._gate_held = False
        # An xid of our own, in a transaction of its own: the snapshot's xmax instead would strand events.
        border = int((await self._row("SELECT pg_current_xact_id()::text"))[0])
        backoff = HOT_POLL
        while True:
            if await self._advance():
                return False
            if self._oldest_running >= border:
                return True
            await self._sleep(backoff)
            backoff = min(LONGEST_BACKOFF, backoff * 2)

    async def _advance(self, *, try_gate: bool = False) -> bool:
        """Delivers what is new, if anything is."""
        if self._round_wanted:
            await self._hold_round()
            return True
        gate = self._gate if try_gate and not self._gate_held else None
        now, newest, fresh, self._oldest_running, held = await self._row(log.PROBE, start=self._start, gate=gate)
        self._gate_held = self._gate_held or bool(held)
        self.alive_at = time.monotonic()
        if newest != self._known.id:
            await self._read_stored()
        elif not fresh:
            # Not to scan a bulk writer's own uncommitted events again and again. Dies with this connection.
            self._start = now
            return False
        elif not await self._take():
            await asyncio.sleep(HOT_POLL)
        return True

    @property
    def connection(self) -> psycopg.AsyncConnection[Any]:
        """The direct connection; only the feed's own task uses it."""
        if self._connection is None:
            raise psycopg.OperationalError("the feed is not connected")
        return self._connection

    @property
    def _known(self) -> Checkpoint:
        if self.position is None:
            raise RuntimeError("the feed has no position before its first checkpoint")
        return self.position

    async def _read_stored(self) -> None:
        """Reads up to the newest checkpoint, which another process took."""
        row = await self._maybe_row(log.NEWEST)
        if row is None or row[0] < self._known.id:
            raise psycopg.OperationalError("checkpoints went back")
        end = Checkpoint(*row)
        if end.id == self._known.id:
            return
        rows = await self._rows(log.READ, start=self._start, end=end.snapshot, limit=self.batch_size + 1)
        batch = log.batch_of_rows(rows, self.batch_size)
        await self._deliver(end, batch)

    async def _take(self, *, always: bool = False, wait: bool = False) -> bool:
        """Takes a checkpoint if there is something new (or always) and the lock can be had; delivers its batch."""
        async with self.connection.transaction():
            if not await self._lock(wait=wait):
                return False
            rows = await self._take_rows(always=always, export=False)
        if rows:
            await self._deliver_taken(rows)
        return bool(rows)

    async def _lock(self, *, wait: bool) -> bool:
        if wait:
            await self.connection.execute(
                "SELECT set_config('lock_timeout', %s, true)", [f"{FROZEN_AFTER * 1000:.0f}ms"]
            )
            await self.connection.execute(log.LOCK_WAIT)
            return True
        locked = bool((await self._row(log.LOCK_NOW))[0])
        if locked:
            self._lock_missed_at = None
        elif self._lock_missed_at is None:
            self._lock_missed_at = time.monotonic()
        elif time.monotonic() - self._lock_missed_at > FROZEN_AFTER:
            await self._terminate_frozen()
        return locked

    async def _terminate_frozen(self) -> None:
        """Over a Unix socket no timeout frees the lock of a reader that was frozen while a result was sent to it."""
        self._lock_missed_at = None
        holder = await self._maybe_row(
            "SELECT l.pid, pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND l.classid = 'public.sync_checkpoints'::regclass::oid AND l.objid = 2"
            " AND l.granted AND a.xact_start < clock_timestamp() - make_interval(secs => %s)",
            [FROZEN_AFTER],
        )
        if holder:
            logger.warning("feed: terminated backend %s, which held the checkpoint lock for too long", holder[0])

    async def _take_rows(self, *, always: bool, export: bool) -> list[tuple[Any, ...]]:
        return await self._rows(
            log.TAKE, start=self._start, mark=self._mark, always=always, export=export, limit=self.batch_size + 1
        )

    async def _deliver_taken(self, rows: list[tuple[Any, ...]]) -> None:
        end = Checkpoint(*rows[0][:3])
        self._mark = None
        batch = log.batch_of_rows([row[4:] for row in rows if row[4] is not None], self.batch_size)
        await self._deliver(end, batch)

    async def _deliver(self, end: Checkpoint, batch: Batch | None) -> None:
        if batch is None:
            tables = await self._rows(log.TABLES, start=self._start, end=end.snapshot)
            batch = Batch((), frozenset(table for (table,) in tables))
        self.position = end
        self._start = end.snapshot
        self.audience.deliver(Step(end, batch))

    async def _hold_round(self) -> None:
        """A checkpoint that readers import before it is committed, so that they read exactly its state."""
        self._round_wanted = False
        try:
            round_ = await self.audience.open_round()
        except Exception as error:
            self._put_off_round(error)
            return
        if round_ is None:
            return
        try:
            async with self.connection.transaction():
                await self._lock(wait=True)
                rows = await self._take_rows(always=True, export=True)
                await round_.import_snapshot(rows[0][3])
            await self._deliver_taken(rows)
        except BaseException:
            round_.abort()
            raise
        round_.start(self._known)

    def _put_off_round(self, error: Exception) -> None:
        """Those who only follow must not suffer because nobody can be read for."""
        logger.warning("feed: no reader for a snapshot: %s", error)
        asyncio.get_running_loop().call_later(1.0, self.wake)

    # -- waiting and asking ------------------------------------------------------------------------------------------

    async def _sleep(self, seconds: float | None) -> None:
        """Until a notification, a wake or the time is over."""
        loop = asyncio.get_running_loop()
        descriptor = self.connection.fileno()
        loop.add_reader(descriptor, self._readable)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        finally:
            loop.remove_reader(descriptor)
        self._wake.clear()

    def _readable(self) -> None:
        pgconn = self.connection.pgconn
        try:
            pgconn.consume_input()
        except psycopg.OperationalError:
            self._wake.set()  # the next statement tells
            return
        while note := pgconn.notifies():
            self._heard(note.relname.decode(), note.be_pid, note.extra.decode())

    def _notified(self, note: psycopg.Notify) -> None:
        self._heard(note.channel, note.pid, note.payload)

    def _heard(self, channel: str, pid: int, payload: str) -> None:
        if channel == "claudia_access":
            try:
                message = json.loads(payload)
            except ValueError:
                logger.warning("feed: a notification on claudia_access is not JSON: %.200r", payload)
                return
            if isinstance(message, dict):
                self.audience.access_changed(message)
        elif pid != self.connection.info.backend_pid:
            self._wake.set()

    async def _rows(self, sql: str, positional: list[Any] | None = None, **named: Any) -> list[tuple[Any, ...]]:
        cursor = await self.connection.execute(sql, positional if positional is not None else named)
        return await cursor.fetchall()

    async def _maybe_row(self, sql: str, positional: list[Any] | None = None, **named: Any) -> tuple[Any, ...] | None:
        rows = await self._rows(sql, positional, **named)
        return rows[0] if rows else None

    async def _row(self, sql: str, **named: Any) -> tuple[Any, ...]:
        return (await self._rows(sql, **named))[0]
