"""The feed: one direct connection a process that listens, takes checkpoints and reads the batches between them.

Poke, then pull: a notification carries no data, so that lost, doubled and reordered ones are harmless. Writers notify
only when no reader is awake; an awake reader ("hot") holds the gate, an advisory lock, and looks every millisecond.
Before a reader sleeps it waits until every transaction that could have seen the gate closed is over.

Losing the connection is an ordinary event: connect, LISTEN, read on from the checkpoint last delivered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Any

import psycopg

from syncing import log, questions
from syncing.audience import Audience
from syncing.continuity import direct_gate, one_row, recognise_cluster, still_there, terminate_frozen
from syncing.databases import conninfo
from syncing.listening import Listening
from syncing.log import Batch, Checkpoint, Moment, Step, Taken
from syncing.pipeline import Pipeline, Statement, TextRow
from syncing.questions import QUESTIONS, SESSION

logger = logging.getLogger(__name__)

#: An awake feed looks this often, or takes what is new, in seconds; and rests for about this share of the time that it
#: took, so that where processors are scarce more of them is left to the writers.
HOT_POLL = 0.001
REST = 0.5
#: Without news it goes idle after this long: where writes are few, their pokes are faster than any poll.
HOT_FOR = 0.01
LONGEST_BACKOFF = 1.0
#: A checkpoint lock that one backend holds this long, in seconds, belongs to a frozen reader; sooner, if it waits for
#: that reader to take a result.
FROZEN_AFTER, STALLED_AFTER = 5.0, 2.0


class Feed:
    """Follows the log and tells the audience, step by step. `run()` is the task; `wake()` asks for a round at once."""

    def __init__(self, audience: Audience, *, poll_seconds: float, batch_size: int) -> None:
        self.audience = audience
        self.poll_seconds = poll_seconds
        self.batch_size = batch_size
        self.position: Checkpoint | None = None
        self.alive_at = 0.0
        self.sleeps = False
        self._start = ""  # a snapshot since whose predecessor nothing was logged: where the next batch begins
        self._seen = ""  # the database's snapshot at the last look
        self._newest = 0  # the newest checkpoint at that time
        self._busy = False  # whether the last look found something, or a writer says that there is something
        self._mark: str | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._pipeline: Pipeline
        self._wake = asyncio.Event()
        self._listening = Listening(self._hear, self._wake.set)  # of what was lost the next statement tells
        self._round_wanted = False
        self._gate: int | None = None
        self._gate_held = False
        self._lock_missed_at: float | None = None
        self._leniency = 1.0  # doubled by each termination: on a slow network a large result may take long
        self._asked = 0.0  # when the checkpoint that is being taken was asked for

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
                    await self._ask(questions.ROLLBACK)
                    await self._terminate_frozen()
                    raise
                finally:
                    connection, self._connection = self._connection, None
                    self._gate_held = self._busy = False
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
        self._gate = await direct_gate(connection)
        connection.add_notify_handler(self._notified)
        await connection.execute("LISTEN claudia_sync")
        await connection.execute("LISTEN claudia_access")
        self._pipeline = Pipeline(connection)
        await self._pipeline.prepare(*QUESTIONS)
        self._mark = log.new_mark()
        await recognise_cluster(connection)
        if self.position and not await still_there(connection, self.position):
            logger.warning("feed: the history after checkpoint %s is gone; everybody is staged anew", self.position.id)
            self.position = None
            self.audience.broken()
        if self.position:
            # Any later snapshot of the old connection may name an xid that was reissued after a crash.
            self._start = self.position.snapshot
        else:
            self._start = (await one_row(connection, "SELECT pg_current_snapshot()::text"))[0]
            await self._take_first()
        # Access may have changed while nobody listened.
        self.audience.access_changed({"all": True})

    # -- following ---------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            self.sleeps = False
            await self._walk_hot()
            if await self._walk_idle():
                # Nothing is held and nothing asked until a poke, a wake or the slow poll finds something.
                self.sleeps = True
                await self._sleep(self.poll_seconds or None)
                while not await self._advance():
                    await self._sleep(self.poll_seconds or None)

    async def _walk_hot(self) -> None:
        """Looks, and takes what is new, every HOT_POLL, until nothing has happened for a while."""
        await self._ask(questions.STAY_AWAKE)
        news_at = time.monotonic()
        while True:
            began = time.monotonic()
            if await self._advance(try_gate=True):
                news_at = time.monotonic()
            elif time.monotonic() - news_at > HOT_FOR:  # asked after a look: on a busy machine a rest may take as long
                return
            spent = time.monotonic() - began
            # In whole milliseconds, as epoll waits: asyncio rounds up, which would delay everybody by one more.
            await asyncio.sleep(max(1, round(1000 * max(HOT_POLL - spent, REST * spent))) / 1000)

    async def _walk_idle(self) -> bool:
        """Opens the gate and waits until all who saw it closed are over; False if something new came meanwhile."""
        await self._ask(questions.OPEN_GATE, held=self._gate_held, gate=self._gate)
        self._gate_held = False
        border = await self._own_xid()
        backoff = HOT_POLL
        while True:
            if await self._advance():
                return False
            if self._oldest_running >= border:
                return True
            await self._sleep(backoff)
            backoff = min(LONGEST_BACKOFF, backoff * 2)

    async def _own_xid(self) -> int:
        [[(xid,)]] = await self._ask(questions.OWN_XID)
        return int(xid or 0)

    async def _advance(self, *, try_gate: bool = False) -> bool:
        """Delivers what is new, if anything is; also True where that cannot be known, since others take it just now."""
        if self._round_wanted:
            await self._hold_round()
            return True
        gate = self._gate if try_gate and not self._gate_held else None
        # What came is most likely not alone: then looking and taking are one round trip.
        if self._busy:
            self._busy = await self._take(gate=gate)
            return self._busy
        [[look]] = await self._ask(questions.LOOK, gate=gate)
        self._see(look)
        if self._newest != self._known.id:
            await self._read_stored()
            return True
        self._busy = self._seen != self._start and await self._take()
        return self._busy

    def _see(self, look: TextRow) -> None:
        """What LOOK found."""
        seen, newest, oldest, held = look
        self._seen = seen or ""
        self._newest = int(newest or 0)
        self._oldest_running = int(oldest or 0)
        self._gate_held = self._gate_held or held == "t"
        self.alive_at = time.monotonic()

    @property
    def backend(self) -> int | None:
        """The pid of its backend, while it is connected."""
        return self._connection.info.backend_pid if self._connection else None

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
        asked = time.monotonic()
        [rows] = await self._ask(questions.NEWEST)
        if not rows or int(rows[0][0] or 0) < self._known.id:
            raise psycopg.OperationalError("checkpoints went back")
        end, (at, age) = Checkpoint.of_row(rows[0]), rows[0][3:]
        if end.id == self._known.id:
            return
        rows, kept = await self._ask(
            questions.READ, questions.KEPT, start=self._start, end=end.snapshot, limit=self.batch_size + 1,
            known=self._known.id,
        )  # fmt: skip
        self._check_kept(kept)
        moment = Moment(float(at or 0), asked - float(age or 0))
        await self._deliver(end, log.batch_of_rows(rows, self.batch_size), moment)

    async def _take(self, *, gate: int | None = None) -> bool:
        """Takes a checkpoint if there is something new, and delivers its batch.

        Whether there was; also True where that cannot be known, since others hold the lock.
        """
        rows = await self._take_rows(gate=gate)
        if rows is not None:
            self._lock_missed_at = None
        if rows:
            await self._deliver_taken(rows)
        elif self._newest > self._known.id:
            await self._read_stored()
        elif rows is None:
            await self._bear_with_holder()
        else:
            # Not to scan a bulk writer's own uncommitted events again and again. Dies with this connection.
            self._start = self._seen
            return False
        return True

    async def _take_rows(
        self, *, always: bool = False, export: bool = False, gate: int | None = None
    ) -> list[TextRow] | None:
        """Looks, takes a checkpoint in a transaction of its own, and commits it; None if the lock is not to be had.

        always: whether anything is new or not; then the lock is waited for. export: for others to import before the
        commit, which is left to the caller.
        """
        lock = (questions.PATIENT, questions.LOCK_WAIT) if always else (questions.LOCK_NOW,)
        end = () if export else (questions.COMMIT,)
        self._asked = time.monotonic()
        answers = await self._ask(
            questions.LOOK, questions.BEGIN, *lock, questions.TAKE, questions.KEPT, *end, gate=gate,
            patience=f"{self._leniency * STALLED_AFTER * 1000:.0f}ms", start=self._start, mark=self._mark,
            always=always, export=export, limit=self.batch_size + 1, known=self.position.id if self.position else 0,
        )  # fmt: skip
        [look], _, *locked, rows, kept = answers[: len(answers) - len(end)]
        self._see(look)
        self._check_kept(kept)
        if self.position and self._newest < self.position.id:
            raise psycopg.OperationalError("checkpoints went back")
        return rows if always or locked[-1][0][0] == "t" else None

    async def _take_first(self) -> None:
        """A checkpoint to begin at, whether anything is new or not."""
        rows = await self._take_rows(always=True) or []
        await self._deliver_taken(rows)

    async def _bear_with_holder(self) -> None:
        """Others hold the checkpoint lock: for a moment, unless they are frozen."""
        if self._lock_missed_at is None:
            self._lock_missed_at = time.monotonic()
        elif time.monotonic() - self._lock_missed_at > self._leniency * STALLED_AFTER:
            self._lock_missed_at = None
            await self._terminate_frozen()

    async def _terminate_frozen(self) -> None:
        if await terminate_frozen(self.connection, self._leniency * FROZEN_AFTER, self._leniency * STALLED_AFTER):
            self._leniency *= 2

    async def _deliver_taken(self, rows: list[TextRow]) -> None:
        self._mark = None
        self._leniency = 1.0
        end, (at, after, between) = Checkpoint.of_row(rows[0]), rows[0][4:7]
        events = [row[7:] for row in rows if row[7] is not None]
        batch = log.batch_of_rows(events, self.batch_size)
        taken = Taken.of_rows(events, between) if batch else Taken(await self._count(between or self._start, end))
        await self._deliver(end, batch, Moment(float(at or 0), self._asked + float(after or 0), taken))

    async def _deliver(self, end: Checkpoint, batch: Batch | None, moment: Moment) -> None:
        if batch is None:
            batch = Batch((), frozenset(table for table, _ in await self._count(self._start, end)))
        self.position = end
        self._start = end.snapshot
        self.audience.deliver(Step(end, batch, moment))

    def _check_kept(self, kept: list[TextRow]) -> None:
        """Gives up the connection, and so the position, where the log was pruned past it: we were frozen for days."""
        if self.position and kept == [("f",)]:
            raise psycopg.OperationalError(f"the log was pruned past checkpoint {self.position.id}")

    async def _count(self, start: str, end: Checkpoint) -> dict[tuple[str, str], int]:
        """How much there is between a snapshot and a checkpoint, by table and operation."""
        known = self.position.id if self.position else 0
        rows, kept = await self._ask(questions.TABLES, questions.KEPT, start=start, end=end.snapshot, known=known)
        self._check_kept(kept)
        return {(table or "", op or ""): int(count or 0) for table, op, count in rows}

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
            rows = await self._take_rows(always=True, export=True) or []
            await round_.import_snapshot(rows[0][3] or "")
            await self._ask(questions.COMMIT)
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
        self._listening.begin(self.connection)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        finally:
            self._listening.end()
        self._wake.clear()

    def _hear(self) -> None:
        while note := self.connection.pgconn.notifies():
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
            self._busy = payload != log.TAKEN
            self._wake.set()

    async def _ask(self, *statements: Statement, **named: object) -> list[list[TextRow]]:
        rows = await self._pipeline.ask(*statements, **named)
        self._hear()
        return rows
