"""Frames: the golden ones of tests/protocol, which the browser client's tests read too, and what lies around them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing import exceptions, filters, frames, protocol, steps
from syncing.cursor import Cursor
from syncing.exceptions import BadFrame, SyncError
from syncing.matching import encode_change
from syncing.packets import Block
from syncing.protocol import BadMember, UnreadableFrame
from syncing.shapes import Shape
from tests.checksums import values_of, versions_of

GOLDEN = [json.loads(path.read_text()) for path in sorted((Path(__file__).parent.parent / "protocol").glob("*.json"))]
ROW = UUID("0192f0c0-1111-7222-8333-444455556666")
CURSOR = Cursor(4712, "9f31c02b7d5e8a64")


def golden(direction: str, *, valid: bool) -> list[Any]:
    chosen = [case for case in GOLDEN if case["direction"] == direction and case["valid"] is valid]
    assert chosen
    return [pytest.param(case, id=case["name"]) for case in chosen]


def text_of(case: dict[str, Any]) -> str:
    text: str = case["text"] if "text" in case else json.dumps(case["frame"])
    return text


def test_every_type_of_frame_has_a_golden_one() -> None:
    seen = {(case["direction"], case["frame"]["type"]) for case in GOLDEN if case["valid"]}
    client = {("client", name) for name in protocol.CLIENT_TYPES}
    assert seen == client | {("server", name) for name in protocol.SERVER_TYPES}


@pytest.mark.parametrize("case", golden("client", valid=True))
def test_a_client_frame_is_read_with_all_its_members(case: dict[str, Any]) -> None:
    frame = protocol.parse(text_of(case))
    again = json.loads(protocol.encode(frame))
    assert again.items() <= case["frame"].items()
    assert case["frame"].keys() - again.keys() <= {"color"}, "only unknown members are dropped"


@pytest.mark.parametrize("case", golden("server", valid=True))
def test_a_server_frame_is_read_and_written_member_for_member(case: dict[str, Any]) -> None:
    frame = protocol.parse_server(text_of(case))
    written = protocol.encode(frame)
    assert json.loads(written) == case["frame"]
    assert list(json.loads(written)) == list(case["frame"]), "members are written in the order of the protocol"


def test_the_golden_sums_are_those_of_the_golden_rows() -> None:
    case = json.loads((Path(__file__).parent.parent / "protocol" / "checksums" / "rows.json").read_text())
    rows, types = case["rows"], case["types"]
    assert case["sum"] == {"rows": len(rows), "versions": versions_of(rows), "values": values_of(rows, types)}


@pytest.mark.parametrize("case", golden("client", valid=False))
def test_a_bad_client_frame_is_told_by_what_the_server_must_do(case: dict[str, Any]) -> None:
    error = case["error"]
    expected = UnreadableFrame if "close" in error else BadMember
    with pytest.raises(BadFrame) as refused:
        protocol.parse(text_of(case))
    assert type(refused.value) is expected
    assert refused.value.code == error["code"]
    if isinstance(refused.value, BadMember):
        assert refused.value.ref == error.get("ref")
        assert error["path"] == "$" or f"at `{error['path']}`" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"a":' * 200_000 + "1" + "}" * 200_000,
        '{"type":"mutate","mutations":[' + "[" * 100_000,
        '{"type":"pang","x":' + "[" * 5_000 + "]" * 5_000 + "}",
        '{"type":"pang","x":' + '[{"a":' * 500 + "1" + "}]" * 500 + "}",
        '"' * 1_000_001,
        '"\\' * 500_000,
        "\ud800",
        b"\xff\xfe\x00",
        b"\x00",
    ],
    ids=["open", "objects", "in a frame", "closed", "mixed", "quotes", "backslashes", "surrogate", "bytes", "nul"],
)
def test_a_bomb_is_an_unreadable_frame_and_costs_little(text: str | bytes) -> None:
    begun = time.process_time()
    with pytest.raises(UnreadableFrame):
        protocol.parse(text)
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("levels", [65, 900, 200_000])
def test_a_known_frame_that_is_nested_too_deeply_is_answered_by_an_error(levels: int) -> None:
    where = '{"not":' * levels + "{}" + "}" * levels
    deep = f'{{"id":"deep","table":"memory","where":{where}}}'
    with pytest.raises(BadMember, match="at most 64 levels") as refused:
        protocol.parse(f'{{"type":"subscribe","subscriptions":[{deep}]}}')
    assert refused.value.ref == "deep"
    if levels < 1000:  # deeper than that, no decoder finds the others of its frame
        frame, errors = protocol.parse_each(
            f'{{"type":"subscribe","subscriptions":[{{"id":"good","table":"memory"}},{deep}]}}'
        )
        assert isinstance(frame, frames.Subscribe)
        assert [one.id for one in frame.subscriptions] == ["good"]
        assert [error.ref for error in errors] == ["deep"]


def test_brackets_in_strings_and_side_by_side_are_not_depth() -> None:
    text = json.dumps({"type": "ping", "x": ["[{" * 1_000 + '"\\"', *([[]] * 1_000)]})
    assert protocol.parse(text) == frames.Ping()
    assert protocol.parse('{"type":"ping","x":' + "[" * 63 + "]" * 63 + "}") == frames.Ping()


def test_a_large_frame_of_many_mutations_is_read() -> None:
    mutation = {"id": str(ROW), "table": "memory", "op": "update", "row": str(ROW), "base": 1, "values": {"a": [{}]}}
    frame = protocol.parse(json.dumps({"type": "mutate", "mutations": [mutation] * 1_000}))
    assert isinstance(frame, frames.Mutate)
    assert len(frame.mutations) == 1_000


@pytest.mark.parametrize("atomic", [False, True])
def test_a_mutation_that_cannot_be_read_leaves_the_others_alone_unless_they_are_a_group(atomic: bool) -> None:
    good = {"id": str(ROW), "table": "memory", "op": "delete", "row": str(ROW), "base": 1}
    bad = {"id": "bad", "table": "memory", "op": "delete", "row": 5}
    text = json.dumps({"type": "mutate", "mutations": [good, bad], "atomic": atomic})
    frame, errors = protocol.parse_each(text)
    assert isinstance(frame, frames.Mutate)
    assert [one.id for one in frame.mutations] == ([] if atomic else [ROW])
    assert [error.ref for error in errors] == ["bad"]
    assert "`$.mutations[1]" in str(errors[0])


@given(st.text() | st.binary())
def test_whatever_is_sent_is_a_frame_or_a_bad_frame(text: str | bytes) -> None:
    with pytest.raises(BadFrame):
        protocol.parse(text)


def test_a_long_value_does_not_come_back_in_the_message() -> None:
    with pytest.raises(BadMember) as refused:
        protocol.parse(json.dumps({"type": "resolve", "id": str(ROW), "conflict": str(ROW), "strategy": "x" * 100_000}))
    assert len(str(refused.value)) <= 300


def test_mutations_over_http_are_read_alike() -> None:
    request = {"client": str(ROW), "mutations": [{"id": str(ROW), "table": "memory", "op": "delete", "row": str(ROW)}]}
    assert protocol.parse_mutations(json.dumps(request).encode()).mutations[0].op == "delete"
    with pytest.raises(BadMember) as refused:
        protocol.parse_mutations(json.dumps({**request, "mutations": [{"id": "m1"}]}).encode())
    assert refused.value.ref == "m1"
    with pytest.raises(UnreadableFrame):
        protocol.parse_mutations(b"[]")


def test_rows_go_into_frames_as_the_database_spelled_them() -> None:
    spelled = b'{"b": 1.50,   "a":"\\u00e9", "n": 1e400}'
    shape = Shape("messages", filters.parse({}, {}), ("id",), "fingerprint", "h1")
    changes = [encode_change("insert", str(ROW), 11, spelled), encode_change("delete", str(ROW), 12)]
    part = steps.encode_part(shape, "public", changes)
    text = protocol.encode_changes(CURSOR, [part, part])
    assert text.count(spelled) == 2
    frame = protocol.parse_server(text)
    assert isinstance(frame, frames.Changes)
    assert [type(change) for change in frame.parts[1].changes] == [frames.Insert, frames.Delete]
    snapshot = steps.rows_packet("h1", 7, "public", Block(spelled + b",{}")).text
    assert snapshot == b'{"type":"snapshot","shape":"h1","n":7,"scope":"public","rows":[' + spelled + b",{}]}"


def test_absent_members_of_changes_are_left_out_and_present_ones_are_not() -> None:
    assert json.loads(protocol.encode_changes(CURSOR)) == {"type": "changes", "cursor": str(CURSOR), "parts": []}
    text = protocol.encode_changes(
        CURSOR, staging=["a"], lost=["b"], gained=["c"], ready=[frames.Ready(shape="h", n=1)], more=True
    )
    assert json.loads(text) == {
        "type": "changes",
        "cursor": str(CURSOR),
        "staging": ["a"],
        "lost": ["b"],
        "gained": ["c"],
        "parts": [],
        "ready": [{"shape": "h", "n": 1}],
        "more": True,
    }


def test_what_has_no_place_in_a_frame_is_not_written() -> None:
    with pytest.raises(NotImplementedError):
        protocol.encode(frames.Pong(cursor=object()))  # type: ignore[arg-type]


def test_every_error_has_a_code_of_the_protocol() -> None:
    family = [error for error in vars(exceptions).values() if isinstance(error, type) and issubclass(error, SyncError)]
    assert {error.code for error in family} <= set(frames.ErrorCode)


class TestCursor:
    @given(st.integers(0, 2**53 - 1), st.integers(0, 2**64 - 1))
    def test_it_is_read_as_it_was_written(self, checkpoint: int, mark: int) -> None:
        cursor = Cursor(checkpoint, f"{mark:016x}")
        assert Cursor.parse(str(cursor)) == cursor
        assert hash(Cursor.parse(str(cursor))) == hash(cursor)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "4712",
            "4712.",
            ".9f31c02b7d5e8a64",
            "-1.9f31c02b7d5e8a64",
            "+1.9f31c02b7d5e8a64",
            "01.9f31c02b7d5e8a64",
            "1_0.9f31c02b7d5e8a64",
            " 1.9f31c02b7d5e8a64",
            "1.9f31c02b7d5e8a64\n",
            "1.9F31C02B7D5E8A64",
            "1.9f31c02b7d5e8a6",
            "1.9f31c02b7d5e8a645",
            "١.9f31c02b7d5e8a64",
            "9007199254740992.9f31c02b7d5e8a64",
            "9" * 5_000 + ".9f31c02b7d5e8a64",
        ],
    )
    def test_no_other_spelling_is_a_cursor(self, text: str) -> None:
        with pytest.raises(BadFrame):
            Cursor.parse(text)

    def test_it_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            CURSOR.checkpoint = 1  # type: ignore[misc]

    def test_frames_carry_it_as_a_string(self) -> None:
        assert msgspec.json.decode(protocol.encode(frames.Pong(cursor=CURSOR)))["cursor"] == "4712.9f31c02b7d5e8a64"
