"""Accounts: one per address, preferences merged, rules told in words."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

import syncing
from accounts import services
from accounts.models import User
from accounts.rules import EmailMissing, EmailTaken
from accounts.signals import preferences_changed, user_created, user_deactivated
from tests.cast import cast
from tests.connections import at_once, listening
from tests.factories.accounts import UserFactory

pytestmark = pytest.mark.django_db


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """What psql would do."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else []


def test_an_address_is_taken_whatever_its_case() -> None:
    services.create_user("Alice@Example.org")
    with pytest.raises(EmailTaken):
        services.create_user("alice@EXAMPLE.ORG")
    assert User.objects.count() == 1  # and the transaction goes on


def test_plain_sql_spells_addresses_alike_and_gets_every_default() -> None:
    sql("INSERT INTO users (email) VALUES ('  Alice@Example.ORG ')")
    user = User.objects.get()
    assert user.email == "alice@example.org"
    assert (user.is_active, user.is_staff, user.is_superuser, user.name) == (True, False, False, "")
    assert user.preferences == User().preferences
    assert user.scope == f"u:{user.pk}"
    assert not user.has_usable_password()
    sql("UPDATE users SET email = 'BOB@example.org'")
    assert User.objects.by_email("Bob@Example.org") == user


def test_an_account_needs_an_address_that_is_one() -> None:
    with pytest.raises(EmailMissing):
        services.create_user("  ")
    with pytest.raises(ValidationError):
        services.create_user("nobody")
    with pytest.raises(EmailMissing), syncing.translated():
        User.objects.create(email="")


def test_people_log_in_by_any_spelling_of_their_address() -> None:
    user = services.create_user("alice@example.org", "a long password")
    assert authenticate(username="ALICE@example.org", password="a long password") == user
    assert authenticate(username="alice@example.org", password="another one") is None


def test_without_a_password_nobody_logs_in() -> None:
    user = services.create_user("alice@example.org")
    assert not user.has_usable_password()
    assert authenticate(username="alice@example.org", password="!") is None


def test_createsuperuser_makes_staff_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a long password")
    call_command("createsuperuser", "--noinput", "--email", "Root@Example.org", stdout=StringIO())
    user = User.objects.get()
    assert (user.email, user.is_staff, user.is_superuser) == ("root@example.org", True, True)
    assert authenticate(username="root@example.org", password="a long password") == user
    with pytest.raises((CommandError, EmailTaken)):
        call_command("createsuperuser", "--noinput", "--email", "ROOT@example.org", stdout=StringIO())


def test_preferences_are_merged_key_by_key() -> None:
    user = UserFactory()
    services.merge_preferences(user, {"theme": "dark", "notifications": {"push": False}})
    assert user.preferences == {
        "theme": "dark",
        "language": "en",
        "timezone": "UTC",
        "notifications": {"email": True, "push": False, "desktop": True},
    }
    services.merge_preferences(user, {})
    assert user.preferences["theme"] == "dark"


def test_merging_makes_up_for_what_is_missing() -> None:
    user = UserFactory(preferences={})
    services.merge_preferences(user, {"notifications": {"email": False}})
    assert user.preferences == {"notifications": {"email": False}}


@pytest.mark.django_db(transaction=True)
def test_two_browsers_that_change_different_preferences_both_win() -> None:
    user = UserFactory()
    changes: list[dict[str, Any]] = [
        {"theme": "dark"},
        {"language": "de"},
        {"notifications": {"email": False}},
        {"notifications": {"push": False}},
        {"notifications": {"desktop": False}},
        {"timezone": "Europe/Berlin"},
    ]
    at_once(*(lambda change=change: services.merge_preferences(User(pk=user.pk), change) for change in changes))
    user.refresh_from_db()
    assert user.preferences == {
        "theme": "dark",
        "language": "de",
        "timezone": "Europe/Berlin",
        "notifications": {"email": False, "push": False, "desktop": False},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theme": "pink"}, "preferences.theme: 'pink' is not one of ['light', 'dark', 'system']"),
        ({"notifications": {"push": 1}}, "preferences.notifications.push: 1 is not of type 'boolean'"),
        ({"timezone": "Mars/Base"}, "preferences.timezone: 'Mars/Base' is not a 'timezone'"),
        ({"colour": 1}, "preferences: Additional properties are not allowed ('colour' was unexpected)"),
    ],
)
def test_preferences_that_do_not_fit_are_refused_by_path(changes: dict[str, Any], message: str) -> None:
    user = UserFactory()
    before = user.preferences
    with pytest.raises(ValidationError) as refused:
        services.merge_preferences(user, changes)
    assert refused.value.messages == [message]
    user.refresh_from_db()
    assert user.preferences == before


def test_presence_is_written_at_most_once_a_minute() -> None:
    user = UserFactory()
    assert services.touch(user)
    user.refresh_from_db()
    first = user.last_active_at
    assert not services.touch(user)
    User.objects.filter(pk=user.pk).update(last_active_at=timezone.now() - timedelta(minutes=2))
    assert services.touch(user)
    user.refresh_from_db()
    assert first is not None
    assert user.last_active_at is not None
    assert user.last_active_at >= first


def test_verbs_find_people() -> None:
    here, away, gone = UserFactory(is_staff=True), UserFactory(), UserFactory()
    services.touch(here)
    User.objects.filter(pk=away.pk).update(last_active_at=timezone.now() - timedelta(days=3))
    services.deactivate(gone)
    assert set(User.objects.active()) == {here, away}
    assert list(User.objects.staff()) == [here]
    assert list(User.objects.seen_within(minutes=5)) == [here]
    assert User.objects.by_email(away.email.upper()) == away
    assert User.objects.by_email("nobody@example.org") is None
    assert User.objects.stats() == {"total": 3, "active": 2, "staff": 1, "seen_today": 1}


def test_people_see_their_own_account_only() -> None:
    people = cast()
    assert list(User.objects.visible_to(people.alice)) == [people.alice]


def test_signals_tell_after_the_commit(django_capture_on_commit_callbacks: Any) -> None:
    heard: list[tuple[str, Any]] = []
    receivers = {
        user_created: lambda user, **_: heard.append(("created", user)),
        preferences_changed: lambda changes, **_: heard.append(("preferences", changes)),
        user_deactivated: lambda user, **_: heard.append(("deactivated", user)),
    }
    for signal, receiver in receivers.items():
        signal.connect(receiver)
    with django_capture_on_commit_callbacks(execute=True):
        user = services.create_user("alice@example.org")
        services.merge_preferences(user, {"theme": "dark"})
        assert services.deactivate(user)
        assert not services.deactivate(user)  # no news
        assert heard == []
    assert heard == [("created", user), ("preferences", {"theme": "dark"}), ("deactivated", user)]


def test_the_log_never_holds_a_password() -> None:
    user = services.create_user("alice@example.org", "a long password")
    user.set_password("another long password")
    user.name = "Alice"
    user.save()
    user.delete()
    for after, before in sql("SELECT after, before FROM sync_events WHERE table_name = 'users' AND op <> 'R'"):
        for image in (after, before):
            assert not image or "password" not in json.loads(image)
            assert not image or "md5" not in image


def test_saving_some_fields_keeps_other_changes_for_the_next_save() -> None:
    user = UserFactory()
    user.name = "Renamed"
    user.last_login = timezone.now()
    user.save(update_fields=["last_login"])
    user.save()
    assert User.objects.get().name == "Renamed"


@pytest.mark.django_db(transaction=True)
def test_servers_are_told_who_lost_access() -> None:
    user = UserFactory()
    key = str(user.pk)
    with listening("claudia_access") as ear:
        user.name = "Renamed"
        user.save()  # nobody's business
        user.set_password("a new password")
        user.save()
        services.deactivate(user)
        services.activate(user)  # nothing is lost
        user.delete()
        assert ear.hear(3) == [{"user": key, "sessions": True}, {"user": key}, {"user": key}]
