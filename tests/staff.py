"""Staff at their pages: who may what, and what a page says."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import User
from claudia.groups import make_groups
from tests.factories import UserFactory

LOG = "/admin/syncing/syncevent/"
CONFLICTS = "/admin/syncing/syncconflict/"


def member(*groups: str, **values: Any) -> User:
    """A member of staff in these groups, which are there even after a test that emptied the tables."""
    make_groups(apps)
    user: User = UserFactory(is_staff=True, **values)
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


def signed_in(user: User) -> Client:
    """A browser in which they are signed in."""
    client = Client()
    client.force_login(user)
    return client


def page(browser: Client, url: str, status: int = 200, **query: str) -> str:
    """The main part of a page, as HTML."""
    response = browser.get(url, query)
    assert response.status_code == status, (url, response.status_code)
    return main_of(response)


def main_of(response: Any) -> str:
    """The main part of an answer's page."""
    text = response.content.decode()
    _, start, rest = text.partition('<div class="sync-page">')
    return rest if start else text


def words(html: str) -> str:
    """What a person reads of it."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())
