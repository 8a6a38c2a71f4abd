"""`import_conversations`: whole, once, and with every bad record told."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.signals import post_save

from conversations.models import Message, Session
from projects.models import Project
from tests.factories.accounts import UserFactory
from tests.factories.projects import ProjectFactory

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "airline_agent_chats.jsonl"

CHAT: dict[str, Any] = {
    "id": "weather-1",
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "You know the weather."},
        {"role": "user", "content": "Rain in Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": '{"rain": true}'},
        {"role": "assistant", "content": "Yes, take an umbrella."},
    ],
}
EXPORTED: dict[str, Any] = {
    "title": "Umbrellas",
    "create_time": 1714550400,
    "conversation_id": "7f0c",
    "current_node": "c",
    "mapping": {
        "a": {"parent": None, "message": None},
        "b": {
            "parent": "a",
            "message": {
                "author": {"role": "user"},
                "create_time": 1714550400,
                "content": {"content_type": "text", "parts": ["Which umbrella?"]},
            },
        },
        "c": {
            "parent": "b",
            "message": {
                "author": {"role": "assistant"},
                "create_time": 1714550460,
                "content": {"content_type": "text", "parts": ["A black one."]},
                "metadata": {"model_slug": "gpt-4o"},
            },
        },
    },
}


def numbered(number: int, **more: Any) -> dict[str, Any]:
    return {**CHAT, "id": f"chat-{number}", **more}


class Run:
    """One run of the command: its output, and its exit status."""

    def __init__(self, *files: Path, user: str = "alice@example.org", **options: Any) -> None:
        out, err = StringIO(), StringIO()
        self.status = 0
        try:
            call_command("import_conversations", *map(str, files), user=user, stdout=out, stderr=err, **options)
        except CommandError as error:
            self.status = error.returncode
            err.write(str(error))
        self.out, self.err = out.getvalue(), err.getvalue()


@pytest.fixture
def alice() -> Any:
    return UserFactory(email="alice@example.org")


def written(path: Path, *values: Any) -> Path:
    path.write_text("\n".join(value if isinstance(value, str) else json.dumps(value) for value in values))
    return path


def test_a_chat_is_imported_with_its_calls_results_and_order(tmp_path: Path, alice: Any) -> None:
    run = Run(written(tmp_path / "chats.jsonl", CHAT))
    assert (run.status, run.err) == (0, "")
    assert "imported 1 conversations with 5 messages, 0 known already, 0 bad" in run.out
    session = Session.objects.get()
    assert (session.user, session.title, session.status) == (alice, "Rain in Oslo?", "completed")
    assert (session.total_messages, session.metadata["model"]) == (5, "gpt-4o")
    messages = list(Message.objects.by_session(session))
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert [message.sequence_number for message in messages] == [1, 2, 3, 4, 5]
    assert messages[2].tool_calls == [{"id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}]
    assert messages[3].tool_results == [{"tool_call_id": "c1", "name": "weather", "content": {"rain": True}}]
    assert messages[3].parent == messages[2]


def test_the_times_of_an_export_are_kept(tmp_path: Path, alice: Any) -> None:
    assert Run(written(tmp_path / "conversations.json", [EXPORTED])).status == 0
    session, start = Session.objects.get(), datetime(2024, 5, 1, 8, tzinfo=UTC)
    assert (session.title, session.started_at, session.created_at) == ("Umbrellas", start, start)
    assert session.duration == timedelta(minutes=1)
    assert session.last_activity_at == session.ended_at == start + timedelta(minutes=1)
    assert list(session.messages.values_list("created_at", flat=True)) == [start, start + timedelta(minutes=1)]


def test_a_second_run_imports_nothing_twice_from_any_file(tmp_path: Path, alice: Any) -> None:
    one = written(tmp_path / "one.jsonl", CHAT, {"messages": CHAT["messages"]})
    other = written(tmp_path / "other.json", [CHAT, {"messages": CHAT["messages"]}])
    Run(one)
    run = Run(one, other)
    assert run.status == 0
    assert "imported 0 conversations with 0 messages, 4 known already, 0 bad" in run.out
    assert Session.objects.count() == 2


def test_the_same_conversation_belongs_to_each_user_once(tmp_path: Path, alice: Any) -> None:
    path, bob = written(tmp_path / "a.json", CHAT), UserFactory(email="bob@example.org")
    Run(path)
    Run(path, user="BOB@example.org")
    assert set(Session.objects.values_list("user", flat=True)) == {alice.pk, bob.pk}


def test_a_conversation_that_grew_since_is_told_and_stays(tmp_path: Path, alice: Any) -> None:
    Run(written(tmp_path / "a.json", CHAT))
    longer = {**CHAT, "messages": [*CHAT["messages"], {"role": "user", "content": "Thanks"}]}
    run = Run(written(tmp_path / "b.json", longer))
    assert run.status == 0
    assert "b.json:1: known already, but changed in its source" in run.err
    assert Message.objects.count() == 5


def test_bad_records_are_told_with_file_and_line_and_the_rest_is_imported(tmp_path: Path, alice: Any) -> None:
    bad = numbered(2, messages=[{"role": "robot", "content": "beep"}])
    path = written(tmp_path / "mixed.jsonl", numbered(1), "{", "", bad, numbered(3))
    run = Run(path)
    assert run.status == 1
    assert f"{path}:2: conversation 2: not JSON" in run.err
    assert f"{path}:4: conversation 3: messages[0].role is not one of" in run.err
    assert "imported 2 conversations with 10 messages, 0 known already, 2 bad" in run.out
    assert "2 could not be imported" in run.err


def test_what_the_database_refuses_leaves_nothing_of_its_conversation(tmp_path: Path, alice: Any) -> None:
    messages = [{"role": "user", "content": "x"}] * 600
    good, late = numbered(1, messages=messages), numbered(2, messages=messages)
    path = written(tmp_path / "a.jsonl", good, late, numbered(3))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                -- in the second INSERT statement of the conversation
                IF NEW.sequence_number = 560 AND EXISTS (
                    SELECT FROM sessions WHERE id = NEW.session_id AND import_key = 'openai:chat-2'
                ) THEN RAISE 'not this one' USING ERRCODE = 'data_exception'; END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER zz_refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse();
            """
        )
    run = Run(path)
    assert run.status == 1
    assert f"{path}:2: conversation 2: not this one" in run.err
    assert set(Session.objects.values_list("import_key", flat=True)) == {"openai:chat-1", "openai:chat-3"}
    assert Message.objects.count() == 605


def test_the_named_project_is_used_or_made(tmp_path: Path, alice: Any) -> None:
    foreign = ProjectFactory(name="Weather")
    Run(written(tmp_path / "a.jsonl", numbered(1), numbered(2)), project="Weather")
    Run(written(tmp_path / "b.jsonl", numbered(3)), project="Weather")
    project = Project.objects.get(owner=alice)
    assert (project.name, project.total_sessions) == ("Weather", 3)
    assert set(Message.objects.values_list("scope", flat=True)) == {f"p:{project.pk}"}
    assert foreign.sessions.count() == 0


def test_the_log_names_the_command_and_the_user(tmp_path: Path, alice: Any) -> None:
    Run(written(tmp_path / "a.json", CHAT))
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT user_id, origin FROM sync_events WHERE table_name = 'messages' AND op = 'I'")
        assert cursor.fetchall() == [(alice.pk, "command import_conversations")]


def test_a_wrong_user_or_file_is_refused_before_any_work(tmp_path: Path, alice: Any) -> None:
    good = written(tmp_path / "a.json", CHAT)
    assert "there is no user with the e-mail eve@example.org" in Run(good, user="eve@example.org").err
    assert "no such file" in Run(good, tmp_path / "gone.json").err
    assert Session.objects.count() == 0


def test_ctrl_c_ends_after_the_conversation_at_hand(tmp_path: Path, alice: Any) -> None:
    path = written(tmp_path / "a.jsonl", *map(numbered, range(5)))

    def interrupt(sender: type, instance: Session, **_: Any) -> None:
        if instance.import_key == "openai:chat-1":
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    post_save.connect(interrupt, sender=Session)
    try:
        run = Run(path)
    finally:
        post_save.disconnect(interrupt, sender=Session)
    assert run.status == 130
    assert "imported 2 conversations with 10 messages" in run.out
    assert signal.getsignal(signal.SIGINT) is before
    assert Run(path).status == 0
    assert Session.objects.count() == 5


@pytest.mark.skipif(not REAL.exists(), reason="the recorded conversations are not part of the repository")
def test_the_recorded_conversations_are_imported_whole(alice: Any) -> None:
    expected = [json.loads(line) for line in REAL.read_text().splitlines()]
    run = Run(REAL)
    assert (run.status, run.err) == (0, "")
    assert Session.objects.count() == len(expected)
    stats = Message.objects.stats()
    assert stats["messages"] == sum(len(chat["messages"]) for chat in expected)
    assert stats["tool_calls"] == sum(len(m.get("tool_calls") or ()) for chat in expected for m in chat["messages"])
    assert Message.objects.filter(role="tool", parent__isnull=True).count() == 0
    for chat in expected:
        stored = Message.objects.filter(session__import_key=f"openai:{chat['id']}").order_by("sequence_number")
        assert [m["content"] or "" for m in chat["messages"]] == list(stored.values_list("content", flat=True))
    assert Run(REAL).out.startswith("imported 0 conversations")
