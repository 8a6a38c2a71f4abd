"""API tokens: shown once, kept as a digest, good until revoked, expired or their person is inactive."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.sites import site
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import services
from accounts.models import ApiToken
from accounts.tokens import BadExpiry, authenticate_token, create_token, revoke_token
from tests.connections import listening
from tests.factories.accounts import ApiTokenFactory, UserFactory

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_tokens::text FROM api_tokens")
        return " ".join(row[0] for row in cursor.fetchall())


def test_a_token_is_recognised_with_its_user() -> None:
    user = UserFactory()
    token, text = create_token(user, "laptop")
    assert re.fullmatch(r"claudia_[A-Za-z0-9_-]{43}", text)
    known = authenticate_token(text)
    assert known == token
    assert known is not None
    assert known.user == user


def test_the_secret_is_nowhere_in_the_database() -> None:
    token, text = create_token(UserFactory(), "laptop")
    assert text not in stored()
    assert text[len(token.prefix) :] not in stored()
    assert text.startswith(token.prefix)


@pytest.mark.parametrize("text", ["", "claudia_", "claudia_" + "x" * 43, "\ud800", "é" * 10_000, "\x00"])
def test_what_is_no_token_is_nobodys(text: str) -> None:
    ApiTokenFactory()
    assert authenticate_token(text) is None


def test_a_token_of_another_case_is_another_token() -> None:
    _, text = create_token(UserFactory(), "laptop")
    assert authenticate_token(text.swapcase()) is None
    assert authenticate_token(text + " ") is None


def test_a_revoked_token_is_no_good() -> None:
    token, text = create_token(UserFactory(), "laptop")
    assert revoke_token(token)
    assert not revoke_token(token)
    assert authenticate_token(text) is None


def test_an_expired_token_is_no_good() -> None:
    token, text = create_token(UserFactory(), "laptop", days=1)
    assert authenticate_token(text) == token
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert authenticate_token(text) is None


def test_a_token_of_an_inactive_person_is_no_good() -> None:
    user = UserFactory()
    token, text = create_token(user, "laptop")
    services.deactivate(user)
    assert authenticate_token(text) is None
    services.activate(user)
    assert authenticate_token(text) == token


@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_a_token_that_could_not_be_used_is_not_made(days: int) -> None:
    with pytest.raises(BadExpiry):
        create_token(UserFactory(), "laptop", days=days)


def test_use_is_recorded_at_most_once_a_minute(django_assert_num_queries: Any) -> None:
    token, text = create_token(UserFactory(), "laptop")
    with django_assert_num_queries(2):
        authenticate_token(text)
    with django_assert_num_queries(1):
        authenticate_token(text)
    long_ago = timezone.now() - timedelta(minutes=5)
    ApiToken.objects.update(last_used_at=long_ago)
    authenticate_token(text)
    token.refresh_from_db()
    assert token.last_used_at is not None
    assert token.last_used_at > long_ago


@pytest.mark.django_db(transaction=True)
def test_servers_are_told_which_tokens_are_no_good_any_more() -> None:
    revoked, expired, deleted, used = ApiTokenFactory.create_batch(4)
    with listening("claudia_access") as ear:
        used.last_used_at = timezone.now()
        used.save()  # nobody's business
        revoke_token(revoked)
        ApiToken.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
        key = str(deleted.pk)
        deleted.delete()
        assert ear.hear(3) == [{"token": str(revoked.pk)}, {"token": str(expired.pk)}, {"token": key}]


def test_create_token_prints_the_token_alone_on_the_last_line() -> None:
    user = UserFactory(email="alice@example.org")
    text = run("create_token", "Alice@example.org", "--name", "laptop", "--expires", "30").splitlines()[-1]
    token = authenticate_token(text)
    assert token is not None
    assert (token.user, token.name) == (user, "laptop")
    assert token.expires_at is not None
    assert timedelta(days=29) < token.expires_at - timezone.now() <= timedelta(days=30)


def test_create_token_refuses_what_would_be_of_no_use() -> None:
    UserFactory(email="gone@example.org", is_active=False)
    UserFactory(email="alice@example.org")
    for arguments, reason in (
        (["gone@example.org", "--name", "x"], "not active"),
        (["nobody@example.org", "--name", "x"], "no account"),
        (["alice@example.org", "--name", "x", "--expires", "0"], "1 to 36500 days"),
    ):
        with pytest.raises(CommandError, match=reason):
            run("create_token", *arguments)
    assert not ApiToken.objects.exists()


def test_list_tokens_tells_what_each_is_worth() -> None:
    user = UserFactory(email="alice@example.org")
    good = ApiTokenFactory(user=user, name="laptop")
    expired = ApiTokenFactory(user=user, expires_at=timezone.now())
    revoked = ApiTokenFactory()
    revoke_token(revoked)
    inactive = ApiTokenFactory(user__is_active=False)
    states = {line.split()[-1]: line.split()[1] for line in run("list_tokens").splitlines()}
    assert states == {
        good.name: "good",
        expired.name.split()[-1]: "expired",
        revoked.name.split()[-1]: "revoked",
        inactive.name.split()[-1]: "inactive",
    }
    assert len(run("list_tokens", "alice@example.org").splitlines()) == 2


def test_revoke_token_takes_a_prefix_an_id_or_the_whole_token() -> None:
    tokens = [create_token(UserFactory(), f"token {number}") for number in range(3)]
    for given in (tokens[0][0].prefix, str(tokens[1][0].pk), tokens[2][1]):
        assert run("revoke_token", given).startswith("Revoked ")
    assert not ApiToken.objects.usable().exists()
    assert "before" in run("revoke_token", tokens[0][0].prefix)


def test_revoke_token_asks_when_several_are_meant() -> None:
    first, second = ApiTokenFactory.create_batch(2, prefix="claudia_abcdef")
    with pytest.raises(CommandError) as refused:
        run("revoke_token", "claudia_abcdef")
    assert str(first.pk) in str(refused.value)
    assert str(second.pk) in str(refused.value)
    with pytest.raises(CommandError, match="no such token"):
        run("revoke_token", "claudia_zzzzzz")
    assert ApiToken.objects.usable().count() == 2


def test_staff_see_and_revoke_tokens_and_never_the_secret() -> None:
    staff = UserFactory(is_staff=True, is_superuser=True)
    token, text = create_token(UserFactory(), "laptop")
    client = Client()
    client.force_login(staff)
    page = client.get(reverse("admin:accounts_apitoken_changelist"))
    detail = client.get(reverse("admin:accounts_apitoken_change", args=[token.pk]))
    for response in (page, detail):
        assert response.status_code == 200
        assert token.prefix in response.content.decode()
        assert text not in response.content.decode()
        assert token.digest not in response.content.decode()
    assert client.get(reverse("admin:accounts_apitoken_add")).status_code == 403
    chosen = {"action": "revoke", "_selected_action": [str(token.pk)]}
    client.post(page.request["PATH_INFO"], chosen)
    assert authenticate_token(text), "it asks first"
    client.post(page.request["PATH_INFO"], {**chosen, "confirmed": "yes"})
    assert authenticate_token(text) is None
    assert site.is_registered(ApiToken)
