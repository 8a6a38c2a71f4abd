"""Conflicts are resolved by compare and set, by their person, by staff, in batches, and by the sweep."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from conversations.models import Message, Session
from memory.models import Memory
from projects.models import Collaborator
from syncing import conflicts, mutations
from syncing.conflicts import AlreadyResolved
from syncing.exceptions import Invalid
from syncing.frames import Resolve
from syncing.identity import uuid7
from syncing.models import SyncConflict, SyncEvent
from syncing.signals import conflict_opened, conflict_resolved
from tests.cast import Cast
from tests.factories import MemoryFactory, SessionFactory, UserFactory
from tests.writing import Device, code, conflict_of, row_of

pytestmark = pytest.mark.django_db


def disputed(people: Cast, bob: Device, **local: Any) -> tuple[Session, SyncConflict]:
    """A session whose title bob and somebody else changed, and bob's open conflict."""
    row = SessionFactory(user=people.alice, project=people.project, title="base")
    row.refresh_from_db()
    Session.objects.filter(pk=row.pk).update(title="theirs")
    kept = conflict_of(bob.update(row, {"title": "mine", **local}))
    row.refresh_from_db()
    return row, kept


def reloaded(kept: SyncConflict) -> SyncConflict:
    return SyncConflict.objects.get(pk=kept.pk)


# -- by whom and how ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "values", "title", "description"),
    [
        ("local_wins", None, "mine", "d"),
        ("remote_wins", None, "theirs", ""),
        ("merge", None, "theirs", "d"),
        ("manual", {"title": "ours"}, "ours", ""),
    ],
)
@pytest.mark.parametrize("way", ["by the person", "by staff"])
def test_each_strategy(
    way: str, strategy: Any, values: Any, title: str, description: str, people: Cast, bob: Device
) -> None:
    row, kept = disputed(people, bob, description="d")
    if way == "by staff":
        by = UserFactory(is_staff=True)
        conflicts.resolve(kept, strategy, values=values, by=by)
    else:
        by = people.bob
        answer = bob.resolve(kept, strategy, values)
        assert answer.result.status == "applied"
        assert row_of(answer)["title"] == title
        assert answer.result.conflict == kept.pk
    row.refresh_from_db()
    assert (row.title, row.description) == (title, description)
    kept = reloaded(kept)
    assert (kept.status, kept.resolution, kept.resolved_by) == ("resolved", strategy, by)
    assert kept.resolved_at is not None
    last = SyncEvent.objects.filter(row_id=kept.pk).order_by("id").last()
    assert last is not None
    assert last.user_id == by.pk


def test_a_conflict_is_its_person_s_alone(people: Cast, bob: Device) -> None:
    row, kept = disputed(people, bob)
    assert code(Device(people.alice).resolve(kept, "local_wins")) == "not_found"
    row.refresh_from_db()
    assert row.title == "theirs"


def test_rights_are_those_of_the_moment_of_the_decision(people: Cast, bob: Device) -> None:
    row, kept = disputed(people, bob)
    Collaborator.objects.filter(user=people.bob).update(role="viewer")
    assert code(bob.resolve(kept, "local_wins")) == "forbidden"
    assert reloaded(kept).status == "open"
    Collaborator.objects.filter(user=people.bob).delete()
    assert code(bob.resolve(kept, "local_wins")) == "not_found"
    row.refresh_from_db()
    assert row.title == "theirs"


# -- compare and set ---------------------------------------------------------------------------------------------------


def test_a_row_that_moved_on_is_shown_anew_and_never_overwritten(people: Cast, bob: Device) -> None:
    row, kept = disputed(people, bob)
    Session.objects.filter(pk=row.pk).update(title="newer")
    answer = bob.resolve(kept, "local_wins")
    assert (answer.result.status, answer.result.conflict) == ("conflict", kept.pk)
    assert row_of(answer)["title"] == "newer"
    shown = reloaded(kept)
    assert (shown.status, shown.remote) == ("open", {"title": "newer"})
    assert shown.sync_version > kept.sync_version, "its person's browsers hear of it"
    row.refresh_from_db()
    assert row.title == "newer"
    assert bob.resolve(kept, "local_wins", version=shown.sync_version).result.status == "applied"
    row.refresh_from_db()
    assert row.title == "mine"


def test_columns_that_are_not_in_dispute_may_go_on_changing(people: Cast, bob: Device) -> None:
    row, kept = disputed(people, bob)
    Message.objects.create(session=row, role="user", content="counted")
    assert bob.resolve(kept, "local_wins").result.status == "applied"


def test_a_conflict_is_resolved_once(people: Cast, bob: Device) -> None:
    _, kept = disputed(people, bob)
    assert bob.resolve(kept, "remote_wins").result.status == "applied"
    assert code(bob.resolve(kept, "local_wins")) == "invalid"
    with pytest.raises(AlreadyResolved):
        conflicts.resolve(reloaded(kept), "local_wins")


def test_a_conflict_that_was_shown_anew_meanwhile_is_not_decided_by_its_old_look(people: Cast, bob: Device) -> None:
    row, kept = disputed(people, bob)
    Session.objects.filter(pk=row.pk).update(title="newer")
    assert conflicts.resolve(kept, "local_wins").status == "open"
    with pytest.raises(AlreadyResolved):
        conflicts.resolve(kept, "local_wins")
    assert code(bob.resolve(kept, "local_wins", version=kept.sync_version)) == "invalid"


def test_a_row_that_was_deleted_meanwhile_is_shown_as_deleted(people: Cast, bob: Device) -> None:
    row, kept = disputed(people, bob)
    Session.objects.get(pk=row.pk).delete()
    assert bob.resolve(kept, "local_wins").result.status == "conflict"
    shown = reloaded(kept)
    assert (shown.type, shown.remote, shown.remote_version) == ("update_deleted", None, None)
    assert bob.resolve(kept, "local_wins").result.status == "applied"
    assert Session.objects.get(pk=row.pk).title == "mine"


def test_a_decision_that_is_sent_twice_is_one(people: Cast, bob: Device) -> None:
    _, kept = disputed(people, bob)
    request = Resolve(id=uuid7(), conflict=kept.pk, strategy="local_wins")
    first = mutations.resolve(people.bob.pk, bob.client, request)
    again = mutations.resolve(people.bob.pk, bob.client, request)
    assert (first.result.status, first.result.replayed) == ("applied", False)
    assert (again.result.status, again.result.replayed, again.xid) == ("applied", True, first.xid)


def test_values_are_for_manual_and_are_checked(people: Cast, bob: Device) -> None:
    row, kept = disputed(people, bob)
    assert code(bob.resolve(kept, "manual")) == "invalid"
    assert code(bob.resolve(kept, "local_wins", {"title": "x"})) == "invalid"
    assert code(bob.resolve(kept, "manual", {"total_messages": 5})) == "not_writable"
    with pytest.raises(Invalid):
        conflicts.resolve(kept, "manual", values={"title": "x" * 501})
    assert reloaded(kept).status == "open"
    row.refresh_from_db()
    assert row.title == "theirs"


# -- the other types ---------------------------------------------------------------------------------------------------


def test_a_delete_that_waited_is_done_or_left(people: Cast, bob: Device) -> None:
    for strategy, there in (("local_wins", False), ("remote_wins", True)):
        row = SessionFactory(user=people.alice, project=people.project, title="base")
        row.refresh_from_db()
        Session.objects.filter(pk=row.pk).update(title="theirs")
        kept = conflict_of(bob.delete(row))
        assert bob.resolve(kept, strategy).result.status == "applied"
        assert Session.objects.filter(pk=row.pk).exists() is there


def test_an_insert_that_referred_to_what_is_gone_is_made_with_another_reference(people: Cast, bob: Device) -> None:
    gone = SessionFactory(user=people.alice, project=people.project)
    pk = gone.pk
    gone.delete()
    answer = bob.insert("messages", {"session_id": str(pk), "role": "user", "content": "offline"})
    kept = conflict_of(answer)
    assert code(bob.resolve(kept, "local_wins")) == "not_found"
    other = SessionFactory(user=people.alice, project=people.project)
    assert bob.resolve(kept, "manual", {"session_id": str(other.pk)}).result.status == "applied"
    assert Message.objects.get(pk=answer.row_id).content == "offline"
    assert Message.objects.get(pk=answer.row_id).session == other


def test_what_is_deleted_for_good_cannot_be_brought_back(people: Cast, bob: Device) -> None:
    row, kept = disputed(people, bob)
    Session.objects.get(pk=row.pk).delete()
    bob.resolve(kept, "local_wins")
    SyncEvent.objects.filter(row_id=row.pk)._raw_delete("default")
    with pytest.raises(Invalid, match="the log does not know"):
        conflicts.resolve(reloaded(kept), "local_wins")


# -- many --------------------------------------------------------------------------------------------------------------


def test_many_are_resolved_at_once_and_those_that_cannot_be_say_why(people: Cast, bob: Device) -> None:
    pairs = [disputed(people, bob) for _ in range(3)]
    Session.objects.filter(pk=pairs[1][0].pk).update(title="newer")
    conflicts.resolve(pairs[2][1], "remote_wins")
    done, failed = conflicts.resolve_all([kept for _, kept in pairs], "local_wins", by=people.alice)
    assert [(one.pk, one.status) for one in done] == [(pairs[0][1].pk, "resolved"), (pairs[1][1].pk, "open")]
    assert list(failed) == [pairs[2][1].pk]
    titles = [Session.objects.get(pk=row.pk).title for row, _ in pairs]
    assert titles == ["mine", "newer", "theirs"]


@pytest.mark.django_db(transaction=True)
def test_facts_about_conflicts_are_announced(people: Cast, bob: Device) -> None:
    told: list[tuple[str, Any]] = []

    def opened(**facts: Any) -> None:
        told.append(("opened", facts["conflict"].pk))

    def resolved(**facts: Any) -> None:
        told.append(("resolved", facts["conflict"].pk))

    conflict_opened.connect(opened)
    conflict_resolved.connect(resolved)
    try:
        _, kept = disputed(people, bob)
        bob.resolve(kept, "remote_wins")
    finally:
        conflict_opened.disconnect(opened)
        conflict_resolved.disconnect(resolved)
    assert told == [("opened", kept.pk), ("resolved", kept.pk)]


def test_staff_decide_about_rows_that_they_do_not_read(people: Cast, bob: Device) -> None:
    row, kept = disputed(people, bob)
    conflicts.resolve(kept, "local_wins", by=people.mallory)
    row.refresh_from_db()
    assert row.title == "mine"


# -- the sweep ---------------------------------------------------------------------------------------------------------


def sweep(*arguments: str) -> str:
    """What `manage.py sweep_conflicts` says."""
    said = StringIO()
    call_command("sweep_conflicts", *arguments, stdout=said)
    return said.getvalue()


def test_the_sweep_closes_what_is_settled_expires_what_is_moot_and_reports_the_rest(people: Cast, bob: Device) -> None:
    settled, kept_settled = disputed(people, bob)
    Session.objects.filter(pk=settled.pk).update(title="mine")
    gone, kept_gone = disputed(people, bob)
    Session.objects.get(pk=gone.pk).delete()
    open_, kept_open = disputed(people, bob)
    would = sweep("--dry-run")
    assert "1 would be closed, 1 would be expired" in would
    assert {kept.status for kept in SyncConflict.objects.all()} == {"open"}
    said = sweep()
    assert "1 closed, 1 expired" in said
    assert "1 open in sessions: same_column" in said
    assert [reloaded(kept).status for kept in (kept_settled, kept_gone, kept_open)] == ["resolved", "expired", "open"]
    open_.refresh_from_db()
    assert open_.title == "theirs"


def test_the_sweep_merges_what_can_be_merged_by_now(people: Cast, bob: Device) -> None:
    row = MemoryFactory(project=people.project, user=None, content={"a": 1})
    row.refresh_from_db()
    Memory.objects.filter(pk=row.pk).update(content={"a": 2})
    kept = conflict_of(bob.update(row, {"content": {"a": 3, "b": 1}}, strategy="manual"))
    Memory.objects.filter(pk=row.pk).update(content={"a": 1, "c": 1})
    assert "1 closed" in sweep()
    assert Memory.objects.get(pk=row.pk).content == {"a": 3, "b": 1, "c": 1}
    assert (reloaded(kept).status, reloaded(kept).resolution) == ("resolved", "merge")


def test_the_sweep_resolves_old_ones_by_a_strategy(people: Cast, bob: Device) -> None:
    old, kept_old = disputed(people, bob)
    new, _ = disputed(people, bob)
    SyncConflict.objects.filter(pk=kept_old.pk).update(created_at=timezone.now() - timedelta(days=8))
    said = sweep("--strategy", "local_wins", "--older-than", "7d")
    assert "1 closed, 0 expired" in said
    for row, title in ((old, "mine"), (new, "theirs")):
        row.refresh_from_db()
        assert row.title == title
    event = SyncEvent.objects.filter(row_id=old.pk).order_by("id").last()
    assert event is not None
    assert event.origin == "command sweep_conflicts"


def test_the_sweep_says_what_it_could_not_resolve(people: Cast, bob: Device) -> None:
    gone = SessionFactory(user=people.alice, project=people.project)
    pk = gone.pk
    gone.delete()
    kept = conflict_of(bob.insert("messages", {"session_id": str(pk), "role": "user", "content": "offline"}))
    said = sweep("--strategy", "local_wins")
    assert f"could not resolve {kept.pk}: " in said
    assert "1 open in messages: reference_gone" in said


def test_a_length_of_time_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError, match="no length of time"):
        sweep("--older-than", "soon")
