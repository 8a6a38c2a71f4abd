"""What the canary holds: what the frames say, a step at a time; and how it differs from the rows that there are."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from syncing.replica import Difference, Replica, Rows, Unreadable, differences, rows_of

SHAPE = "shape"
A, B = (str(UUID(int=n)) for n in (1, 2))


def row(row_id: str, version: int, **values: Any) -> dict[str, Any]:
    return {"id": row_id, "sync_version": version, **values}


def told(replica: Replica, type_: str, **members: Any) -> None:
    replica.receive(json.dumps({"type": type_, **members}).encode())


def snapshot(replica: Replica, n: int, scope: str, *rows: dict[str, Any]) -> None:
    told(replica, "snapshot", shape=SHAPE, n=n, scope=scope, rows=list(rows))


def step(replica: Replica, *changes: dict[str, Any], scope: str = "p:1", **members: Any) -> None:
    parts = [{"shape": SHAPE, "scope": scope, "changes": list(changes)}] if changes else []
    told(replica, "changes", cursor="1.9f31c02b7d5e8a64", parts=parts, **members)


def held(replica: Replica) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        scope: {row_id: {name: json.loads(value) for name, value in row.items()} for row_id, row in rows.items()}
        for scope, rows in replica.copy().items()
        if rows
    }


@pytest.fixture
def replica() -> Replica:
    """Ready, with a row in each of two scopes."""
    replica = Replica(SHAPE)
    snapshot(replica, 1, "p:1", row(A, 1, text="a", x=1.50))
    snapshot(replica, 1, "p:2", row(B, 2, text="b"))
    assert not held(replica)
    step(replica, gained=["p:1", "p:2"], ready=[{"shape": SHAPE, "n": 1}])
    assert replica.ready
    return replica


def test_rows_and_changes_are_kept_as_they_were_spelled(replica: Replica) -> None:
    assert held(replica) == {"p:1": {A: row(A, 1, text="a", x=1.5)}, "p:2": {B: row(B, 2, text="b")}}
    text = f'{{"op":"update","id":"{A}","v":3,"row":{{"sync_version":3,"x":1.10}}}}'
    frame = '{"type":"changes","cursor":"1.9f31c02b7d5e8a64","parts":[{"shape":"shape","scope":"p:1","changes":[%s]}]}'
    replica.receive((frame % text).encode())
    assert replica.rows["p:1"][A]["x"] == b"1.10"
    assert replica.rows["p:1"][A]["text"] == b'"a"'


def test_a_step_counts_when_its_last_frame_has_come(replica: Replica) -> None:
    step(replica, {"op": "delete", "id": A, "v": 1}, more=True)
    assert "p:1" in held(replica)
    step(replica, {"op": "leave", "id": B}, scope="p:2")
    assert held(replica) == {}


def test_staged_rows_wait_and_replace_all_that_was_held(replica: Replica) -> None:
    step(replica, staging=[SHAPE])
    assert not replica.ready
    snapshot(replica, 2, "p:1", row(A, 5))
    snapshot(replica, 3, "p:1", row(B, 7))
    assert held(replica)["p:1"] == {A: row(A, 1, text="a", x=1.5)}
    change = {"op": "insert", "id": A, "v": 8, "row": row(A, 8)}
    step(replica, change, more=True)
    step(replica, ready=[{"shape": SHAPE, "n": 3}])
    assert held(replica) == {"p:1": {B: row(B, 7), A: row(A, 8)}}


def test_what_is_lost_goes_shown_or_staged(replica: Replica) -> None:
    snapshot(replica, 2, "p:1", row(A, 5))
    step(replica, lost=["p:1"])
    assert replica.scopes == {"p:2"}
    step(replica, ready=[{"shape": SHAPE, "n": 2}])
    assert held(replica) == {}
    assert replica.bytes == 0


def test_its_bytes_are_those_of_what_it_holds(replica: Replica) -> None:
    def size() -> int:
        return sum(len(v) for rows in replica.rows.values() for row in rows.values() for v in row.values())

    assert replica.bytes == size()
    step(replica, {"op": "update", "id": A, "v": 3, "row": {"sync_version": 3, "text": "longer"}})
    step(replica, {"op": "delete", "id": A, "v": 3})
    assert replica.bytes == size()


@pytest.mark.parametrize("text", [b"[", b'{"type":"changes"}', b'{"type":"pong","x":' + b"[" * 100 + b"]" * 100 + b"}"])
def test_what_cannot_be_read_is_told(replica: Replica, text: bytes) -> None:
    with pytest.raises(Unreadable):
        replica.receive(text)


def test_differences_are_named_by_scope_and_kind(replica: Replica) -> None:
    there: Rows = {
        "p:1": dict(rows_of(json.dumps(row(A, 1, text="a", x=1.5)).encode())),
        "p:3": dict(rows_of(json.dumps(row(B, 2, text="b")).encode())),
    }
    assert differences(replica.copy(), there) == [
        Difference("p:2", missing=[], extra=[B], differing=[]),
        Difference("p:3", missing=[B], extra=[], differing=[]),
    ]
    step(replica, {"op": "update", "id": A, "v": 1, "row": {"text": "A"}})
    assert differences(replica.copy(), there)[0] == Difference("p:1", missing=[], extra=[], differing=[A])


def test_an_update_of_a_row_that_was_never_told_is_a_difference(replica: Replica) -> None:
    step(replica, {"op": "update", "id": B, "v": 9, "row": {"sync_version": 9}})
    there = {"p:1": dict(rows_of(json.dumps(row(B, 9, text="b")).encode()))}
    assert differences({"p:1": replica.copy()["p:1"]}, there) == [Difference("p:1", [], [A], [B])]
