"""Memories: verbs, versions, rules, search, sweep."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from memory import services
from memory.models import Memory
from memory.rules import AlreadyRevised, BadImportance, BelongsToNothing, NoKey, UnknownType
from memory.signals import memories_expired, memory_remembered, memory_revised
from syncing import RuleBroken, translated
from tests.factories.accounts import UserFactory
from tests.factories.conversations import SessionFactory
from tests.factories.memory import MemoryFactory
from tests.factories.projects import ProjectFactory

pytestmark = pytest.mark.django_db


def sql(statement: str, *params: Any) -> None:
    """What psql would do."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def test_a_plain_sql_insert_gets_every_default_and_its_scope() -> None:
    session = SessionFactory(project=ProjectFactory())
    sql("INSERT INTO memory (key, type, session_id) VALUES ('goal', 'session_context', %s)", session.pk)
    memory = Memory.objects.get()
    assert (memory.importance, memory.frequency, memory.version, memory.tags, memory.content) == (5, 0, 1, [], {})
    assert memory.scope == session.scope


def test_verbs_find_by_key_type_and_owner() -> None:
    user, project, session = UserFactory(), ProjectFactory(), SessionFactory()
    of_user = MemoryFactory(user=user, key="tone")
    of_project = MemoryFactory(user=None, project=project, type=Memory.Type.PROJECT_STATE)
    of_session = MemoryFactory(user=None, session=session, type=Memory.Type.SESSION_CONTEXT)
    assert list(Memory.objects.by_key("tone")) == [of_user]
    assert list(Memory.objects.by_type("project_state")) == [of_project]
    assert list(Memory.objects.by_user(user)) == [of_user]
    assert list(Memory.objects.by_project(project)) == [of_project]
    assert list(Memory.objects.by_session(session)) == [of_session]
    assert list(Memory.objects.visible_to(project.owner)) == [of_project]
    assert list(Memory.objects.visible_to(session.user)) == [of_session]


def test_tags_are_asked_for_any_and_for_all() -> None:
    both, one = MemoryFactory(tags=["python", "style"]), MemoryFactory(tags=["python"])
    MemoryFactory(tags=[])
    assert set(Memory.objects.with_any_tag(["python", "style"])) == {both, one}
    assert list(Memory.objects.with_all_tags(["style", "python"])) == [both]
    assert list(Memory.objects.with_any_tag([])) == []


def test_importance_has_a_minimum_and_an_order() -> None:
    seven, ten = MemoryFactory(importance=7), MemoryFactory(importance=10)
    MemoryFactory(importance=6)
    assert list(Memory.objects.important()) == [ten, seven]
    assert list(Memory.objects.important(8)) == [ten]


def test_reading_is_counted_and_dated() -> None:
    memory = services.recall(services.recall(MemoryFactory()))
    assert memory.frequency == 2
    assert memory.last_accessed_at is not None
    MemoryFactory()
    assert Memory.objects.all().count_access() == 2
    assert Memory.objects.stats()["reads"] == 4


def test_remembering_the_same_key_makes_a_new_version(django_capture_on_commit_callbacks: Any) -> None:
    heard: list[str] = []

    def remembered(**_: Any) -> None:
        heard.append("remembered")

    def revised(**_: Any) -> None:
        heard.append("revised")

    memory_remembered.connect(remembered)
    memory_revised.connect(revised)
    user = UserFactory()
    with django_capture_on_commit_callbacks(execute=True):
        first = services.remember("editor", "user_preference", {"is": "vim"}, user=user, importance=9, tags=["tools"])
        second = services.remember("editor", "user_preference", {"is": "helix"}, user=user)
    assert (second.version, second.previous_version) == (2, first)
    assert (second.importance, second.tags, second.content) == (9, ["tools"], {"is": "helix"})
    assert list(Memory.objects.by_user(user).current()) == [second]
    assert services.history(second) == [second, first]
    assert heard == ["remembered", "revised"]


def test_the_same_key_of_another_owner_or_type_is_another_memory() -> None:
    user, project = UserFactory(), ProjectFactory()
    services.remember("k", "user_preference", {}, user=user)
    services.remember("k", "agent_learning", {}, user=user)
    services.remember("k", "user_preference", {}, user=user, project=project)
    services.remember("k", "user_preference", {}, user=UserFactory())
    assert list(Memory.objects.values_list("version", flat=True)) == [1, 1, 1, 1]


def test_a_memory_is_revised_once() -> None:
    first = MemoryFactory()
    services.revise(first, summary="newer")
    with pytest.raises(AlreadyRevised):
        services.revise(first, summary="too late")


def test_a_version_outlives_the_one_before_it() -> None:
    first = MemoryFactory()
    second = services.revise(first, summary="newer")
    sql("DELETE FROM memory WHERE id = %s", first.pk)
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    second.refresh_from_db()
    assert (second.previous_version_id, second.version) == (None, 2)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"user": None}, BelongsToNothing),
        ({"importance": 11}, BadImportance),
        ({"importance": 0}, BadImportance),
        ({"type": "gossip"}, UnknownType),
        ({"key": ""}, NoKey),
    ],
)
def test_what_breaks_a_rule_is_told_by_name(values: dict[str, Any], error: type[RuleBroken]) -> None:
    user = UserFactory()
    with pytest.raises(error), translated():
        MemoryFactory(**{"user": user, **values})


def test_content_is_an_object() -> None:
    with pytest.raises(ValidationError, match=r"content: .* is not of type 'object'"):
        services.remember("k", "user_preference", ["a list"], user=UserFactory())  # type: ignore[arg-type]


def test_search_covers_key_summary_and_content() -> None:
    user = UserFactory()
    by_summary = MemoryFactory(user=user, key="a", summary="Prefers concise explanations", content={})
    by_content = MemoryFactory(user=user, key="b", summary="", content={"likes": "concise commits"})
    MemoryFactory(key="c", summary="concise, but somebody else's")
    assert list(Memory.objects.search("concise", user)) == [by_summary, by_content]
    assert list(Memory.objects.search("explenations", user)) == [by_summary]


def test_a_huge_memory_can_be_stored() -> None:
    words = {str(number): f"\U00020000{number:x}-{chr(0x4E00 + number % 20000)}" for number in range(60_000)}
    assert MemoryFactory(content=words, summary=" ".join(words.values())).pk


def test_what_is_over_is_not_alive_and_is_swept_in_batches(django_capture_on_commit_callbacks: Any) -> None:
    counted: list[int] = []

    def swept(count: int, **_: Any) -> None:
        counted.append(count)

    memories_expired.connect(swept)
    past, future = timezone.now() - timedelta(minutes=1), timezone.now() + timedelta(days=1)
    MemoryFactory.create_batch(5, expires_at=past)
    alive = {MemoryFactory(expires_at=future), MemoryFactory()}
    assert set(Memory.objects.alive()) == alive
    assert Memory.objects.expired().count() == Memory.objects.stats()["expired"] == 5
    out = StringIO()
    call_command("expire_memories", "--dry-run", stdout=out)
    assert "5 memories are over; nothing was deleted" in out.getvalue()
    assert Memory.objects.count() == 7
    with django_capture_on_commit_callbacks(execute=True):
        call_command("expire_memories", batch=2, stdout=out)
    assert "deleted 5 memories in all" in out.getvalue()
    assert set(Memory.objects.all()) == alive
    assert counted == [2, 2, 1]


def test_a_memory_can_be_ended_now() -> None:
    memory = services.expire(MemoryFactory())
    assert list(Memory.objects.expired()) == [memory]
