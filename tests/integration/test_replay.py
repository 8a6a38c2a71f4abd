"""`replay_conversations`: message by message, at a steady rate, and clean when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import time
from io import StringIO
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from conversations import replaying
from conversations.models import Message, Session
from conversations.signals import message_added
from projects.models import Project
from tests.factories.accounts import UserFactory

pytestmark = pytest.mark.django_db

FAST = 10_000


def chat(number: int, turns: int = 4) -> dict[str, Any]:
    roles = ["user", "assistant"]
    return {
        "id": str(number),
        "messages": [{"role": roles[at % 2], "content": f"{number}.{at}"} for at in range(turns)],
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps(chat(number)) for number in range(3)))
    return path


@pytest.fixture
def alice() -> Any:
    return UserFactory(email="alice@example.org", is_staff=True)


def run(path: Path, **options: Any) -> str:
    out = StringIO()
    call_command("replay_conversations", str(path), stdout=out, **{"rate": FAST, **options})
    return out.getvalue()


def test_every_message_is_written_now_into_new_sessions_each_time(path: Path, alice: Any) -> None:
    began = timezone.now()
    assert "wrote 12 messages into 3 sessions" in run(path, user="alice@example.org")
    run(path)
    assert Session.objects.count() == 6
    assert set(Session.objects.values_list("status", "import_key")) == {("completed", "")}
    assert not Message.objects.filter(created_at__lt=began).exists()
    assert list(Session.objects.values_list("total_messages", flat=True)) == [4] * 6
    assert Session.objects.filter(user=alice, duration__isnull=False).count() == 6


def test_results_answer_the_calls_of_the_new_session(tmp_path: Path, alice: Any) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ]
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"messages": messages}))
    run(path)
    first, second = Message.objects.order_by("sequence_number")
    assert second.parent == first
    assert second.tool_results == [{"tool_call_id": "c", "name": "f", "content": "done"}]


def test_sessions_in_parallel_take_turns(path: Path, alice: Any) -> None:
    run(path, sessions=2)
    by_time = Message.objects.order_by("sync_version").values_list("content", flat=True)
    assert list(by_time) == [
        *("0.0", "1.0", "0.1", "1.1", "0.2", "1.2", "0.3", "1.3"),
        *("2.0", "2.1", "2.2", "2.3"),
    ]


def test_a_limit_ends_the_run_and_pauses_what_is_unfinished(path: Path, alice: Any) -> None:
    assert "wrote 6 messages into 2 sessions" in run(path, limit=6)
    assert list(Session.objects.order_by("created_at").values_list("status", flat=True)) == ["completed", "paused"]


def test_the_project_is_made_and_the_log_names_the_command(path: Path, alice: Any) -> None:
    run(path, project="Load", limit=2)
    project = Project.objects.get(owner=alice, name="Load")
    assert set(Message.objects.values_list("scope", flat=True)) == {f"p:{project.pk}"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT user_id, origin FROM sync_events WHERE table_name = 'messages' AND op = 'I'")
        assert cursor.fetchall() == [(alice.pk, "command replay_conversations")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_message_at_hand(path: Path, alice: Any, number: signal.Signals) -> None:
    seen: list[Message] = []

    def interrupt(message: Message, **_: Any) -> None:
        seen.append(message)
        if len(seen) == 2:
            os.kill(os.getpid(), number)

    message_added.connect(interrupt)
    with pytest.MonkeyPatch.context() as patch:
        # The test's own transaction never commits: tell at once.
        patch.setattr(replaying, "announce", lambda signal, sender, **facts: signal.send(sender=sender, **facts))
        # Slow, so that only the signal can end the run before the timeout.
        began = time.monotonic()
        assert "wrote 2 messages into 1 sessions" in run(path, rate=5, limit=1000)
    assert time.monotonic() - began < 2
    assert Session.objects.get().status == "paused"
    assert Message.objects.count() == 2


def test_bad_records_are_told_and_the_rest_is_written(path: Path, alice: Any) -> None:
    path.write_text(json.dumps(chat(1)) + "\n{\n" + json.dumps(chat(2)))
    err = StringIO()
    with pytest.raises(CommandError, match="1 could not be replayed"):
        run(path, stderr=err)
    assert f"{path}:2: conversation 2: not JSON" in err.getvalue()
    assert Message.objects.count() == 8


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"rate": 0}, "--rate must be above 0"),
        ({"rate": float("nan")}, "--rate must be above 0"),
        ({"sessions": 0}, "must be at least 1"),
        ({"limit": 0}, "must be at least 1"),
        ({"user": "eve@example.org"}, "there is no user"),
        ({}, "there is no active staff user"),
    ],
)
def test_nonsense_is_refused(path: Path, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        run(path, **options)


def test_the_clock_keeps_its_rate_and_makes_up_for_a_short_delay_only() -> None:
    clock, stop = replaying.Clock(rate=100), Event()
    began = time.monotonic()
    for beat in range(21):
        assert clock.wait(stop)
        if beat == 5:
            time.sleep(0.05)  # a writer that is slow once
    assert 0.2 <= time.monotonic() - began < 0.5


def test_the_clock_begins_anew_after_a_long_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(replaying.time, "monotonic", lambda: now[0])
    waits: list[float] = []

    class Stop(Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            now[0] += timeout or 0.0
            return False

    clock = replaying.Clock(rate=10)
    clock.wait(Stop())
    now[0] += 30
    for _ in range(3):
        clock.wait(Stop())
    assert waits == pytest.approx([0, 0, 0.1, 0.1])


def test_the_clock_stops_when_asked_to() -> None:
    clock, stop = replaying.Clock(rate=0.01), Event()
    assert clock.wait(stop)
    stop.set()
    assert not clock.wait(stop)
