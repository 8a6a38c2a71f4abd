"""A row that is deleted while somebody has its form open: what they typed is kept, and can become a new row."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from conversations.models import Session
from memory.models import Memory
from projects.models import Collaborator, Project
from syncing.actors import acting
from tests.factories import MemoryFactory, MessageFactory, ProjectFactory, SessionFactory, UserFactory
from tests.integration.staff import address, filled, member, sent

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    return member("superuser")


def page(row: Any) -> str:
    return address(type(row), "change", row.pk)


def deleted(row: Any, by: User | None = None) -> str:
    """The address of its page, after somebody deleted it."""
    url = page(row)
    with acting(user=by):
        type(row).objects.filter(pk=row.pk).delete()
    return url


def test_what_was_typed_is_shown_again_with_who_deleted_the_row(staff: Client) -> None:
    memory = MemoryFactory(summary="Likes tea.")
    form = filled(staff, page(memory), summary="Likes cocoa.", tags="a,b", importance=9)
    answer = staff.post(deleted(memory, by=UserFactory(email="bob@example.org")), form)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "This memory was deleted while you had it open" in text
    assert "bob@example.org deleted it" in text
    again = sent(answer)
    assert (again["summary"], again["tags"], again["importance"]) == ("Likes cocoa.", "a,b", "9")
    assert not Memory.objects.exists()


def test_saving_it_makes_a_new_row_with_all_that_was_typed(staff: Client) -> None:
    memory = MemoryFactory(summary="Likes tea.", content={"editor": "vim"}, importance=3)
    form = filled(staff, page(memory), summary="Likes cocoa.", tags="a,b")
    answer = staff.post(deleted(memory), form)
    assert f'action="{address(Memory, "add")}"' in answer.content.decode()
    assert staff.post(address(Memory, "add"), sent(answer)).status_code == 302
    made = Memory.objects.get()
    assert made.pk != memory.pk
    assert (made.summary, made.tags) == ("Likes cocoa.", ["a", "b"])
    assert (made.content, made.importance) == ({"editor": "vim"}, 3)
    assert made.user == memory.user


def test_a_project_comes_back_with_those_who_work_on_it(staff: Client) -> None:
    owner, bob, vera, new = (UserFactory(name=name) for name in ("Alice", "Bob", "Vera", "Nina"))
    project = ProjectFactory(owner=owner, name="Dashboard")
    rows = [Collaborator.objects.create(project=project, user=one, role="viewer") for one in (bob, vera)]
    form = filled(staff, page(project), name="Board")
    prefixes = {str(form[f"{name[: -len('-id')]}-user"]): name[: -len("-id")] for name in form if name.endswith("-id")}
    form |= {f"{prefixes[str(bob.pk)]}-role": "editor", f"{prefixes[str(vera.pk)]}-DELETE": "on"}
    at = form["collaborators-TOTAL_FORMS"]
    form |= {f"collaborators-{at}-user": str(new.pk), f"collaborators-{at}-role": "viewer"}
    form |= {f"collaborators-{at}-project": str(project.pk), "collaborators-TOTAL_FORMS": str(int(at) + 1)}
    answer = staff.post(deleted(project), form)
    assert answer.status_code == 409
    saved = staff.post(address(Project, "add"), sent(answer))
    assert saved.status_code == 302, saved.context["errors"]
    made = Project.objects.get()
    assert made.name == "Board"
    roles = {row.user.name: row.role for row in Collaborator.objects.select_related("user")}
    assert roles == {"Alice": "admin", "Bob": "editor", "Nina": "viewer"}
    assert not Collaborator.objects.filter(pk__in=[row.pk for row in rows]).exists()


@pytest.mark.parametrize("factory", [MessageFactory, SessionFactory])
def test_what_is_wrong_with_it_is_told_when_it_is_saved_and_not_before(staff: Client, factory: Any) -> None:
    row = factory()
    form = filled(staff, page(row), session="") if factory is MessageFactory else filled(staff, page(row), user="")
    answer = staff.post(deleted(row), form)
    assert answer.status_code == 409
    assert "This field is required" not in answer.content.decode()
    again = staff.post(address(type(row), "add"), sent(answer))
    assert "This field is required" in again.content.decode()


def test_who_may_not_add_rows_can_copy_what_they_typed_and_save_nothing() -> None:
    support = member("support")
    session = SessionFactory(title="before")
    form = filled(support, page(session), title="what I typed")
    answer = support.post(deleted(session), form)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert 'value="what I typed"' in text
    assert "cannot be made anew" in text
    assert 'name="_save"' not in text
    assert support.post(address(Session, "add"), sent(answer)).status_code == 403


def test_an_account_is_not_made_anew_from_here(staff: Client) -> None:
    person = UserFactory(name="Bob")
    form = filled(staff, page(person), name="Bobby")
    answer = staff.post(deleted(person), form)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert 'value="Bobby"' in text
    assert "cannot be made anew" in text
    assert 'name="_save"' not in text


def test_a_row_that_is_deleted_at_the_very_moment_says_to_save_once_more(
    staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from syncing.writers import Writer

    memory = MemoryFactory()
    form = filled(staff, page(memory), summary="Likes cocoa.")
    lock = Writer.lock

    def deleted_before(self: Writer, *args: Any) -> Any:
        Memory.objects.all().delete()
        return lock(self, *args)

    monkeypatch.setattr(Writer, "lock", deleted_before)
    answer = staff.post(page(memory), form)
    assert "was deleted just now" in answer.content.decode()
    assert sent(answer)["summary"] == "Likes cocoa."
    assert staff.post(page(memory), sent(answer)).status_code == 409


def test_who_may_not_change_rows_is_told_nothing() -> None:
    viewer = member("viewer")
    memory = MemoryFactory()
    assert viewer.post(deleted(memory), {"summary": "x"}).status_code in (302, 403)
