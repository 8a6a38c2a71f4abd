"""Staff of each group, forms as a browser sends them, and the pages of every model."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.admin import site
from django.contrib.auth.models import Group
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from claudia.groups import GROUPS, make_groups
from tests.factories.accounts import UserFactory

GROUP_NAMES = tuple(GROUPS)


def member(group: str | None, **values: Any) -> Client:
    """A client of somebody who is staff in this group; `superuser` is none; None: no staff at all."""
    if not Group.objects.filter(name="operator").exists():  # a test that flushed the database took it away
        make_groups(apps)
    superuser = group == "superuser"
    person = UserFactory(is_staff=group is not None, is_superuser=superuser, **values)
    if group and not superuser:
        person.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(person)
    client.person = person
    return client


def address(model: type[models.Model], name: str, *args: Any, **query: Any) -> str:
    """Of a page of the model: changelist, add, change, delete, history, export."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)
    return f"{url}?{'&'.join(f'{key}={value}' for key, value in query.items())}" if query else url


def filled(client: Client, url: str, **changes: Any) -> dict[str, Any]:
    """What a browser would send back from this form, with some changes."""
    response = client.get(url)
    return sent(response) | changes


def sent(response: Any) -> dict[str, Any]:
    """The values of all inputs of the page's form, by name."""
    form = response.context["adminform"].form
    formsets = [inline.formset for inline in response.context["inline_admin_formsets"]]
    data: dict[str, Any] = {}
    for part in [form, *(f.management_form for f in formsets), *(f for s in formsets for f in s.forms)]:
        for bound in part:
            data |= inputs(bound)
    return data


def inputs(bound: Any) -> dict[str, Any]:
    """Of one field."""
    value, widget = bound.value(), bound.field.widget
    if isinstance(value, bool):
        return {bound.html_name: "on"} if value else {}
    if hasattr(widget, "widgets"):
        parts = value if isinstance(value, list | tuple) else widget.decompress(value)
        return {
            f"{bound.html_name}_{at}": one.format_value(part) or ""
            for at, (one, part) in enumerate(zip(widget.widgets, parts, strict=True))
        }
    return {bound.html_name: "" if value is None else value}


def act(client: Client, row: models.Model, action: str, *others: models.Model, **data: Any) -> Any:
    """Runs an action of the list on these rows."""
    chosen = [str(one.pk) for one in (row, *others)]
    page = address(type(row), "changelist")
    return client.post(page, {"action": action, "_selected_action": chosen, **data}, follow=True)


def registered() -> list[type[models.Model]]:
    """All models that have a page."""
    return list(site._registry)


def person_of(client: Client) -> User:
    """Who is signed in."""
    person: User = client.person
    return person


def plans(client: Client, url: str, table: str) -> list[str]:
    """Plans of the page's queries of this table."""
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200, url
    found = []
    for query in queries:
        if query["sql"].startswith("SELECT") and f'FROM "{table}"' in query["sql"]:
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN " + query["sql"])
                found.append("\n".join(line for (line,) in cursor.fetchall()))
    assert found, f"nothing was asked of {table} by {url}"
    return found
