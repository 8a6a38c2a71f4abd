"""The log searched by staff, whatever its size: a page is found by an index and looks at a bounded stretch of it.

The log has two indexes, by transaction and by row, and every one more would make each write dearer. What has none
(table, user, client, operation) is looked for in a stretch of `STRETCH` events; the page says how far it got, and the
next one goes on from there. Times become numbers of transactions, by the checkpoints, so that a search begins in the
right place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from syncing.models import SyncEvent

#: Events that one page of a search looks at, and that it shows.
STRETCH = 50_000
PAGE = 50

# ORDER BY takes a bare `xid` for the number that is selected under this name, which no index orders.
FOUND = """
    SELECT id, slot, xid::text::bigint AS xid, created_at, table_name, op, row_id, version, scope, old_scope,
        user_id, client_id, mutation_id, origin,
        CASE WHEN op = 'U' THEN ARRAY(SELECT json_object_keys(before::json)) END AS columns
    FROM (SELECT * FROM (
            SELECT * FROM public.sync_events WHERE {bounds} ORDER BY {order} LIMIT %(stretch)s
        ) stretch WHERE {matches} ORDER BY {order} LIMIT %(page)s
    ) found ORDER BY {found_order}
"""
# Where the stretch ends, if the log goes on behind it.
END = """
    SELECT xid::text::bigint, id, created_at FROM public.sync_events e WHERE {bounds}
    ORDER BY {order} OFFSET %(stretch)s - 1 LIMIT 1
"""
# The numbers between which all events of a span of time lie. A checkpoint's snapshot knows which transactions were over
# when it was taken: none of those wrote later. The third checkpoint after the span began when the second had an own
# number, after the span: what has a higher one began later, too. Found by halving, since time has no index there.
LAST_UNTIL = """
    WITH RECURSIVE halving(low, high) AS (
        SELECT coalesce(min(id), 1) - 1, coalesce(max(id), 0) FROM public.sync_checkpoints
        UNION ALL
        SELECT CASE WHEN middle.created_at <= %s THEN middle.id ELSE low END,
            CASE WHEN middle.created_at <= %s THEN high ELSE (low + high) / 2 END
        FROM halving, LATERAL (
            SELECT id, created_at FROM public.sync_checkpoints WHERE id > (low + high) / 2 ORDER BY id LIMIT 1
        ) middle WHERE low < high
    )
"""
LOWEST = f"""{LAST_UNTIL}
    SELECT pg_snapshot_xmin(snapshot)::text::bigint FROM public.sync_checkpoints
    WHERE id = (SELECT max(low) FROM halving)
"""
CEILING = f"""{LAST_UNTIL}
    SELECT pg_snapshot_xmax(snapshot)::text::bigint FROM public.sync_checkpoints
    WHERE id > (SELECT max(low) FROM halving) ORDER BY id OFFSET 2 LIMIT 1
"""
# A stretch is a good part of a small log, which PostgreSQL would rather read whole and sort; of a large one, too, where
# it is wrong about the log's size. Set back afterwards, since a caller's transaction may go on.
BY_INDEX = "SELECT set_config('enable_seqscan', %s, true), set_config('enable_bitmapscan', %s, true)"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the log: an event, by its transaction and its own number. In the order of the log."""

    xid: int
    event: int

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises ValueError for what `str` does not give."""
        if not (match := re.fullmatch(r"(\d{1,18})\.(\d{1,18})", text, re.ASCII)):
            raise ValueError("no place in the log")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.xid}.{self.event}"


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; None means anything. table: as the database calls it. since, until: when it was written."""

    table: str | None = None
    row: UUID | None = None
    user: UUID | None = None
    client: UUID | None = None
    op: str | None = None
    xid: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def found_by_index(self) -> bool:
        """Whether all that is asked for has an index, so that no page ends before it is full."""
        asked = (self.table, self.user, self.client, self.op, self.since, self.until)
        return not any(one is not None for one in asked)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of the log, newest first. older: before which place the next page goes on, if there may be one.

    looked_back_to: when what was looked at last was written, where the stretch ended before the page was full. Events
    have `columns`, the names of those that an update changed, and none of the values.
    """

    events: list[SyncEvent]
    older: Place | None = None
    looked_back_to: datetime | None = None


def find(search: Search, older_than: Place | None = None) -> Found:
    """The newest events that match; or the newest of those before a place."""
    with _by_index():
        bounds, parameters = _bounds(search)
        if older_than is not None:
            bounds.append(_before(search, older_than, parameters))
        events = _events(search, bounds, parameters)
        if len(events) > PAGE:
            events = events[:PAGE]
            return Found(events, Place(events[-1].xid, events[-1].pk))
        end = None if search.found_by_index() else _end(search, bounds, parameters)
        return Found(events, *end) if end else Found(events)


@contextmanager
def _by_index() -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BY_INDEX, ["off", "off"])
        yield
        cursor.execute(BY_INDEX, ["on", "on"])


def _bounds(search: Search) -> tuple[list[str], dict[str, Any]]:
    """What an index finds, and narrows the stretch."""
    parameters: dict[str, Any] = {"stretch": STRETCH, "page": PAGE + 1}
    bounds: list[str] = []
    if search.row is not None:
        bounds.append("row_id = %(row)s")
        parameters["row"] = search.row
    if search.xid is not None:
        bounds.append("xid = %(xid)s::text::xid8")
        parameters["xid"] = search.xid
    if search.since is not None and (lowest := _numbered_since(search.since)) is not None:
        bounds.append("xid >= %(lowest)s::text::xid8")
        parameters["lowest"] = lowest
    if search.until is not None and (ceiling := _numbered_until(search.until)) is not None:
        bounds.append("xid < %(ceiling)s::text::xid8")
        parameters["ceiling"] = ceiling
    return bounds, parameters


def _before(search: Search, place: Place, parameters: dict[str, Any]) -> str:
    parameters |= {"at_xid": place.xid, "at_event": place.event}
    return "id < %(at_event)s" if search.row is not None else "(xid, id) < (%(at_xid)s::text::xid8, %(at_event)s)"


def _matches(search: Search, parameters: dict[str, Any]) -> str:
    """What no index finds."""
    wanted = {
        "table_name = %(table)s": search.table,
        "user_id = %(user)s": search.user,
        "client_id = %(client)s": search.client,
        'op = %(op)s::"char"': search.op,
        "created_at >= %(since)s": search.since,
        "created_at <= %(until)s": search.until,
    }
    names = ("table", "user", "client", "op", "since", "until")
    parameters |= dict(zip(names, wanted.values(), strict=True))
    return _where([condition for condition, value in wanted.items() if value is not None])


def _order(search: Search, of: str = "") -> str:
    return f"{of}id DESC" if search.row is not None else f"{of}xid DESC, {of}id DESC"


def _where(conditions: list[str]) -> str:
    return " AND ".join(conditions) or "true"


def _events(search: Search, bounds: list[str], parameters: dict[str, Any]) -> list[SyncEvent]:
    order, found_order = _order(search), _order(search, of="found.")
    matches = _matches(search, parameters)
    sql = FOUND.format(bounds=_where(bounds), matches=matches, order=order, found_order=found_order)
    return list(SyncEvent.objects.raw(sql, parameters))


def _end(search: Search, bounds: list[str], parameters: dict[str, Any]) -> tuple[Place, datetime] | None:
    with connection.cursor() as cursor:
        cursor.execute(END.format(bounds=_where(bounds), order=_order(search, of="e.")), parameters)
        end = cursor.fetchone()
    return (Place(end[0], end[1]), end[2]) if end else None


def _numbered_since(moment: datetime) -> int | None:
    """The lowest number of a transaction that may have written at the moment or later."""
    return _number(LOWEST, moment)


def _numbered_until(moment: datetime) -> int | None:
    """A number that no transaction has, nor a higher one, which wrote at the moment or earlier."""
    return _number(CEILING, moment)


def _number(sql: str, moment: datetime) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, [moment, moment])
        found = cursor.fetchone()
    return found[0] if found else None
