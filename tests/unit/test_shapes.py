"""Shapes: what is the same subscription and what is not."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import pytest

from syncing.exceptions import NotFilterable, UnknownColumn
from syncing.shapes import Shape
from syncing.values import ColumnType


@dataclass(frozen=True)
class Messages:
    table: str = "messages"
    columns: dict[str, ColumnType] = field(
        default_factory=lambda: {
            "id": ColumnType.UUID,
            "sync_version": ColumnType.BIGINT,
            "role": ColumnType.TEXT,
            "content": ColumnType.TEXT,
            "tokens": ColumnType.INTEGER,
        }
    )
    filterable: dict[str, ColumnType] = field(default_factory=lambda: {"role": ColumnType.TEXT})
    fingerprint: str = "f1"


MESSAGES = Messages()


def test_absent_columns_are_all_columns_and_an_absent_filter_is_every_row() -> None:
    shape = Shape.of(MESSAGES)
    assert shape.columns == ("id", "sync_version", "role", "content", "tokens")
    assert shape.filter.canonical == {}
    assert shape == Shape.of(MESSAGES, {}, [*MESSAGES.columns])


def test_key_and_version_are_always_among_the_columns() -> None:
    assert Shape.of(MESSAGES, None, []).columns == ("id", "sync_version")
    assert Shape.of(MESSAGES, None, ["tokens", "role", "tokens"]).columns == ("id", "sync_version", "role", "tokens")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (({"role": "user"}, ["content", "role"]), ({"role__in": ["user"]}, ["role", "content", "id"])),
        (({}, None), (None, ["tokens", "content", "role"])),
    ],
)
def test_equal_subscriptions_share_a_handle(one: Any, other: Any) -> None:
    assert Shape.of(MESSAGES, *one) == Shape.of(MESSAGES, *other)
    assert Shape.of(MESSAGES, *one).handle == Shape.of(MESSAGES, *other).handle


def test_table_filter_columns_and_declaration_each_change_the_handle() -> None:
    shapes = [
        Shape.of(MESSAGES),
        Shape.of(replace(MESSAGES, table="memory")),
        Shape.of(replace(MESSAGES, fingerprint="f2")),
        Shape.of(MESSAGES, {"role": "user"}),
        Shape.of(MESSAGES, {"role": "tool"}),
        Shape.of(MESSAGES, None, ["role"]),
        Shape.of(MESSAGES, None, ["content"]),
    ]
    assert len({shape.handle for shape in shapes}) == len(shapes)


def test_a_handle_is_short_safe_in_urls_and_the_same_in_every_process() -> None:
    handle = Shape.of(MESSAGES, {"role": "user"}).handle
    assert re.fullmatch(r"[A-Za-z0-9_-]{24}", handle)
    # Stored by clients across restarts of the server: a change here costs each of them a new snapshot.
    assert handle == "gp_u5icSmPe3rMHIqwoNVuOj"


def test_a_column_that_is_not_declared_does_not_exist() -> None:
    with pytest.raises(UnknownColumn, match="password"):
        Shape.of(MESSAGES, None, ["role", "password"])
    with pytest.raises(UnknownColumn):
        Shape.of(MESSAGES, {"password": "x"})
    with pytest.raises(NotFilterable):
        Shape.of(MESSAGES, {"content": "x"})


def test_a_shape_is_a_constant_that_can_be_a_key() -> None:
    shape = Shape.of(MESSAGES, {"role": "user"})
    assert {shape: 1}[Shape.of(MESSAGES, {"role": "user"})] == 1
    with pytest.raises(FrozenInstanceError):
        shape.table = "users"  # type: ignore[misc]
