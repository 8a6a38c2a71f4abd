"""Lists as files: all rows that a list finds, streamed from a server-side cursor, as CSV or as JSON.

One statement, so one state of the database; a chunk of rows is in memory at a time. An export has a thread of its own,
which keeps its connection until the file is written or the browser has gone.
"""

from __future__ import annotations

import asyncio
import csv
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.core.handlers.asgi import ASGIRequest
from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone

from syncing.staff.personal import MASK

CHUNK = 500
#: Exports of a process at the same time: each holds a connection and keeps old rows from being cleaned up.
MOST_AT_ONCE = 2
#: No export goes on for longer.
STATEMENT_TIMEOUT = "30min"
#: A spreadsheet takes a cell that begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_free = threading.BoundedSemaphore(MOST_AT_ONCE)
_json = msgspec.json.Encoder(decimal_format="string", enc_hook=str)


@dataclass(frozen=True)
class Export:
    """What to write: rows, names of their columns, those that are masked. finished: told how many rows were written."""

    rows: QuerySet[Any]
    columns: Sequence[str]
    masked: frozenset[str]
    finished: Callable[[int], None] | None = None

    def values(self, row: Model) -> list[Any]:
        """By column, as Python has them."""
        return [MASK if column in self.masked else getattr(row, column) for column in self.columns]


def respond(request: HttpRequest, export: Export, kind: str, name: str) -> HttpResponse | StreamingHttpResponse:
    """The answer with the file. kind: `csv` or `json`."""
    if not _free.acquire(blocking=False):
        return HttpResponse(
            "Other exports are being written. Try again when they are done.\n", status=503, content_type="text/plain"
        )
    parts = {"csv": csv_parts, "json": json_parts}[kind](export)
    written = once(parts, _free.release)
    content: Any = off_the_loop(written) if isinstance(request, ASGIRequest) else written
    types = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
    response = StreamingHttpResponse(content, content_type=types[kind])
    moment = timezone.now().strftime("%Y-%m-%d-%H%M%S")
    response["Content-Disposition"] = f'attachment; filename="{name}-{moment}.{kind}"'
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


class once(Iterator[bytes]):
    """The parts; `release` is called exactly once: at the end, at an error, or when nobody reads on."""

    def __init__(self, parts: Iterator[bytes], release: Callable[[], None]) -> None:
        self._parts = parts
        self._release: Callable[[], None] | None = release

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the reading; Django calls it when the answer is done with."""
        release, self._release = self._release, None
        if release is not None:
            try:
                self._parts.close()  # type: ignore[attr-defined]
            finally:
                release()

    __del__ = close


async def off_the_loop(parts: once) -> AsyncIterator[bytes]:
    """The parts, each made in one thread that all of them share: a connection belongs to its thread."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "export")
    try:
        while (part := await loop.run_in_executor(thread, next, parts, None)) is not None:
            yield part
    finally:
        # Not awaited: whoever closes this generator may be past awaiting, and the loop has others to serve.
        thread.submit(parts.close)
        thread.submit(connection_closed)
        thread.shutdown(wait=False)


def connection_closed() -> None:
    """Gives the thread's connection back."""
    connection.close()


def rows_of(export: Export) -> Iterator[list[Any]]:
    """Values row by row, from a cursor of the server's, which lives as long as its transaction."""
    count = 0
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [STATEMENT_TIMEOUT])
        # Not `iterator`, which reads all at once behind a pooler: inside a transaction it has no need to.
        for row in export.rows._iterator(True, CHUNK):  # type: ignore[attr-defined]
            count += 1
            yield export.values(row)
    if export.finished:
        export.finished(count)


def csv_parts(export: Export) -> Iterator[bytes]:
    """A file that spreadsheets read: with a byte order mark, CRLF, and no cell that they take for a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    buffer.write("\ufeff")
    writer.writerow(export.columns)
    for at, row in enumerate(rows_of(export), 1):
        writer.writerow([cell(value) for value in row])
        if at % CHUNK == 0:
            yield taken(buffer)
    yield taken(buffer)


def json_parts(export: Export) -> Iterator[bytes]:
    """An array of objects, one a line; decimals are texts, as on the wire."""
    before = b"[\n"
    buffer = bytearray()
    for at, row in enumerate(rows_of(export), 1):
        members = {column: plain(value) for column, value in zip(export.columns, row, strict=True)}
        buffer += before + _json.encode(members)
        before = b",\n"
        if at % CHUNK == 0:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer) + (b"\n]\n" if before == b",\n" else b"[]\n")


def taken(buffer: io.StringIO) -> bytes:
    """What is in the buffer, which is empty afterwards."""
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode("utf-8", "replace")


def cell(value: Any) -> str:
    """The value as a cell's text."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return _json.encode(value).decode()
    if isinstance(value, int | float | Decimal):
        return str(value)
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def plain(value: Any) -> Any:
    """The value as JSON has it, where that needs saying."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if hasattr(value, "isoformat") else value
