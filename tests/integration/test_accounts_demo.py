"""The demo is made once, is whole, and running it again changes nothing."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from conversations.models import Message, Session
from memory.models import Memory
from projects.models import Collaborator, Project
from tests.connections import at_once

pytestmark = pytest.mark.django_db


def seed() -> str:
    out = StringIO()
    call_command("seed_demo", stdout=out)
    return out.getvalue()


def events() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sync_events")
        return int(cursor.fetchone()[0])


def test_the_demo_is_whole() -> None:
    assert "2 projects, 3 agents, 5 sessions" in seed()
    assert {user.email for user in User.objects.all()} == {f"{name}@example.com" for name in ("alice", "bob", "vera")}
    assert not any(user.has_usable_password() for user in User.objects.all())
    assert Project.objects.count() == 2
    assert (
        sum(project.total_sessions for project in Project.objects.all())
        == Session.objects.exclude(project=None).count()
    )
    assert {session.status for session in Session.objects.all()} == {"active", "paused", "completed", "error"}
    assert Message.objects.exclude(tool_calls=[]).exists()
    assert Message.objects.exclude(tool_results=[]).exists()
    assert Memory.objects.count() == 4
    vera = User.objects.by_email("vera@example.com")
    assert vera is not None
    assert Session.objects.visible_to(vera).count() == 2
    assert all(session.duration for session in Session.objects.filter(status="completed"))


def test_running_it_again_changes_nothing() -> None:
    first = seed()
    before = events()
    assert seed() == first
    assert events() == before


def test_what_people_changed_in_the_demo_stays() -> None:
    seed()
    Collaborator.objects.filter(user__email="vera@example.com").update(role="editor")
    Project.objects.filter(name="Billing service").update(description="Ours now.")
    seed()
    assert Collaborator.objects.get(user__email="vera@example.com").role == "editor"
    assert Project.objects.get(name="Billing service").description == "Ours now."


def test_the_log_says_where_it_came_from() -> None:
    seed()
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT origin FROM sync_events WHERE op <> 'R'")
        assert cursor.fetchall() == [("command seed_demo",)]


@pytest.mark.django_db(transaction=True)
def test_two_at_once_make_one_demo() -> None:
    at_once(seed, seed)
    assert (User.objects.count(), Project.objects.count(), Session.objects.count()) == (3, 2, 5)
