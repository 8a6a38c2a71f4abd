"""Single JSON values out of a file that may be larger than memory: a list, lines, or one object.

Works on bytes: the marks of JSON's structure are ASCII, which UTF-8 uses for nothing else. So one record with broken
text does not spoil its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from conversations.formats import values
from conversations.formats.conversation import BadRecord

#: No record may be larger than this; it bounds the memory that a file can take.
MAX_RECORD = 64 * 1024 * 1024
CHUNK = 256 * 1024
#: Where the shape of a file must show: a line longer than this is not looked at for it.
FIRST_LINE = 1024 * 1024
LINE_SUFFIXES = (".jsonl", ".ndjson")
UTF8_BOM, OTHER_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")

#: In a text only its end matters (an escape hides the byte after it), outside of texts brackets, commas and quotes do.
IN_TEXT = re.compile(rb'["\\]')
OUTSIDE = re.compile(rb'["\[\]{},]')
SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON value, or why it is none; the line where it begins, its number in the file, bytes read so far."""

    line: int
    number: int
    read: int
    value: Any = None
    problem: str = ""


def read_records(stream: BinaryIO, suffix: str = "") -> Iterator[Record]:
    """The records of a file, one at a time; `suffix` (".jsonl") settles what its beginning leaves open."""
    start = stream.read(3)
    if start.startswith(OTHER_BOMS):
        yield Record(1, 1, 0, problem="the file is not in UTF-8")
        return
    begin = 3 if start == UTF8_BOM else 0
    stream.seek(begin)
    by_lines = suffix.lower() in LINE_SUFFIXES or _is_by_lines(stream)
    stream.seek(begin)
    if by_lines:
        yield from _lines(stream)
        return
    first = stream.read(1)
    while first and first in SPACE:
        first = stream.read(1)
    stream.seek(begin)
    yield from _elements(stream) if first == b"[" else _whole(stream)


def _is_by_lines(stream: BinaryIO) -> bool:
    """Whether each line is a record. One that begins a list or an object without ending it says no, unless the second
    line is whole: then the first is a broken record among others."""
    first, second = _next_line(stream), _next_line(stream)
    if len(first) >= FIRST_LINE:
        return first.startswith(b"{")
    if first.startswith(b"["):
        return bool(second) and _is_json(first)
    if first.startswith(b"{"):
        return _is_json(first) or (second.startswith(b"{") and _is_json(second))
    return True


def _next_line(stream: BinaryIO) -> bytes:
    """The next line that is not blank, at most so much of it as tells the shape; b"" at the end."""
    while line := stream.readline(FIRST_LINE):
        if len(line) == FIRST_LINE and not line.endswith(b"\n"):
            return line
        if line := line.strip():
            return line
    return b""


def _is_json(source: bytes) -> bool:
    try:
        values.loads(source)
    except ValueError:
        return False
    return True


def _parsed(source: bytes, line: int, number: int, read: int) -> Record:
    try:
        return Record(line, number, read, value=values.loads(source))
    except UnicodeDecodeError as error:
        return Record(line, number, read, problem=f"not UTF-8: {error.reason} at byte {error.start + 1} of the record")
    except ValueError as error:
        return Record(line, number, read, problem=f"not JSON: {error}")


def _lines(stream: BinaryIO) -> Iterator[Record]:
    line, number, read = 0, 0, stream.tell()
    while source := stream.readline(MAX_RECORD):
        line += 1
        read += len(source)
        too_long = len(source) == MAX_RECORD and not source.endswith(b"\n")
        while len(source) == MAX_RECORD and not source.endswith(b"\n"):
            source = stream.readline(MAX_RECORD)
            read += len(source)
        if too_long:
            number += 1
            yield Record(line, number, read, problem=f"the record is larger than {MAX_RECORD >> 20} MiB")
        elif source.strip():
            number += 1
            yield _parsed(source, line, number, read)


def _whole(stream: BinaryIO) -> Iterator[Record]:
    source = stream.read(MAX_RECORD + 1)
    if len(source) > MAX_RECORD:
        yield Record(1, 1, len(source), problem=f"the record is larger than {MAX_RECORD >> 20} MiB")
    elif source.strip():
        yield _parsed(source, 1, 1, len(source))


def _elements(stream: BinaryIO) -> Iterator[Record]:
    """The elements of one list, cut out by counting brackets."""
    cutter = _Cutter()
    number = 0
    read = stream.tell()
    try:
        while chunk := stream.read(CHUNK):
            read += len(chunk)
            for source, line in cutter.feed(chunk):
                number += 1
                yield _parsed(source, line, number, read)
        cutter.close()
    except BadRecord as error:
        yield Record(cutter.line_of_element, number + 1, read, problem=str(error))


class _Cutter:
    """Cuts a list that comes in chunks into its elements. BadRecord where the list is broken: nothing can follow."""

    def __init__(self) -> None:
        self._element = bytearray()
        self._begun = False  # something other than space has been seen of the element
        self._depth = 0
        self._in_text = False
        self._skip = 0  # bytes at the beginning of the next chunk that an escape hides
        self._line = 1
        self._ended = False
        self._after_comma = False
        self.line_of_element = 1

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, int]]:
        """The elements that end in this chunk, with the line where each begins."""
        at, taken = self._skip, 0
        self._skip = 0
        while True:
            match = (IN_TEXT if self._in_text else OUTSIDE).search(chunk, at)
            if match is None:
                break
            at = match.end()
            mark = match.group()
            if self._in_text:
                if mark == b'"':
                    self._in_text = False
                else:
                    at += 1
            elif mark == b'"':
                self._in_text = True
            elif mark in b"[{":
                self._depth += 1
                if self._depth == 1:
                    self._begin(chunk[taken:at])
                    taken = at
            elif mark in b"]}":
                self._depth -= 1
                if self._depth == 0:
                    yield from self._cut(chunk[taken : at - 1], last=True)
                    taken = at - 1
                    self._ended = True
                elif self._depth < 0:
                    raise BadRecord("something follows the end of the list")
            elif self._depth == 1:
                yield from self._cut(chunk[taken : at - 1], last=False)
                taken = at
        self._skip = max(0, at - len(chunk))
        self._keep(chunk[taken:])

    def close(self) -> None:
        """At the end of the file. BadRecord if the list has not ended."""
        if self._depth or self._in_text or not self._ended:
            raise BadRecord("the file ends before the list does: it is cut off")

    def _begin(self, before: bytes) -> None:
        if self._ended or before.strip() != b"[":
            raise BadRecord("the file is neither one list nor one record a line")
        self._line += before.count(b"\n")

    def _keep(self, piece: bytes) -> None:
        if self._ended:
            if piece.lstrip(b"]").strip():
                raise BadRecord("something follows the end of the list")
            return
        if not self._begun:
            blank = len(piece) - len(piece.lstrip())
            self.line_of_element = self._line + piece[:blank].count(b"\n")
            self._begun = blank < len(piece)
        self._line += piece.count(b"\n")
        self._element += piece
        if len(self._element) > MAX_RECORD:
            raise BadRecord(f"the record is larger than {MAX_RECORD >> 20} MiB")

    def _cut(self, piece: bytes, *, last: bool) -> Iterator[tuple[bytes, int]]:
        self._keep(piece)
        element = bytes(self._element)
        self._element.clear()
        self._begun = False
        if element.strip() or not last or self._after_comma:
            yield element, self.line_of_element
        self._after_comma = not last
