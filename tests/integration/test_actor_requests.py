"""Web pages and commands write as somebody: the request's user, the command's name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from accounts.models import User
from claudia.urls import urlpatterns as site
from tests.capture import newest_event, read_log
from tests.factories import MemoryFactory, ProjectFactory, UserFactory

ROOT = Path(__file__).resolve().parent.parent.parent


def write(request: HttpRequest) -> HttpResponse:
    """Writes, then does as it is told."""
    ProjectFactory(name="written by a view", owner=User.objects.get(email="owner@example.org"))
    match request.GET.get("then"):
        case "crash":
            raise ZeroDivisionError
        case "not found":
            raise Http404
        case "forbidden":
            raise PermissionDenied
        case "unavailable":
            return HttpResponse(status=503)
    return HttpResponse(str(connection.in_atomic_block))


urlpatterns = [path("write/", write), path("api/write/", write), *site]
here = override_settings(ROOT_URLCONF=__name__)


@pytest.fixture
def person(db: None) -> User:
    UserFactory(email="owner@example.org")
    return UserFactory(is_staff=True, is_superuser=True)


@pytest.fixture
def client(person: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(person)
    return client


@pytest.fixture
def written() -> Callable[[], list[tuple[object, str | None]]]:
    """(user, origin) of what was logged of projects since."""
    since = newest_event()
    return lambda: [(event.user_id, event.origin) for event in read_log(since) if event.table_name == "projects"]


@pytest.fixture(autouse=True)
def urls() -> Iterator[None]:
    with here:
        yield


def test_what_a_page_writes_is_its_users(client: Client, person: User, written: Callable[[], object]) -> None:
    assert client.post("/write/").status_code == 200
    assert written() == [(person.pk, "web")]


def test_what_a_stranger_writes_is_nobodys(person: User, written: Callable[[], object]) -> None:
    assert Client().post("/write/").status_code == 200
    assert written() == [(None, "web")]


def test_what_staff_write_in_the_admin_is_marked(client: Client, person: User) -> None:
    memory, since = MemoryFactory(), newest_event()
    response = client.post(f"/admin/memory/memory/{memory.pk}/delete/", {"post": "yes"})
    assert response.status_code == 302
    assert [(event.user_id, event.origin, event.op) for event in read_log(since)] == [(person.pk, "admin", "D")]


@pytest.mark.parametrize("then", ["crash", "not found", "forbidden", "unavailable"])
def test_a_request_that_fails_writes_nothing(client: Client, written: Callable[[], object], then: str) -> None:
    assert client.post("/write/", query_params={"then": then}).status_code in (403, 404, 500, 503)
    assert written() == []


@pytest.mark.django_db(transaction=True)
def test_only_a_request_that_may_write_opens_a_transaction(person: User) -> None:
    assert Client().get("/write/").content == b"False"
    assert Client().post("/write/").content == b"True"


def test_programs_tell_their_own_actor_mutation_by_mutation(client: Client, written: Callable[[], object]) -> None:
    client.post("/api/write/")
    assert written() == [(None, None)]


@pytest.mark.django_db(transaction=True)
def test_what_a_command_writes_bears_its_name() -> None:
    since = newest_event()
    settings = connection.settings_dict
    url = (
        f"postgres://{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
    )
    email = f"{uuid4()}@example.org"
    done = subprocess.run(
        [sys.executable, ROOT / "manage.py", "createsuperuser", "--noinput", "--email", email],
        env=os.environ
        | {
            "DATABASE_URL": url,
            "DJANGO_SUPERUSER_PASSWORD": "a-long-enough-one",
            "DJANGO_SETTINGS_MODULE": "claudia.settings",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (event,) = read_log(since)
    assert (event.table_name, event.op, event.origin) == ("users", "I", "command createsuperuser")
