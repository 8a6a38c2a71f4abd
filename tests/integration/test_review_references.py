"""Columns that refer to rows are told by name in a review, and offered by what is typed, to those who may look."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from conversations.models import Session
from projects.models import Project
from syncing.models import SyncConflict
from tests.cast import Cast
from tests.factories import ProjectFactory, SessionFactory
from tests.reviews import decide, reloaded, url_of
from tests.staff import CONFLICTS, member, page, signed_in, words

pytestmark = pytest.mark.django_db
MANY = f"{CONFLICTS}many/"


@pytest.fixture
def staff() -> Client:
    return signed_in(member("support", name="Sue"))


def moved(session: Session, server: Project, client: Project) -> SyncConflict:
    """Two people moved a session to another project."""
    Session.objects.filter(pk=session.pk).update(project=server)
    session.refresh_from_db()
    kept: SyncConflict = SyncConflict.objects.create(
        user=session.user, table_name="sessions", row_id=session.pk, type="same_column", fields=["project_id"],
        local={"project_id": str(client.pk)}, base={"project_id": None}, remote={"project_id": str(server.pk)},
        base_version=session.sync_version - 1, remote_version=session.sync_version,
    )  # fmt: skip
    return kept


@pytest.fixture
def conflict(people: Cast) -> SyncConflict:
    projects = [ProjectFactory(owner=people.alice, name=name) for name in ("Atlas", "Borealis")]
    return moved(SessionFactory(user=people.alice), *projects)


def offered(browser: Client, conflict: SyncConflict, term: str, column: str = "project_id") -> Any:
    answer = browser.get(f"/admin/syncing/syncconflict/{conflict.pk}/references/", {"column": column, "term": term})
    return json.loads(answer.content)["results"] if answer.status_code == 200 else answer.status_code


def test_what_is_referred_to_is_told_by_name(staff: Client, conflict: SyncConflict) -> None:
    text = words(page(staff, url_of(conflict)))
    assert f"Atlas ({conflict.remote['project_id']})" in text
    assert f"Borealis ({conflict.local['project_id']})" in text


def test_a_preview_of_many_tells_them_by_name_in_one_query(staff: Client, people: Cast) -> None:
    projects = [ProjectFactory(owner=people.alice, name=f"Atlas {n}") for n in range(6)]
    found = [
        moved(SessionFactory(user=people.alice), *pair) for pair in zip(projects[::2], projects[1::2], strict=True)
    ]
    with CaptureQueriesContext(connection) as queries:
        response = staff.post(MANY, {"action": "take", "conflict": [str(one.pk) for one in found]})
    assert len([one for one in queries if 'FROM "projects"' in one["sql"]]) == 1
    text = words(response.content.decode())
    for one, server, client in zip(found, projects[::2], projects[1::2], strict=True):
        assert f"{server.name} ({server.pk})" in text
        assert f"{client.name} ({client.pk})" in text
        assert f"{one.user} wanted to change a row of sessions" in text


def test_rows_are_offered_by_name_and_by_id_and_one_of_them_is_taken(staff: Client, conflict: SyncConflict) -> None:
    wanted = ProjectFactory(name="Corona")
    assert offered(staff, conflict, "corona") == [{"id": str(wanted.pk), "text": "Corona"}]
    assert offered(staff, conflict, str(wanted.pk)) == [{"id": str(wanted.pk), "text": "Corona"}]
    assert offered(staff, conflict, "xylophone") == []
    assert len(offered(staff, conflict, "")) > 1
    decide(staff, conflict, project_id="edit", value_project_id=str(wanted.pk))
    assert reloaded(conflict).status == "resolved"
    assert Session.objects.get(pk=conflict.row_id).project == wanted


def test_a_decided_conflict_has_the_names_too(staff: Client, conflict: SyncConflict) -> None:
    decide(staff, conflict, project_id="client")
    assert "Borealis" in words(page(staff, url_of(conflict)))


def test_who_may_not_look_at_those_rows_gets_their_ids_only(conflict: SyncConflict) -> None:
    reviewer = member(name="Rita")
    wanted = ("view_syncconflict", "review_conflicts", "view_session")
    reviewer.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    browser = signed_in(reviewer)
    text = words(page(browser, url_of(conflict)))
    assert conflict.remote["project_id"] in text
    assert "Atlas" not in text
    assert offered(browser, conflict, "atlas") == 403


def test_only_reviewers_are_offered_anything_and_only_for_references(staff: Client, conflict: SyncConflict) -> None:
    assert offered(signed_in(member("viewer")), conflict, "atlas") == 403
    for column in ("title", "nonsense", ""):
        assert offered(staff, conflict, "atlas", column) == 403
    conflict.pk = uuid4()
    assert offered(staff, conflict, "atlas") == 404
