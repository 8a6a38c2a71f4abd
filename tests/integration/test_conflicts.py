"""Two who write the same row: every case of the design's table, by rule and by strategy."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from pytest_django import Settings

from conversations.models import Message, Session
from memory.models import Memory
from projects.models import Collaborator, Project
from syncing.identity import uuid7
from syncing.models import SyncConflict, SyncEvent
from tests.cast import Cast
from tests.factories import AgentFactory, MemoryFactory, SessionFactory, UserFactory
from tests.writing import Device, code, conflict_of, mutation, row_of

pytestmark = pytest.mark.django_db


def memory(people: Cast, **values: Any) -> Memory:
    """A memory of the project, as bob's client knows it."""
    made = MemoryFactory(project=people.project, user=None, **values)
    made.refresh_from_db()
    return made


def session(people: Cast, **values: Any) -> Session:
    """A session of the project, as bob's client knows it; its strategy is `manual`."""
    made = SessionFactory(user=people.alice, project=people.project, **values)
    made.refresh_from_db()
    return made


def theirs(row: Any, **values: Any) -> None:
    """Somebody else writes meanwhile."""
    type(row)._base_manager.filter(pk=row.pk).update(**values)


def stored(row: Any) -> Any:
    """The row as it is now."""
    return type(row)._base_manager.get(pk=row.pk)


# -- what is no conflict -----------------------------------------------------------------------------------------------


def test_different_columns_are_merged(people: Cast, bob: Device) -> None:
    row = session(people, title="a")
    theirs(row, description="theirs")
    answer = bob.update(row, {"title": "mine"})
    assert (answer.result.status, answer.result.conflict) == ("merged", None)
    assert (stored(row).title, stored(row).description) == ("mine", "theirs")


def test_the_same_value_is_nothing_to_do(people: Cast, bob: Device) -> None:
    row = session(people, title="a")
    theirs(row, title="same")
    version = stored(row).sync_version
    answer = bob.update(row, {"title": "same"})
    assert (answer.result.status, answer.result.version, answer.xid) == ("applied", version, None)
    assert not SyncConflict.objects.exists()


def test_what_the_client_did_not_change_stays_theirs(people: Cast, bob: Device) -> None:
    row = session(people, title="a", description="d")
    theirs(row, title="theirs")
    answer = bob.update(row, {"title": "a", "status": "paused"})  # a form sends all that it shows
    assert answer.result.status == "merged"
    assert (stored(row).title, stored(row).status) == ("theirs", "paused")


@pytest.mark.parametrize(
    ("column", "base", "local", "remote", "merged"),
    [
        ("content", {"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 3, "c": 4}, {"a": 2, "b": 3, "c": 4}),
        ("tags", ["x", "y"], ["x", "y", "mine"], ["y", "theirs"], {"y", "mine", "theirs"}),
        ("summary", "one\ntwo\nthree\n", "ONE\ntwo\nthree\n", "one\ntwo\nTHREE\n", "ONE\ntwo\nTHREE\n"),
    ],
)
def test_a_declared_rule_merges_one_column(
    column: str, base: Any, local: Any, remote: Any, merged: Any, people: Cast, bob: Device
) -> None:
    row = memory(people, **{column: base})
    theirs(row, **{column: remote})
    answer = bob.update(row, {column: local})
    assert (answer.result.status, answer.result.conflict) == ("merged", None)
    value = getattr(stored(row), column)
    assert (set(value) if isinstance(merged, set) else value) == merged
    assert row_of(answer)["sync_version"] == stored(row).sync_version == answer.result.version


def test_own_earlier_writes_are_no_conflict_however_late_they_are_known(people: Cast, bob: Device) -> None:
    row = session(people, title="a")
    first = mutation("update", "sessions", row.pk, {"title": "first"}, base=row.sync_version)
    second = mutation("update", "sessions", row.pk, {"title": "second"}, base=row.sync_version)
    assert [bob.send(one).result.status for one in (first, second)] == ["applied", "applied"]
    assert stored(row).title == "second"


def test_an_own_later_write_is_not_undone_by_an_earlier_one_that_comes_late(people: Cast, bob: Device) -> None:
    row = session(people, title="a")
    early = mutation("update", "sessions", row.pk, {"title": "early"}, base=row.sync_version, id=_id_before())
    late = mutation("update", "sessions", row.pk, {"title": "late"}, base=row.sync_version)
    assert bob.send(late).result.status == "applied"
    assert bob.send(early).result.status == "conflict"
    assert stored(row).title == "late"


def _id_before() -> str:
    """An id that was minted a minute ago."""
    now = uuid7().int
    return str(UUID(int=now - (60_000 << 80)))


def test_another_device_of_the_same_person_is_somebody_else(people: Cast, bob: Device) -> None:
    row = session(people, title="a")
    assert Device(people.bob).update(row, {"title": "phone"}).result.status == "applied"
    assert bob.update(row, {"title": "laptop"}).result.status == "conflict"


# -- one column, two values: by strategy -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "status", "title", "description"),
    [
        ("local_wins", "applied", "mine", "mine too"),
        ("remote_wins", "merged", "theirs", ""),
        ("merge", "merged", "theirs", "mine too"),
        ("manual", "conflict", "theirs", ""),
        (None, "conflict", "theirs", ""),  # what sessions declare is manual
    ],
)
def test_a_dispute_is_settled_by_the_strategy_and_always_kept(
    strategy: str | None, status: str, title: str, description: str, people: Cast, bob: Device
) -> None:
    row = session(people, title="a")
    theirs(row, title="theirs", status="paused")
    chosen = {} if strategy is None else {"strategy": strategy}
    answer = bob.update(row, {"title": "mine", "description": "mine too"}, **chosen)
    assert answer.result.status == status
    now = stored(row)
    assert (now.title, now.description, now.status) == (title, description, "paused")
    kept = conflict_of(answer)
    assert (kept.type, kept.fields, kept.operation, kept.strategy) == (
        "same_column",
        ["title"],
        "update",
        strategy or "manual",
    )
    assert kept.local == {"title": "mine", "description": "mine too"}
    assert kept.base == {"title": "a", "description": ""}
    assert kept.remote == {"title": "theirs", "description": ""}
    assert (kept.user, kept.client, kept.mutation) == (people.bob, bob.client, answer.result.id)
    assert kept.scope == f"u:{people.bob.pk}"
    if status == "conflict":
        assert (kept.status, kept.resolution, kept.resolved_at) == ("open", None, None)
    else:
        assert (kept.status, kept.resolution) == ("resolved", strategy)
        assert kept.resolved_at is not None
    assert row_of(answer)["title"] == title


def test_rules_that_cannot_merge_leave_it_to_the_strategy(people: Cast, bob: Device) -> None:
    row = memory(people, content={"a": 1})
    theirs(row, content={"a": 2})
    answer = bob.update(row, {"content": {"a": 3}, "importance": 9})
    assert answer.result.status == "merged"  # memory declares `merge`: theirs for what cannot be merged
    assert (stored(row).content, stored(row).importance) == ({"a": 2}, 9)
    assert conflict_of(answer).fields == ["content"]


def test_where_the_operator_wants_people_to_decide_every_conflict_waits(
    people: Cast, bob: Device, settings: Settings
) -> None:
    settings.SYNC_AUTO_RESOLVE = False
    row = memory(people, importance=1)
    theirs(row, importance=2)
    answer = bob.update(row, {"importance": 3}, strategy="local_wins")
    assert answer.result.status == "conflict"
    assert stored(row).importance == 2
    theirs(row, summary="theirs")
    assert bob.update(row, {"key": "renamed"}).result.status == "merged", "what is no conflict is merged as ever"


def test_a_base_that_the_log_has_lost_is_a_dispute_and_said_to_be_unknown(people: Cast, bob: Device) -> None:
    row = session(people, title="a", description="d")
    theirs(row, title="theirs")
    theirs(row, status="paused")
    first = SyncEvent.objects.filter(row_id=row.pk, op="U").order_by("id").first()
    assert first is not None
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sync_events WHERE id = %s", [first.pk])
    answer = bob.update(row, {"title": "mine", "description": "d"})
    assert answer.result.status == "conflict"
    kept = conflict_of(answer)
    assert kept.base is None
    assert kept.fields == ["title"], "what is the same needs no base"


# -- rows that are gone, rows that are edited --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "status", "there"),
    [("local_wins", "applied", True), ("remote_wins", "merged", False), ("merge", "merged", False),
     ("manual", "conflict", False)],
)  # fmt: skip
def test_an_update_of_a_deleted_row(strategy: str, status: str, there: bool, people: Cast, bob: Device) -> None:
    row = session(people, title="a", description="kept")
    theirs(row, title="theirs")
    stored(row).delete()
    answer = bob.update(row, {"title": "mine"}, strategy=strategy)
    assert answer.result.status == status
    assert Session.objects.filter(pk=row.pk).exists() is there
    kept = conflict_of(answer)
    assert (kept.type, kept.fields, kept.base, kept.remote) == ("update_deleted", ["title"], {"title": "a"}, None)
    if there:
        again = stored(row)
        assert (again.title, again.description, again.user, again.project) == (
            "mine", "kept", people.alice, people.project,
        )  # fmt: skip
        assert answer.result.version == again.sync_version > row.sync_version


def test_a_deleted_row_of_others_is_not_found_and_a_viewer_may_not_bring_one_back(people: Cast) -> None:
    row = session(people)
    version = row.sync_version
    pk = row.pk
    row.delete()
    one = mutation("update", "sessions", pk, {"title": "x"}, base=version, strategy="local_wins")
    assert code(Device(people.mallory).send(one)) == "not_found"
    assert code(Device(people.vera).send(one)) == "forbidden"
    assert not SyncConflict.objects.exists()


@pytest.mark.parametrize(
    ("strategy", "status", "there"),
    [("local_wins", "applied", False), ("remote_wins", "merged", True), ("merge", "merged", True),
     ("manual", "conflict", True)],
)  # fmt: skip
def test_a_delete_of_an_updated_row(strategy: str, status: str, there: bool, people: Cast, bob: Device) -> None:
    row = session(people, title="a")
    theirs(row, title="theirs")
    answer = bob.delete(row, strategy=strategy)
    assert answer.result.status == status
    assert Session.objects.filter(pk=row.pk).exists() is there
    kept = conflict_of(answer)
    assert (kept.type, kept.operation, kept.fields, kept.local) == ("delete_updated", "delete", ["title"], {})
    assert (kept.base, kept.remote) == ({"title": "a"}, {"title": "theirs"})


def test_that_a_memory_was_read_is_no_edit(people: Cast, bob: Device) -> None:
    row = memory(people)
    Memory.objects.filter(pk=row.pk).count_access()
    assert stored(row).sync_version > row.sync_version
    assert bob.delete(row).result.status == "applied"
    assert not SyncConflict.objects.exists()


# -- taken and gone ----------------------------------------------------------------------------------------------------


@pytest.fixture
def friend(people: Cast) -> Any:
    """Somebody whom alice knows from another project."""
    other = Project.objects.create(name="Other", owner=people.alice)
    friend = UserFactory()
    Collaborator.objects.create(project=other, user=friend)
    return friend


@pytest.mark.parametrize(
    ("strategy", "status", "role"),
    [("local_wins", "merged", "admin"), ("remote_wins", "merged", "viewer"), ("manual", "conflict", "viewer")],
)
def test_two_who_invite_the_same_person(strategy: str, status: str, role: str, people: Cast, friend: Any) -> None:
    values = {"project_id": str(people.project.pk), "user_id": str(friend.pk)}
    first = Device(people.alice).insert("collaborators", {**values, "role": "viewer"})
    assert first.result.status == "applied"
    second = Device(people.alice).insert("collaborators", {**values, "role": "admin"}, strategy=strategy)
    assert second.result.status == status
    row = Collaborator.objects.get(project=people.project, user=friend)
    assert (row.pk, row.role) == (first.row_id, role)
    kept = conflict_of(second)
    assert (kept.type, kept.row_id, kept.fields) == ("unique", row.pk, ["role"])
    assert row_of(second)["id"] == str(row.pk)


def test_two_who_invite_the_same_person_alike_have_nothing_to_settle(people: Cast, friend: Any) -> None:
    values = {"project_id": str(people.project.pk), "user_id": str(friend.pk), "role": "editor"}
    Device(people.alice).insert("collaborators", values)
    again = Device(people.alice).insert("collaborators", values)
    assert again.result.status == "merged"
    assert (conflict_of(again).status, conflict_of(again).resolution) == ("resolved", "remote_wins")


def test_a_reference_to_a_row_that_was_deleted_meanwhile_keeps_what_was_written(people: Cast, bob: Device) -> None:
    gone = session(people)
    pk = gone.pk
    gone.delete()
    answer = bob.insert("messages", {"session_id": str(pk), "role": "user", "content": "offline"})
    assert answer.result.status == "conflict"
    kept = conflict_of(answer)
    assert (kept.type, kept.operation, kept.fields, kept.row_id) == (
        "reference_gone",
        "insert",
        ["session_id"],
        answer.row_id,
    )
    assert kept.local["content"] == "offline"
    assert not Message.objects.filter(pk=answer.row_id).exists()


def test_an_update_that_refers_to_a_deleted_row(people: Cast, bob: Device) -> None:
    row = session(people, title="a")
    agent = AgentFactory(created_by=people.alice, project=people.project)
    pk = agent.pk
    agent.delete()
    answer = bob.update(row, {"title": "mine", "agent_id": str(pk)})
    assert (answer.result.status, conflict_of(answer).type) == ("conflict", "reference_gone")
    assert stored(row).title == "a"
    other = bob.update(row, {"title": "mine", "agent_id": str(pk)}, strategy="remote_wins")
    assert (other.result.status, stored(row).title) == ("merged", "a")


# -- groups ------------------------------------------------------------------------------------------------------------


def test_a_conflict_in_a_group_rolls_all_back_and_is_kept(people: Cast, bob: Device) -> None:
    row = session(people, title="a")
    theirs(row, title="theirs")
    group = [
        mutation("insert", "sessions", uuid7(), {"title": "never"}),
        mutation("update", "sessions", row.pk, {"title": "mine"}, base=row.sync_version, strategy="remote_wins"),
    ]
    first, second = bob.group(*group)
    assert code(first) == "atomic_aborted"
    assert second.result.status == "conflict"
    assert conflict_of(second).status == "open"
    assert not Session.objects.filter(title="never").exists()
    replayed = bob.group(*group)
    assert [(one.result.status, one.result.replayed) for one in replayed] == [("rejected", True), ("conflict", True)]
    assert replayed[1].result.conflict == second.result.conflict
    assert SyncConflict.objects.count() == 1


def test_in_a_group_the_client_s_write_may_win(people: Cast, bob: Device) -> None:
    row = session(people, title="a")
    theirs(row, title="theirs")
    group = [
        mutation("insert", "sessions", uuid7(), {"title": "new"}),
        mutation("update", "sessions", row.pk, {"title": "mine"}, base=row.sync_version, strategy="local_wins"),
    ]
    assert [one.result.status for one in bob.group(*group)] == ["applied", "applied"]
    assert stored(row).title == "mine"
