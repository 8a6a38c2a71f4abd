"""Saving through Django: only what changed is written, and the row knows what the database made of it."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from conversations.models import Session
from memory.models import Memory
from projects.models import Project
from projects.secrets import Secrets
from tests.capture import recorded
from tests.factories import MemoryFactory, MessageFactory, ProjectFactory, SessionFactory

pytestmark = pytest.mark.django_db


def stored(row: Session | Memory | Project) -> Session | Memory | Project:
    return type(row)._default_manager.get(pk=row.pk)


def test_a_row_that_was_created_knows_its_stamps() -> None:
    session = SessionFactory()
    fresh = stored(session)
    assert session.sync_version == fresh.sync_version > 0
    assert (session.scope, session.created_at, session.updated_at) == (fresh.scope, fresh.created_at, fresh.updated_at)
    assert MessageFactory(session=session).sequence_number == 1


def test_a_saved_row_knows_its_new_version_time_and_scope() -> None:
    session, project = SessionFactory(), ProjectFactory()
    before = session.sync_version, session.updated_at
    session.project = project
    session.save()
    fresh = stored(session)
    assert before < (session.sync_version, session.updated_at) == (fresh.sync_version, fresh.updated_at)
    assert session.scope == f"p:{project.pk}"


def test_saving_without_a_change_writes_nothing() -> None:
    session = Session.objects.get(pk=SessionFactory().pk)
    with recorded() as log, CaptureQueriesContext(connection) as queries:
        session.save()
    assert log.events == []
    assert not [query for query in queries if query["sql"].startswith("UPDATE")]


def test_only_changed_fields_are_written() -> None:
    session = Session.objects.get(pk=SessionFactory().pk)
    session.title = "changed"
    with CaptureQueriesContext(connection) as queries:
        session.save()
    (update,) = [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]
    assert '"title"' in update
    assert '"description"' not in update
    assert '"context"' not in update


def test_two_stale_instances_that_edit_different_fields_do_not_undo_each_other() -> None:
    row_id = SessionFactory().pk
    one, another = Session.objects.get(pk=row_id), Session.objects.get(pk=row_id)
    one.title, another.description = "by one", "by another"
    one.save()
    another.save()
    fresh = Session.objects.get(pk=row_id)
    assert (fresh.title, fresh.description) == ("by one", "by another")
    assert another.sync_version == fresh.sync_version > one.sync_version


def test_the_instance_that_created_the_row_does_not_undo_others_either() -> None:
    session = SessionFactory()
    Session.objects.filter(pk=session.pk).update(description="by another")
    session.title = "mine"
    session.save()
    assert stored(session).description == "by another"


def test_a_change_inside_json_is_seen() -> None:
    memory = Memory.objects.get(pk=MemoryFactory(content={"a": {"b": [1]}}).pk)
    memory.content["a"]["b"].append(2)
    memory.save()
    assert stored(memory).content == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize(("was", "now"), [(1, True), (0, False), (1, 1.0), (True, 1)])
def test_what_python_calls_equal_and_json_does_not_is_a_change(was: object, now: object) -> None:
    memory = Memory.objects.get(pk=MemoryFactory(content={"a": was}).pk)
    memory.content = {"a": now}
    memory.save()
    assert repr(stored(memory).content) == repr({"a": now})


def test_sealed_secrets_are_saved_when_they_change() -> None:
    project = Project.objects.get(pk=ProjectFactory(environment=Secrets.seal({"A": "1"})).pk)
    project.environment = Secrets.seal({"A": "2"})
    project.save()
    assert stored(project).environment.open() == {"A": "2"}


def test_fields_that_a_partial_save_left_out_are_written_by_the_next() -> None:
    session = Session.objects.get(pk=SessionFactory().pk)
    session.title, session.description = "first", "second"
    session.save(update_fields=["title"])
    assert stored(session).description != "second"
    session.save()
    assert stored(session).description == "second"


def test_refreshing_one_field_does_not_forget_what_changed_in_others() -> None:
    session = Session.objects.get(pk=SessionFactory().pk)
    session.title = "changed"
    session.refresh_from_db(fields=["total_messages"])
    assert session.title == "changed"
    session.save()
    assert stored(session).title == "changed"


def test_refreshing_the_row_forgets_changes_and_takes_what_is_stored() -> None:
    session = Session.objects.get(pk=SessionFactory(title="old").pk)
    Session.objects.filter(pk=session.pk).update(title="by another")
    session.title = "mine"
    session.refresh_from_db()
    assert session.title == "by another"
    with recorded() as log:
        session.save()
    assert log.events == []


def test_a_deferred_field_that_is_read_does_not_forget_what_changed() -> None:
    session = Session.objects.defer("context").get(pk=SessionFactory().pk)
    session.title = "changed"
    assert session.context["goals"] == ["ship it"]
    session.save()
    assert stored(session).title == "changed"


def test_a_deferred_field_stays_as_it_is_unless_it_is_assigned() -> None:
    row_id = SessionFactory(description="kept").pk
    session = Session.objects.only("title").get(pk=row_id)
    session.title = "changed"
    session.save()
    assert "description" in session.get_deferred_fields()
    fresh = Session.objects.get(pk=row_id)
    assert (fresh.title, fresh.description) == ("changed", "kept")


def test_a_deferred_field_that_is_assigned_is_saved() -> None:
    session = Session.objects.only("title").get(pk=SessionFactory().pk)
    session.description = "assigned"
    session.save()
    assert stored(session).description == "assigned"


def test_an_expression_is_reckoned_by_the_database_once() -> None:
    memory = Memory.objects.get(pk=MemoryFactory().pk)
    memory.frequency = F("frequency") + 2
    memory.save()
    memory.summary = "another"
    memory.save()
    assert stored(memory).frequency == 2
