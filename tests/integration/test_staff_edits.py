"""An edit of a row that moved on since its form was opened: merged where that can be, else shown, never lost."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from conversations.models import Message, Session
from conversations.services import add_message
from memory.models import Memory
from projects.models import Collaborator, Project
from tests.capture import newest_event, read_log
from tests.factories import MemoryFactory, MessageFactory, ProjectFactory, SessionFactory, UserFactory
from tests.integration.staff import address, filled, member, person_of, sent

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    return member("superuser")


@pytest.fixture
def memory() -> Memory:
    memory = MemoryFactory(summary="Likes tea.", content={"editor": "vim", "tabs": 4}, tags=["a"])
    memory.refresh_from_db()
    return memory


def page(row: Any) -> str:
    return address(type(row), "change", row.pk)


def elsewhere(row: Any, **values: Any) -> None:
    """Somebody else writes to the row."""
    type(row).objects.filter(pk=row.pk).update(**values)


def test_an_edit_of_the_present_version_is_saved_as_the_persons(staff: Client, memory: Memory) -> None:
    form, since = filled(staff, page(memory), summary="Likes coffee."), newest_event()
    assert staff.post(page(memory), form).status_code == 302
    [event] = read_log(since)
    assert (event.user_id, event.origin, event.op) == (person_of(staff).pk, "admin", "U")
    assert json.loads(event.after)["summary"] == "Likes coffee."


def test_what_others_changed_elsewhere_in_the_row_stays(staff: Client, memory: Memory) -> None:
    form = filled(staff, page(memory), importance=9)
    elsewhere(memory, summary="Likes coffee.", key="taste")
    answer = staff.post(page(memory), form, follow=True)
    memory.refresh_from_db()
    assert (memory.importance, memory.summary, memory.key) == (9, "Likes coffee.", "taste")
    assert "both are kept" in answer.content.decode()


def test_what_both_changed_is_merged_by_the_tables_rules(staff: Client, memory: Memory) -> None:
    form = filled(staff, page(memory), content='{"editor": "emacs", "tabs": 4}', tags="a,b")
    elsewhere(memory, content={"editor": "vim", "tabs": 2}, tags=["a", "c"])
    assert staff.post(page(memory), form).status_code == 302
    memory.refresh_from_db()
    assert memory.content == {"editor": "emacs", "tabs": 2}
    assert memory.tags == ["a", "c", "b"]


def test_a_collision_is_shown_side_by_side_and_saves_nothing(staff: Client, memory: Memory) -> None:
    form = filled(staff, page(memory), summary="Likes cocoa.", importance=9)
    elsewhere(memory, summary="Likes coffee.", key="taste")
    since = newest_event()
    answer = staff.post(page(memory), form)
    assert answer.status_code == 200
    [dispute] = answer.context["disputes"]
    assert (dispute.base, dispute.now, dispute.yours) == ("Likes tea.", "Likes coffee.", "Likes cocoa.")
    again = sent(answer)
    assert (again["summary"], again["importance"], again["key"]) == ("Likes cocoa.", "9", "taste")
    assert read_log(since) == []


@pytest.mark.parametrize(("choice", "summary"), [("yours", "Likes cocoa."), ("now", "Likes coffee.")])
def test_the_person_chooses_in_a_collision(staff: Client, memory: Memory, choice: str, summary: str) -> None:
    form = filled(staff, page(memory), summary="Likes cocoa.", importance=9)
    elsewhere(memory, summary="Likes coffee.")
    again = sent(staff.post(page(memory), form))
    assert staff.post(page(memory), again | {"take-summary": choice}).status_code == 302
    memory.refresh_from_db()
    assert (memory.summary, memory.importance) == (summary, 9)


def test_a_row_that_moves_on_again_is_shown_again(staff: Client, memory: Memory) -> None:
    form = filled(staff, page(memory), summary="Likes cocoa.")
    elsewhere(memory, summary="Likes coffee.")
    again = sent(staff.post(page(memory), form))
    elsewhere(memory, summary="Likes water.")
    answer = staff.post(page(memory), again | {"take-summary": "yours"})
    assert answer.status_code == 200
    assert [dispute.now for dispute in answer.context["disputes"]] == ["Likes water."]


def test_a_form_from_before_the_log_says_what_differs(staff: Client, memory: Memory) -> None:
    form = filled(staff, page(memory), summary="Likes cocoa.") | {"base_version": 1}
    answer = staff.post(page(memory), form)
    assert [(dispute.name, dispute.base) for dispute in answer.context["disputes"]] == [("summary", None)]


def test_a_form_without_a_version_is_refused(staff: Client, memory: Memory) -> None:
    form = filled(staff, page(memory), summary="Likes cocoa.")
    for version in ("", str(memory.sync_version + 1_000_000)):
        answer = staff.post(page(memory), form | {"base_version": version})
        assert answer.status_code == 200
        assert "which version it edits" in answer.content.decode()


def test_counters_that_move_dispute_nothing(staff: Client) -> None:
    session = SessionFactory(title="before")
    form = filled(staff, page(session), title="after")
    add_message(session, "user", "hello")
    assert staff.post(page(session), form).status_code == 302
    session.refresh_from_db()
    assert (session.title, session.total_messages) == ("after", 1)


def test_references_and_times_collide_legibly(staff: Client) -> None:
    session = SessionFactory()
    mine, theirs = ProjectFactory(name="Mine"), ProjectFactory(name="Theirs")
    moment = timezone.now().replace(microsecond=0)
    form = filled(staff, page(session), project=str(mine.pk))
    form |= {"ended_at_0": f"{moment:%Y-%m-%d}", "ended_at_1": f"{moment + timedelta(hours=2):%H:%M:%S}"}
    elsewhere(session, project=theirs, started_at=moment - timedelta(days=2))
    answer = staff.post(page(session), form)
    [dispute] = answer.context["disputes"]
    assert (dispute.now, dispute.yours) == ("Theirs", "Mine")
    again = sent(answer)
    assert again["started_at_0"] == f"{moment - timedelta(days=2):%Y-%m-%d}"
    assert staff.post(page(session), again | {"take-project": "now"}).status_code == 302
    session.refresh_from_db()
    assert session.project == theirs
    assert session.ended_at is not None


def test_collaborators_on_a_projects_page_collide_too(staff: Client) -> None:
    project, bob = ProjectFactory(), UserFactory(name="Bob")
    row = Collaborator.objects.create(project=project, user=bob, role="viewer")
    form = filled(staff, page(project), name="renamed")
    [prefix] = [name.removesuffix("-id") for name, value in form.items() if value == row.pk and name.endswith("-id")]
    elsewhere(row, role="admin")
    assert staff.post(page(project), form).status_code == 302  # the person did not touch the role
    row.refresh_from_db()
    assert row.role == "admin"
    form = filled(staff, page(project)) | {f"{prefix}-role": "editor"}
    elsewhere(row, role="viewer")
    answer = staff.post(page(project), form)
    assert [dispute.name for dispute in answer.context["disputes"]] == [f"{prefix}-role"]
    row.refresh_from_db()
    assert row.role == "viewer"


def test_rights_that_moved_on_are_not_overwritten(staff: Client) -> None:
    person = UserFactory()
    form = filled(staff, page(person), name="New")
    User.objects.filter(pk=person.pk).update(is_staff=True)
    answer = staff.post(page(person), form)
    assert answer.status_code == 200
    assert "changed this person&#x27;s rights" in answer.content.decode()
    assert staff.post(page(person), sent(answer)).status_code == 302
    person.refresh_from_db()
    assert person.name == "New"


@pytest.mark.parametrize("factory", [MemoryFactory, MessageFactory, ProjectFactory, SessionFactory, UserFactory])
def test_a_form_that_is_sent_back_untouched_changes_nothing(staff: Client, factory: Any) -> None:
    row = factory()
    form, since = filled(staff, page(row)), newest_event()
    elsewhere(row, **{"name" if factory in (ProjectFactory, UserFactory) else TEXTS[type(row)]: "other"})
    written = len(read_log(since))
    assert staff.post(page(row), form).status_code == 302
    assert len(read_log(since)) == written


TEXTS = {Memory: "key", Message: "content", Session: "title", Project: "name"}
