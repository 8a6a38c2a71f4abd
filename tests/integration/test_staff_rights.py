"""Who may do what: viewer, support and operator, superusers, and people who are no staff."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.db import connection, models
from django.test import Client
from django.utils import timezone

from accounts.models import ApiToken, User
from agents.models import Agent
from claudia.groups import GROUPS, make_groups
from conversations.models import Message, Session
from conversations.services import add_message
from memory.models import Memory
from projects.models import Collaborator, Project
from syncing.models import PersonalReading
from syncing.staff import personal
from tests.cast import cast
from tests.factories import AgentFactory, ApiTokenFactory, MemoryFactory, ProjectFactory, SessionFactory
from tests.integration.staff import GROUP_NAMES, act, address, filled, member, person_of, registered

pytestmark = pytest.mark.django_db
DOMAIN: list[type[models.Model]] = [User, Project, Collaborator, Agent, Session, Message, Memory]
#: What people wrote, in rows of the cast.
SECRETS = (
    "my salary is 12345",
    "payroll.csv",
    "a raise in May",
    "they like tea",
    "chamomile",
    "tea-tag",
    "ask for more",
)


@pytest.fixture(autouse=True)
def world() -> None:
    people = cast()
    AgentFactory(created_by=people.bob)
    ApiTokenFactory(user=people.bob)
    session = SessionFactory(
        user=people.alice, title="Talk", description="ask for more", context={"goals": ["a raise in May"]}
    )
    calls = [{"id": "1", "name": "read_file", "arguments": {"path": "payroll.csv"}}]
    add_message(session, "assistant", "my salary is 12345", tool_calls=calls)
    MemoryFactory(
        user=people.bob, key="taste", summary="they like tea", content={"herb": "chamomile"}, tags=["tea-tag"]
    )


def urls() -> list[str]:
    """Every page of every model."""
    found = ["/admin/", "/admin/search/?s=a", "/admin/autocomplete/", "/admin/password_change/"]
    for model in registered():
        found += [address(model, "changelist"), address(model, "add")]
        if model in (*DOMAIN, ApiToken):
            row = model._default_manager.first()
            assert row is not None
            found += [address(model, name, row.pk) for name in ("change", "delete", "history")]
            found += [address(model, "export", kind) for kind in ("csv", "json")]
    return found


def test_who_is_no_staff_reaches_nothing() -> None:
    ordinary, stranger, left = member(None), Client(), member("operator", is_active=False)
    for url in urls():
        for client in (ordinary, stranger, left):
            for answer in (client.get(url), client.post(url)):
                assert answer.status_code in (302, 403), url
                assert answer.status_code == 403 or "login" in answer["Location"], url


def test_who_is_no_staff_is_told_so_and_others_sign_in_where_everybody_does() -> None:
    answer = member(None).get("/admin/", follow=True)
    assert answer.status_code == 403
    assert "may not enter the administration" in answer.content.decode()
    assert (
        Client()
        .get("/admin/conversations/session/", follow=True)
        .redirect_chain[-1][0]
        .startswith("/login/?next=/admin")
    )
    assert member("viewer").get("/admin/login/")["Location"] == "/admin/"


def test_staff_of_no_group_see_no_list() -> None:
    client = member("superuser")
    User.objects.filter(pk=person_of(client).pk).update(is_superuser=False)
    for model in (*DOMAIN, ApiToken):
        assert client.get(address(model, "changelist")).status_code == 403


@pytest.mark.parametrize("group", GROUP_NAMES)
def test_each_group_opens_what_it_may_and_nothing_else(group: str) -> None:
    client = member(group)
    for model in (*DOMAIN, ApiToken):
        app, name = model._meta.app_label, model._meta.model_name
        row = model._default_manager.exclude(**({"is_staff": True} if model is User else {})).last()
        if model is Collaborator:
            row = Collaborator.objects.exclude(user__email__startswith="alice").last()
        assert row is not None
        may = {verb: f"{app}.{verb}_{name}" in GROUPS[group] for verb in ("view", "add", "change", "delete")}
        assert client.get(address(model, "changelist")).status_code == (200 if may["view"] else 403)
        assert client.get(address(model, "change", row.pk)).status_code == (200 if may["view"] else 403)
        assert client.get(address(model, "export", "csv")).status_code == (200 if may["view"] else 403)
        adds = may["add"] and model is not ApiToken
        assert client.get(address(model, "add")).status_code == (200 if adds else 403)
        assert client.get(address(model, "delete", row.pk)).status_code == (200 if may["delete"] else 403)
        if model is not ApiToken:
            page = client.get(address(model, "change", row.pk)).content.decode()
            assert ('name="_save"' in page) == may["change"]


@pytest.mark.parametrize("group", GROUP_NAMES)
def test_what_may_not_be_changed_is_not_changed_by_a_forged_form(group: str) -> None:
    operator, client = member("superuser"), member(group)
    for row, name in ((Session.objects.get(), "title"), (Project.objects.get(), "name"), (Memory.objects.get(), "key")):
        url = address(type(row), "change", row.pk)
        answer = client.post(url, filled(operator, url, **{name: "forged"}))
        row.refresh_from_db()
        may = f"{row._meta.app_label}.change_{row._meta.model_name}" in GROUPS[group]
        assert (getattr(row, name) == "forged") == may
        assert answer.status_code == (302 if may else 403)


ACTIONS: list[tuple[type[models.Model], str, str, Any]] = [
    (User, "deactivate", "is_active", False),
    (Project, "archive", "is_archived", True),
    (Agent, "deactivate", "status", "inactive"),
    (Agent, "make_public", "is_public", True),
    (Session, "pause", "status", "paused"),
    (Session, "complete", "status", "completed"),
    (Session, "fail", "status", "error"),
    (Collaborator, "make_viewer", "role", "viewer"),
]


@pytest.mark.parametrize(("model", "action", "field", "after"), ACTIONS, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("group", GROUP_NAMES)
def test_each_action_is_for_who_may_change_the_row(
    group: str, model: type[models.Model], action: str, field: str, after: Any
) -> None:
    Agent.objects.update(status="active")
    row: Any = {
        User: User.objects.filter(email__startswith="bob"),
        Collaborator: Collaborator.objects.filter(role="editor"),
    }.get(model, model._default_manager.all()).first()
    act(member(group), row, action, confirmed="1")
    row.refresh_from_db()
    may = f"{model._meta.app_label}.change_{model._meta.model_name}" in GROUPS[group]
    assert (getattr(row, field) == after) == may


@pytest.mark.parametrize("group", GROUP_NAMES)
def test_tokens_are_revoked_and_memories_expired_by_who_may(group: str) -> None:
    client, token, memory = member(group), ApiToken.objects.get(), Memory.objects.get()
    act(client, token, "revoke", confirmed="1")
    act(client, memory, "expire_now", confirmed="1")
    token.refresh_from_db()
    assert (token.revoked_at is not None) == ("accounts.delete_apitoken" in GROUPS[group])
    assert Memory.objects.expired().exists() == ("memory.change_memory" in GROUPS[group])


@pytest.mark.parametrize(
    ("model", "action"), [(User, "deactivate"), (Session, "complete"), (Memory, "expire_now"), (Agent, "make_public")]
)
def test_what_is_not_easily_undone_is_asked_first(model: type[models.Model], action: str) -> None:
    client, row = member("operator"), model._default_manager.last()
    assert row is not None
    before = model._default_manager.filter(pk=row.pk).values().get()
    page = act(client, row, action).content.decode()
    assert f'name="_selected_action" value="{row.pk}"' in page
    assert 'name="confirmed"' in page
    assert model._default_manager.filter(pk=row.pk).values().get() == before


def test_what_was_so_already_is_told_and_not_written_again() -> None:
    fresh, *archived = (ProjectFactory(is_archived=old) for old in (False, True, True))
    versions = {row.pk: row.sync_version for row in Project.objects.filter(pk__in=[one.pk for one in archived])}
    client = member("operator")
    assert "0 archived. 1 was so already." in act(client, archived[0], "archive").content.decode()
    assert "1 archived. 2 were so already." in act(client, fresh, "archive", *archived).content.decode()
    assert {row.pk: row.sync_version for row in Project.objects.filter(pk__in=versions)} == versions


def test_an_action_is_never_for_all_pages_at_once() -> None:
    page = act(member("operator"), Project.objects.get(), "archive", select_across="1").content.decode()
    assert "for the rows of one page" in page
    assert not Project.objects.archived().exists()


# -- accounts of staff -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["support", "operator"])
def test_nobody_gives_themselves_or_others_rights(group: str) -> None:
    client, bob = member(group), User.objects.get(email__startswith="bob")
    url = address(User, "change", bob.pk)
    rights = {"is_staff": "on", "is_superuser": "on", "groups": str(Group.objects.get(name="operator").pk)}
    assert client.post(url, filled(client, url, name="Bobby") | rights).status_code == 302
    bob.refresh_from_db()
    assert (bob.name, bob.is_staff, bob.is_superuser, bob.groups.count()) == ("Bobby", False, False, 0)


@pytest.mark.parametrize("group", ["support", "operator"])
def test_accounts_of_staff_are_a_superusers_to_change(group: str) -> None:
    client = member(group)
    for other in (person_of(member("superuser")), person_of(member("viewer")), person_of(client)):
        password = {"password1": "a long password!", "password2": "a long password!", "usable_password": "true"}
        assert client.post(address(User, "change", other.pk), {"email": "x@example.org"}).status_code == 403
        assert client.post(f"/admin/accounts/user/{other.pk}/password/", password).status_code == 403
        assert client.post(address(User, "delete", other.pk), {"post": "yes"}).status_code == 403
        act(client, other, "deactivate", confirmed="1")
        other.refresh_from_db()
        assert other.is_active
        assert not other.check_password("a long password!")


# -- what people wrote -------------------------------------------------------------------------------------------------


def everything(client: Client) -> str:
    """All that the pages show, by each way in which they show it."""
    said = []
    for model in (Session, Message, Memory):
        row = model._default_manager.get()
        pages = (
            ["changelist"],
            ["change", row.pk],
            ["history", row.pk],
            ["delete", row.pk],
            ["export", "csv"],
            ["export", "json"],
        )
        for name, *args in pages:
            answer = client.get(address(model, name, *args))
            said.append(b"".join(answer) if answer.streaming else answer.content)
        said.append(act(client, row, "export_csv").getvalue())
        said.append(act(client, row, "delete_selected").content)
    for source, field in ((Message, "session"), (Message, "parent")):
        asked = {"app_label": "conversations", "model_name": source._meta.model_name, "field_name": field, "term": ""}
        said.append(client.get("/admin/autocomplete/", asked).content)
    return b"\n".join(said).decode()


def test_a_viewer_reads_nothing_that_people_wrote() -> None:
    shown = everything(member("viewer"))
    assert not [secret for secret in SECRETS if secret in shown]
    assert "hidden" in shown
    assert not PersonalReading.objects.exists()


def test_support_reads_it() -> None:
    shown = everything(member("support"))
    assert [secret for secret in SECRETS if secret not in shown] == []


@pytest.mark.parametrize(("group", "finds"), [("viewer", False), ("support", True)])
def test_what_one_may_not_read_one_cannot_find_either(group: str, finds: bool) -> None:
    client = member(group)
    for model, word in ((Message, "salary"), (Memory, "chamomile"), (Memory, "tea")):
        row = model._default_manager.get()
        assert (str(row.pk) in client.get(address(model, "changelist", q=word)).content.decode()) == finds
    assert ("tea-tag" in client.get(address(Memory, "changelist", tag="tea-tag")).content.decode()) == finds
    assert str(Memory.objects.get().pk) in client.get(address(Memory, "changelist", q="taste")).content.decode()


def test_each_view_of_it_is_kept_on_record_once() -> None:
    client, message = member("support"), Message.objects.get()
    client.get(address(Message, "changelist", q="salary"))
    client.get(address(Message, "change", message.pk))
    client.get(address(Session, "change", message.session_id))
    b"".join(client.get(address(Message, "export", "json")))
    seen = [
        (one.user_id, one.page, one.table_name, one.row_ids, one.rows) for one in PersonalReading.objects.order_by("id")
    ]
    person = person_of(client).pk
    assert seen == [
        (person, "list", "messages", [message.pk], 1),
        (person, "row", "messages", [message.pk], 1),
        (person, "row", "sessions", [message.session_id], 1),
        (person, "export", "messages", [], 1),
    ]
    assert PersonalReading.objects.order_by("id")[0].query == "q=salary"


def test_operators_see_who_read_a_row() -> None:
    message = Message.objects.get()
    member("support", email="curious@example.org").get(address(Message, "change", message.pk))
    page = member("operator").get(address(PersonalReading, "changelist", q=message.pk)).content.decode()
    assert "curious@example.org" in page
    assert member("support").get(address(PersonalReading, "changelist")).status_code == 403


def test_records_of_reading_are_kept_for_a_year() -> None:
    for age in (1, 366):
        row = PersonalReading.objects.create(table_name="messages", page="row")
        PersonalReading.objects.filter(pk=row.pk).update(created_at=timezone.now() - timedelta(days=age))
    personal.forget_old()
    assert PersonalReading.objects.count() == 1


# -- the groups --------------------------------------------------------------------------------------------------------


def test_the_groups_have_the_permissions_that_they_should() -> None:
    make_groups(apps)
    for name, wanted in GROUPS.items():
        has = Permission.objects.filter(group__name=name).values_list("content_type__app_label", "codename")
        assert {f"{app}.{codename}" for app, codename in has} == wanted
    assert Group.objects.filter(name__in=GROUPS).count() == len(GROUPS)


def test_what_a_person_added_to_a_group_stays_through_another_run() -> None:
    make_groups(apps)
    extra = Permission.objects.get(codename="add_user")
    Group.objects.get(name="viewer").permissions.add(extra)
    make_groups(apps)
    assert Group.objects.get(name="viewer").permissions.filter(pk=extra.pk).exists()


def test_names_of_rows_tell_nothing_that_people_wrote() -> None:
    client, message = member("operator"), Message.objects.get()
    url = address(Message, "change", message.pk)
    assert client.post(url, filled(client, url, content="other words")).status_code == 302
    with connection.cursor() as cursor:
        cursor.execute("SELECT object_repr || change_message FROM django_admin_log")
        said = json.dumps(cursor.fetchall())
    assert re.search("Content", said)
    assert not [words for words in (*SECRETS, "other words") if words in said]
