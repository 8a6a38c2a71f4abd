"""Secret values of projects: sealed everywhere, opened by who asks, and never in the log."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ValidationError
from django.db import connection

from projects import services
from projects.models import Project
from projects.secrets import CannotOpen, Secrets
from tests.connections import at_once
from tests.factories.accounts import UserFactory
from tests.factories.projects import ProjectFactory

pytestmark = pytest.mark.django_db
SECRET = "correct horse battery staple"


def stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT environment FROM projects")
        return str(cursor.fetchone()[0])


def logged() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(concat(after, before, keys), ' ') FROM sync_events")
        return str(cursor.fetchone()[0])


def test_values_are_merged_and_removed_by_name() -> None:
    project = ProjectFactory()
    services.set_environment(project, {"TOKEN": SECRET, "REGION": "eu"})
    services.set_environment(project, {"REGION": None, "LEVEL": "debug", "NONE": None})
    assert Project.objects.get().environment.open() == {"TOKEN": SECRET, "LEVEL": "debug"}


def test_nothing_but_opening_shows_a_value() -> None:
    project = ProjectFactory(environment={"TOKEN": SECRET})
    loaded = Project.objects.get(pk=project.pk)
    assert SECRET not in stored()
    assert "TOKEN" not in stored()
    assert "environment" not in logged()
    assert stored() not in logged()
    assert SECRET not in f"{loaded.environment!r} {loaded.environment} {loaded.__dict__}"
    assert loaded.environment.open() == {"TOKEN": SECRET}


def test_changing_a_secret_tells_browsers_nothing() -> None:
    project = ProjectFactory()
    version = project.sync_version
    services.set_environment(project, {"TOKEN": SECRET})
    assert project.sync_version == version


def test_keys_are_rotated(settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [old]
    project = ProjectFactory(environment={"TOKEN": SECRET})
    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    project = Project.objects.get(pk=project.pk)
    project.environment = project.environment.resealed()
    project.save()
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert Project.objects.get().environment.open() == {"TOKEN": SECRET}


def test_a_lost_key_spoils_the_secrets_and_nothing_else(settings: Any) -> None:
    ProjectFactory(name="Dashboard", environment={"TOKEN": SECRET})
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    project = Project.objects.get()
    assert project.name == "Dashboard"
    with pytest.raises(CannotOpen):
        project.environment.open()
    with pytest.raises(CannotOpen):  # setting one would lose the others
        services.set_environment(project, {"REGION": "eu"})


def test_only_texts_by_name_are_sealed() -> None:
    assert Secrets.seal({}) == Secrets()
    with pytest.raises(ValidationError):
        Secrets.seal({"TOKEN": 1})  # type: ignore[dict-item]
    with pytest.raises(ValidationError):
        ProjectFactory(environment="TOKEN=1")


@pytest.mark.django_db(transaction=True)
def test_two_who_set_different_values_at_once_both_win() -> None:
    project = ProjectFactory(owner=UserFactory())
    names = [f"NAME_{number}" for number in range(6)]
    at_once(*(lambda name=name: services.set_environment(Project(pk=project.pk), {name: "x"}) for name in names))
    assert sorted(Project.objects.get().environment.open()) == names
