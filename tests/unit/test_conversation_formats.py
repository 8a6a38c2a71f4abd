"""Foreign files become conversations, or say where they do not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest

from conversations.formats import Conversation, Item, records
from conversations.formats.detect import conversations_of
from conversations.formats.records import read_records

USER = {"role": "user", "content": "Hi"}


def read(data: Any, suffix: str = "") -> list[Item]:
    """The items of a file that holds these bytes, this text, or this value as JSON."""
    source = data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode()
    return list(conversations_of(BytesIO(source), suffix))


def chat(*messages: Any, **more: Any) -> Conversation:
    """The one conversation of these messages."""
    [item] = read({"messages": list(messages), **more})
    assert item.conversation is not None, item.problem
    return item.conversation


def problem(data: Any) -> str:
    [item] = read(data)
    assert item.conversation is None
    return item.problem


# -- the file ---------------------------------------------------------------------------------------------------------

TWO = [{"id": "a", "messages": [USER]}, {"id": "b", "messages": [USER]}]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (json.dumps(TWO), [1, 1]),
        (json.dumps(TWO, indent=2), [2, 11]),
        ("\n\n" + json.dumps(TWO), [3, 3]),
        ("\ufeff" + json.dumps(TWO), [1, 1]),
        ("\n".join(map(json.dumps, TWO)), [1, 2]),
        ("\r\n".join(map(json.dumps, TWO)) + "\r\n\r\n", [1, 2]),
        ("[\n" + ",\n".join(map(json.dumps, TWO)) + "\n]", [2, 3]),
        ("\n".join(json.dumps(one["messages"]) for one in TWO), [1, 2]),
    ],
    ids=["list", "indented", "blank lines", "byte order mark", "lines", "windows lines", "list by lines", "bare lists"],
)
def test_every_arrangement_gives_the_same_conversations_and_their_lines(text: str, lines: list[int]) -> None:
    items = read(text)
    assert [item.line for item in items] == lines
    assert [item.number for item in items] == [1, 2]
    assert all(item.conversation and item.conversation.turns[0].content == "Hi" for item in items)


@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_or_one_list_of_messages_is_one_conversation(indent: int | None) -> None:
    [item] = read(json.dumps(TWO[0], indent=indent))
    assert item.conversation is not None
    [item] = read(json.dumps([USER, USER, USER], indent=indent))
    assert item.conversation is not None
    assert len(item.conversation.turns) == 3


def test_a_bad_line_is_told_and_the_next_ones_are_read() -> None:
    good = json.dumps(TWO[0])
    items = read(f"{good}\n{{broken\n\n{good}\n\udcff".encode("utf-8", "surrogateescape"))
    assert [(item.line, bool(item.conversation)) for item in items] == [(1, True), (2, False), (4, True), (5, False)]
    assert "not JSON" in items[1].problem
    assert "not UTF-8" in items[3].problem
    assert [bool(item.conversation) for item in read(f"{{broken\n{good}")] == [False, True]


def test_a_bad_element_of_a_list_is_told_and_the_next_ones_are_read() -> None:
    good = json.dumps(TWO[0])
    items = read(f"[{good}, {{'single': 1}},\n 7, {good}, ]")
    assert [(item.line, bool(item.conversation)) for item in items] == [
        (1, True),
        (1, False),
        (2, False),
        (2, True),
        (2, False),
    ]


@pytest.mark.parametrize(
    ("tail", "reason"),
    [("", "cut off"), ("] x", "follows the end"), ("]]", "follows the end"), ("],", "follows the end")],
)
def test_a_list_with_a_wrong_end_gives_what_came_before_it(tail: str, reason: str) -> None:
    items = read("[" + json.dumps(TWO[0]) + tail)
    assert reason in items[-1].problem
    assert tail == "" or items[0].conversation is not None


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_where_the_chunks_of_a_file_end_changes_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [{"a": 'br]ack{ets, "quo\\"tes\\\\"'}, [[], {}], "te,xt\\", 1.5, None, {"é": "\\u00e9"}]
    text = json.dumps(values, ensure_ascii=False, indent=1)
    monkeypatch.setattr(records, "CHUNK", chunk)
    found = list(read_records(BytesIO(text.encode())))
    assert [record.value for record in found] == values
    assert [record.problem for record in found] == [""] * len(values)
    assert [record.line for record in found] == [2, 5, 9, 10, 11, 12]


def test_no_record_may_be_larger_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD", 1 << 20)
    large, small = json.dumps({"messages": [{**USER, "content": "x" * (1 << 21)}]}), json.dumps(TWO[0])
    by_line = read(f"{large}\n{small}")
    assert [bool(item.conversation) for item in by_line] == [False, True]
    assert by_line[0].problem == "the record is larger than 1 MiB"
    assert "larger than 1 MiB" in read(f"[{small},{large},{small}]")[1].problem


def test_files_that_hold_nothing_or_something_else_do_not_crash() -> None:
    assert read(b"") == read(b"\n\n") == read("[]") == read(b"[ ]\n") == []
    assert "not in UTF-8" in problem(json.dumps(TWO).encode("utf-16"))
    assert "not JSON" in problem("hello")
    assert "neither messages nor a mapping" in problem({"hello": 1})
    assert "nested too deep" in problem("[" * 100_000 + "]" * 100_000)
    assert "nested too deep" in problem(
        '{"messages": [{"role": "user", "content": ' + "[" * 90_000 + "]" * 90_000 + "}]}"
    )
    assert "NaN is not JSON" in problem('{"messages": NaN}')


# -- OpenAI's format --------------------------------------------------------------------------------------------------


def test_results_of_tools_are_joined_to_their_calls() -> None:
    function = {"name": "look_up", "arguments": '{"id": 7}'}
    turns = chat(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": function},
            {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "ls -l"}},
        ]},
        {"role": "tool", "tool_call_id": "c2", "content": "a.py"},
        {"role": "tool", "tool_call_id": "c1", "content": '{"found": true}'},
        {"role": "tool", "tool_call_id": "lost", "content": "?"},
    ).turns  # fmt: skip
    assert turns[1].content == ""
    assert turns[1].tool_calls == [
        {"id": "c1", "name": "look_up", "arguments": {"id": 7}},
        {"id": "c2", "name": "run", "arguments": "ls -l"},
    ]
    assert turns[2].tool_results == [{"tool_call_id": "c2", "name": "run", "content": "a.py"}]
    assert turns[3].tool_results == [{"tool_call_id": "c1", "name": "look_up", "content": {"found": True}}]
    assert turns[4].tool_results == [{"tool_call_id": "lost", "name": "", "content": "?"}]
    assert [turn.parent for turn in turns] == [None, None, 1, 1, None]
    assert turns[3].content == '{"found": true}'


def test_the_older_form_of_calls_is_joined_by_name() -> None:
    turns = chat(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "not json"}},
        {"role": "assistant", "content": None, "function_call": {"name": "g", "arguments": "{}"}},
        {"role": "function", "name": "g", "content": "G"},
        {"role": "function", "name": "f", "content": "F"},
    ).turns
    assert turns[0].tool_calls == [{"id": "function_call_0", "name": "f", "arguments": "not json"}]
    assert [(turn.role, turn.parent, turn.tool_results[0]["tool_call_id"]) for turn in turns[2:]] == [
        ("tool", 1, "function_call_1"),
        ("tool", 0, "function_call_0"),
    ]


def test_parts_that_are_no_text_leave_a_mark_and_no_bytes() -> None:
    [turn] = chat({"role": "user", "content": [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "file", "file": {"filename": "plan.pdf", "file_data": "AAAA"}},
        "plain",
    ]}).turns  # fmt: skip
    assert turn.content == "Look:\n[image_url]\n[image_url]\n[plan.pdf]\nplain"
    assert "AAAA" not in repr(turn)
    assert turn.response_metadata["attachments"][0] == {"type": "image_url", "url": "https://example.org/cat.png"}


def test_names_models_times_and_tokens_are_kept() -> None:
    found = chat(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi", "name": "ada", "timestamp": "2024-05-01T10:00:00+02:00"},
        {
            "role": "assistant",
            "content": None,
            "refusal": "No.",
            "usage": {"completion_tokens": 9},
            "created": 1714550460,
        },
        model="gpt-4o",
        tools=[{"type": "function", "function": {"name": "f"}}, "odd"],
        created_at=1714550400000,
    )
    assert [turn.role for turn in found.turns] == ["system", "user", "assistant"]
    assert found.turns[1].response_metadata == {"name": "ada"}
    assert found.turns[1].created_at == datetime(2024, 5, 1, 8, tzinfo=UTC)
    assert (found.turns[2].content, found.turns[2].tokens, found.turns[2].model) == ("No.", 9, "gpt-4o")
    assert found.started_at == datetime(2024, 5, 1, 8, tzinfo=UTC)
    assert found.ended_at == datetime(2024, 5, 1, 8, 1, tzinfo=UTC)
    assert found.tools == ["f"]


def test_what_the_database_cannot_store_is_replaced() -> None:
    [turn] = chat(
        {"role": "assistant", "content": "a\x00b\ud800c", "tool_calls": [
            {"id": "\x00", "function": {"name": "f\x00", "arguments": '{"k\\u0000": "\\ud800", "n": 1e999}'}},
            {"id": "2", "function": {"name": "f", "arguments": '{"k\\u0000": "\\ud800"}'}},
        ]},
        id="x\x00",
    ).turns  # fmt: skip
    assert turn.content == "a\ufffdb\ufffdc"
    assert turn.tool_calls[1]["arguments"] == {"k\ufffd": "\ufffd"}
    assert turn.tool_calls[0] == {"id": "\ufffd", "name": "f\ufffd", "arguments": '{"k\\u0000": "\\ud800", "n": 1e999}'}


def test_the_key_is_the_sources_id_else_the_content() -> None:
    assert chat(USER, id="x").key == chat(USER, USER, id="x").key == "openai:x"
    assert chat(USER, id="x").digest != chat(USER, USER, id="x").digest
    assert chat(USER, id=5).key == "openai:5"
    assert chat(USER).key == chat(USER).key != chat(USER, USER).key
    assert len(chat(USER, id="x" * 5000).key) < 200
    assert chat(USER, id="x" * 5000).key != chat(USER, id="x" * 5001).key


def test_the_title_is_the_given_one_else_the_first_words_of_the_user() -> None:
    assert chat(USER, title=" My\n chat ").title == "My chat"
    assert chat({"role": "system", "content": "You are"}, {"role": "user", "content": "A\n\nb" + " c" * 99}).title == (
        "A b" + " c" * 38 + "…"
    )
    assert chat({"role": "assistant", "content": None}).title == ""
    assert len(chat(USER, title="x" * 900).title) == 500


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": []}, "messages is empty"),
        ({"messages": "Hi"}, 'messages is no list: "Hi"'),
        ({"messages": [USER, 7]}, "messages[1] is no object: 7"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role is not one of"),
        ({"messages": [{"role": ["user"], "content": ""}]}, "messages[0].role is not one of"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content is neither text nor a list of parts: 7"),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content[0] is no part"),
        ({"messages": [{"role": "assistant", "tool_calls": {}}, {"role": "assistant", "tool_calls": 7}]}, "no list: 7"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0] names no function"),
        ({"messages": [{**USER, "timestamp": "soon"}]}, 'messages[0].timestamp is no point in time: "soon"'),
        ({"messages": [{**USER, "created_at": 1e30}]}, "messages[0].created_at is no point in time"),
        ({"messages": [{**USER, "content": "x" * 1_000_001}]}, "has 1,000,001 characters"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(record: Any, reason: str) -> None:
    assert reason in problem(record)


# -- the export of ChatGPT --------------------------------------------------------------------------------------------


def node(name: str, parent: str | None, role: str = "user", *parts: Any, **more: Any) -> dict[str, Any]:
    content = more.pop("content", {"content_type": "text", "parts": list(parts)})
    author = {"role": role, "name": more.pop("tool", None)}
    message = {"id": name, "author": author, "content": content, "metadata": {}, "recipient": "all", **more}
    return {"id": name, "parent": parent, "message": message}


def export(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    mapping = {"root": {"id": "root", "parent": None, "message": None}, **{one["id"]: one for one in nodes}}
    return {"title": "T", "create_time": 1714550400.5, "mapping": mapping, "conversation_id": "cid", **more}


def exported(*nodes: dict[str, Any], **more: Any) -> Conversation:
    [item] = read([export(*nodes, **more)])
    assert item.conversation is not None, item.problem
    return item.conversation


def test_the_current_path_is_followed_and_other_branches_are_left() -> None:
    found = exported(
        node("sys", "root", "system", ""),
        node("q", "sys", "user", "Question", create_time=1714550401),
        node("old", "q", "assistant", "First answer", create_time=1714550402),
        node("new", "q", "assistant", "Second answer", metadata={"model_slug": "gpt-4o"}),
        node("end", "new", "user", "Thanks", create_time=1714550403),
        current_node="end",
    )
    assert [turn.content for turn in found.turns] == ["Question", "Second answer", "Thanks"]
    assert (found.title, found.key, found.model) == ("T", "chatgpt:cid", "gpt-4o")
    assert found.started_at == datetime(2024, 5, 1, 8, 0, 0, 500_000, tzinfo=UTC)
    assert [turn.created_at.second for turn in found.turns if turn.created_at] == [1, 1, 3]


def test_without_a_current_node_the_newest_leaf_ends_the_path() -> None:
    nodes = [
        node("q", "root", "user", "Q", create_time=1),
        node("a", "q", "assistant", "A", create_time=9),
        node("b", "q", "assistant", "B", create_time=5),
    ]
    assert [turn.content for turn in exported(*nodes).turns] == ["Q", "A"]


def test_multimodal_parts_code_and_thoughts_become_text() -> None:
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1", "width": 3}
    found = exported(
        node("1", "root", "user", picture, "What is it?", content_type="multimodal_text"),
        node("2", "1", "user", {"content_type": "audio_transcription", "text": "said aloud"}),
        node("3", "2", "assistant", content={"content_type": "thoughts", "thoughts": [{"content": "hm"}]}),
        node("4", "3", "assistant", recipient="python", content={"content_type": "code", "text": "1 + 1"}),
        node("5", "4", "tool", tool="python", content={"content_type": "execution_output", "text": "2"}),
        current_node="5",
    ).turns
    assert [turn.content for turn in found] == [
        "[image_asset_pointer]\nWhat is it?",
        "said aloud",
        "hm",
        "1 + 1",
        "2",
    ]
    assert found[0].response_metadata["attachments"][0]["url"] == "file-service://file-1"
    assert found[3].tool_calls == [{"id": "4", "name": "python", "arguments": "1 + 1"}]
    assert found[4].tool_results == [{"tool_call_id": "4", "name": "python", "content": "2"}]
    assert found[4].parent == 3


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"mapping": {}}, "mapping is no tree of messages"),
        (export(node("a", "gone", "user", "x"), current_node="a"), 'mapping has no node "gone"'),
        (export(node("a", "b", "user", "x"), node("b", "a", "user", "y"), current_node="a"), "runs in a circle"),
        ({"mapping": {"a": {"parent": "a"}}}, "it has no last node"),
        (export(current_node="root"), "no message on the current path has any content"),
        (export(node("a", "root", "robot", "x"), current_node="a"), 'mapping["a"].message.author.role'),
        (export(node("a", "root", "user", 7), current_node="a"), 'mapping["a"].message.content.parts[0] is no part'),
        (export(node("a", "root", "user", "x", create_time="x"), current_node="a"), "create_time is no point in time"),
    ],
)
def test_a_broken_export_is_told_with_its_place(record: Any, reason: str) -> None:
    assert reason in problem([record])
