"""Accounts, projects and agents in the admin: pages open, forms say what is wrong, actions do what they say."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.db import models
from django.test import Client
from django.urls import reverse

from accounts.models import ApiToken, User
from agents.models import Agent
from projects.models import Collaborator, Project
from tests.cast import Cast, cast
from tests.factories.accounts import ApiTokenFactory, UserFactory
from tests.factories.agents import AgentFactory

pytestmark = pytest.mark.django_db
MODELS = [User, ApiToken, Project, Collaborator, Agent]


@pytest.fixture
def people() -> Cast:
    people = cast()
    AgentFactory(created_by=people.bob, project=people.project)
    ApiTokenFactory(user=people.bob)
    return people


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(UserFactory(email="root@example.org", is_staff=True, is_superuser=True))
    return client


def page(model: type[models.Model], name: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def filled(client: Client, url: str, **changes: Any) -> dict[str, Any]:
    """What a browser would send back from this form, with some changes."""
    response = client.get(url)
    form = response.context["adminform"].form
    formsets = [inline.formset for inline in response.context["inline_admin_formsets"]]
    data: dict[str, Any] = {}
    for part in [form, *(f.management_form for f in formsets), *(f for s in formsets for f in s.forms)]:
        for bound in part:
            value = bound.value()
            if isinstance(value, bool):
                data |= {bound.html_name: "on"} if value else {}
            elif bound.field.widget.__class__.__name__ == "AdminSplitDateTime":
                data |= {f"{bound.html_name}_0": "", f"{bound.html_name}_1": ""}
            else:
                data[bound.html_name] = "" if value is None else value
    return data | changes


def errors(response: Any) -> str:
    assert response.status_code == 200, "the form was taken"
    return response.content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_every_page_opens_and_finds(model: type[models.Model], people: Cast, client: Client) -> None:
    row = model._default_manager.first()
    assert row is not None
    assert client.get(page(model, "changelist")).status_code == 200
    assert client.get(page(model, "changelist"), {"q": "bob"}).status_code == 200
    assert client.get(page(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_the_list_needs_no_query_by_row(
    model: type[models.Model], people: Cast, client: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        AgentFactory(project=people.project)
        ApiTokenFactory()
    with django_assert_max_num_queries(12):
        client.get(page(model, "changelist"))


@pytest.mark.parametrize("model", MODELS)
def test_what_the_database_keeps_cannot_be_typed(model: type[models.Model], people: Cast, client: Client) -> None:
    row = model._default_manager.first()
    assert row is not None
    response = client.get(page(model, "change", row.pk))
    if adminform := response.context.get("adminform"):
        kept = {"id", "sync_version", "scope", "created_at", "updated_at", "total_sessions", "total_runs", "digest"}
        assert not kept & set(adminform.form.fields)


def test_staff_make_an_account_and_change_it(client: Client) -> None:
    add = {"email": "New@Example.org", "name": "New", "usable_password": "true"}
    password = {"password1": "a long password!", "password2": "a long password!"}
    client.post(page(User, "add"), add | password)
    user = User.objects.get(email="new@example.org")
    assert authenticate(username="new@example.org", password="a long password!") == user
    url = page(User, "change", user.pk)
    assert client.post(url, filled(client, url, name="Newer")).status_code == 302
    user.refresh_from_db()
    assert user.name == "Newer"
    assert authenticate(username="new@example.org", password="a long password!") == user


def test_an_account_without_a_password_can_be_made(client: Client) -> None:
    client.post(page(User, "add"), {"email": "robot@example.org", "name": "Robot", "usable_password": "false"})
    assert not User.objects.get(email="robot@example.org").has_usable_password()


def test_a_taken_address_is_told_beside_the_form(people: Cast, client: Client) -> None:
    add = {"email": "BOB@example.org", "usable_password": "false"}
    assert "already" in errors(client.post(page(User, "add"), add))


def test_json_that_does_not_fit_is_told_by_path(people: Cast, client: Client) -> None:
    url = page(Agent, "change", Agent.objects.get().pk)
    for config, reason in (
        ('{"temperature": 3}', "config.temperature: 3 is greater than the maximum of 2"),
        ("[]", "config: [] is not of type"),
        ("", "cannot be null"),
        ("{", "Enter a valid JSON"),
    ):
        assert reason in errors(client.post(url, filled(client, url, config=config)))
    assert client.post(url, filled(client, url, config='{"temperature": 1}')).status_code == 302
    assert Agent.objects.get().config == {"temperature": 1}


def test_secrets_go_in_and_never_out(people: Cast, client: Client) -> None:
    url = page(Project, "change", people.project.pk)
    secret = "correct horse battery"
    assert client.post(url, filled(client, url, secret_values=f"TOKEN={secret}\nREGION=eu")).status_code == 302
    assert client.post(url, filled(client, url, secret_values="REGION=")).status_code == 302
    shown = client.get(url).content.decode()
    assert "TOKEN" in shown
    assert secret not in shown
    assert Project.objects.get().environment.open() == {"TOKEN": secret}
    refused = errors(client.post(url, filled(client, url, secret_values="TOKEN")))
    assert "NAME=value" in refused


def test_the_owner_keeps_their_place_in_the_form(people: Cast, client: Client) -> None:
    url = page(Project, "change", people.project.pk)
    data = filled(client, url)
    [row] = [name.removesuffix("-user") for name, value in data.items() if value == people.alice.pk and "-user" in name]
    assert "owner of a project" in errors(client.post(url, data | {f"{row}-role": "viewer"}))
    assert "owner of a project" in errors(client.post(url, data | {f"{row}-DELETE": "on"}))
    more = {
        "collaborators-TOTAL_FORMS": "4",
        "collaborators-3-user": people.mallory.pk,
        "collaborators-3-role": "viewer",
    }
    assert "without being added" in errors(client.post(url, data | more | {"owner": people.mallory.pk}))
    assert client.post(url, data | {"owner": people.bob.pk, f"{row}-DELETE": "on"}).status_code == 302
    assert dict(Collaborator.objects.values_list("user_name", "role")) == {"Bob": "admin", "Vera": "viewer"}


def test_the_owner_keeps_their_place_in_the_list_of_collaborators(people: Cast, client: Client) -> None:
    owner = Collaborator.objects.get(user=people.alice)
    url = page(Collaborator, "change", owner.pk)
    assert "owner of a project" in errors(client.post(url, filled(client, url, role="viewer")))
    assert "owner of a project" in errors(client.post(url, filled(client, url, user=people.mallory.pk)))
    assert client.post(page(Collaborator, "delete", owner.pk), {"post": "yes"}).status_code == 403
    everyone = Collaborator.objects.all()
    for rows, left in ((everyone, 3), (everyone.exclude(pk=owner.pk), 1)):
        chosen = {"action": "delete_selected", "_selected_action": [str(row.pk) for row in rows], "post": "yes"}
        client.post(page(Collaborator, "changelist"), chosen)
        assert Collaborator.objects.count() == left
    assert [row.user for row in Collaborator.objects.all()] == [people.alice]


@pytest.mark.parametrize(
    ("model", "action", "name", "after"),
    [
        (User, "deactivate", "is_active", False),
        (User, "activate", "is_active", True),
        (Project, "archive", "is_archived", True),
        (Project, "unarchive", "is_archived", False),
        (Agent, "make_public", "is_public", True),
        (Agent, "make_private", "is_public", False),
    ],
)
def test_actions_do_what_they_say(
    model: type[models.Model], action: str, name: str, after: bool, people: Cast, client: Client
) -> None:
    rows = model._default_manager.exclude(**({"email": "root@example.org"} if model is User else {}))
    rows.update(**{name: not after})
    chosen = {"action": action, "_selected_action": [str(pk) for pk in rows.values_list("pk", flat=True)]}
    chosen |= {"confirmed": "1"}
    client.get(page(model, "changelist"), chosen)
    assert not rows.filter(**{name: after}).exists()  # nothing is done by GET
    client.post(page(model, "changelist"), chosen)
    assert not rows.exclude(**{name: after}).exists()


def test_staff_do_not_lock_themselves_out(people: Cast, client: Client) -> None:
    everyone = [str(pk) for pk in User.objects.values_list("pk", flat=True)]
    client.post(page(User, "changelist"), {"action": "deactivate", "_selected_action": everyone, "confirmed": "1"})
    assert [user.email for user in User.objects.active()] == ["root@example.org"]
