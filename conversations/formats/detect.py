"""Files of any known format → conversations, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from conversations.formats import chatgpt, openai, values
from conversations.formats.conversation import BadRecord, Conversation
from conversations.formats.records import MAX_RECORD, Record, read_records


@dataclass(frozen=True, slots=True)
class Item:
    """A conversation or why there is none; the line where it begins, its number in the file, bytes read so far."""

    line: int
    number: int
    read: int
    conversation: Conversation | None = None
    problem: str = ""


def read_conversations(path: Path) -> Iterator[Item]:
    """The conversations of a file in its order. OSError where it cannot be read."""
    with path.open("rb") as stream:
        yield from conversations_of(stream, path.suffix)


def conversations_of(stream: BinaryIO, suffix: str = "") -> Iterator[Item]:
    """As read_conversations, from an open file that can be rewound."""
    records = read_records(stream, suffix)
    first = next(records, None)
    if first is None:
        return
    if openai.is_message(first.value):
        # A list, or lines, of messages without anything around them: one chat.
        yield _item(_gathered(first, records))
        return
    yield _item(first)
    for record in records:
        yield _item(record)


def parse(value: Any) -> Conversation:
    """The conversation in one record; BadRecord where there is none."""
    if chatgpt.is_chat(value):
        parser = chatgpt.parse
    elif openai.is_chat(value) or (isinstance(value, list) and value and openai.is_message(value[0])):
        parser = openai.parse
    else:
        raise BadRecord(f"neither messages nor a mapping of them: {values.shown(value)}")
    try:
        return parser(value)
    except RecursionError:
        raise BadRecord("nested too deep") from None


def _gathered(first: Record, rest: Iterator[Record]) -> Record:
    messages: list[Any] = []
    last = first
    for last in chain([first], rest):
        if last.problem:
            return Record(last.line, 1, last.read, problem=f"messages[{len(messages)}]: {last.problem}")
        if last.read > MAX_RECORD:
            return Record(first.line, 1, last.read, problem=f"the record is larger than {MAX_RECORD >> 20} MiB")
        messages.append(last.value)
    return Record(first.line, 1, last.read, value=messages)


def _item(record: Record) -> Item:
    if record.problem:
        return Item(record.line, record.number, record.read, problem=record.problem)
    try:
        return Item(record.line, record.number, record.read, conversation=parse(record.value))
    except BadRecord as bad:
        return Item(record.line, record.number, record.read, problem=str(bad))
