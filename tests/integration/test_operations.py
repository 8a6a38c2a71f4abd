"""What operators do: only they, only by POST, kept in the admin's log, told to all server processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Max
from django.test import Client
from django.utils import timezone

from syncing import maintenance, operations
from syncing.declarations import declarations
from syncing.exceptions import UnknownTable
from syncing.maintenance import Busy
from syncing.models import SyncCheckpoint, SyncClient, SyncEvent, SyncOrder, SyncTask
from tests.connections import listening
from tests.factories import UserFactory
from tests.staff import member, signed_in

Resets = Callable[[], list[str]]
URLS = [
    "/admin/operations/resync/",
    "/admin/operations/disconnect/?user={user}",
    "/admin/operations/run/prune_metrics/",
]


@pytest.fixture
def resets(db: None) -> Callable[[], list[str]]:
    """Tables of which a reset was logged since the test began; migrations log some, too."""
    before = SyncEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0
    since = SyncEvent.objects.filter(op="R", id__gt=before).order_by("id")
    return lambda: list(since.all().values_list("table_name", flat=True))


@pytest.mark.django_db
@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("group", ["viewer", "support", None])
def test_nobody_but_operators_is_asked_or_obeyed(group: str | None, url: str, resets: Resets) -> None:
    user = member(*[group] if group else [])
    client = signed_in(user)
    path, _, query = url.format(user=user.pk).partition("?")
    assert client.get(f"{path}?{query}").status_code == 403
    assert client.post(path, {"user": str(user.pk)}).status_code == 403
    assert resets() == []
    assert not LogEntry.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("url", URLS)
def test_an_ordinary_user_is_led_to_the_login(url: str, resets: Resets) -> None:
    user = UserFactory()
    client = signed_in(user)
    assert client.get(url.format(user=user.pk)).status_code == 302
    assert client.post(url.partition("?")[0], {"user": str(user.pk)}).status_code == 302
    assert resets() == []


@pytest.mark.django_db
@pytest.mark.parametrize("url", URLS)
def test_a_get_asks_and_does_nothing(url: str, resets: Resets) -> None:
    user = member("operator")
    text = signed_in(user).get(url.format(user=user.pk)).content.decode()
    assert "csrfmiddlewaretoken" in text
    assert resets() == []
    assert not LogEntry.objects.exists()


@pytest.mark.django_db
def test_a_post_without_the_token_of_the_page_is_refused(resets: Resets) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(member("operator"))
    assert client.post("/admin/operations/resync/").status_code == 403
    assert resets() == []


@pytest.mark.django_db
def test_everyone_is_forced_to_resync_by_resets_in_the_log(resets: Resets) -> None:
    user = member("operator")
    answer = signed_in(user).post("/admin/operations/resync/", follow=True)
    assert "Forced every client to resync." in answer.content.decode()
    assert sorted(resets()) == sorted(one.db_table for one in declarations().values())
    (entry,) = LogEntry.objects.all()
    assert (entry.user, entry.object_repr, entry.change_message) == (user, "resync", "Forced every client to resync.")


@pytest.mark.django_db
def test_one_table_alone_can_be_chosen(resets: Resets) -> None:
    signed_in(member("operator")).post("/admin/operations/resync/", {"table": "messages"})
    assert resets() == ["messages"]


@pytest.mark.django_db
@pytest.mark.parametrize("aim", [{"client": "x"}, {"user": "x"}, {"user": str(uuid4())}, {"table": "x"}])
def test_whoever_or_whatever_is_not_there_is_not_found(aim: dict[str, str], resets: Resets) -> None:
    assert signed_in(member("operator")).post("/admin/operations/resync/", aim).status_code == 404
    assert resets() == []


@pytest.mark.django_db
def test_nobody_in_particular_cannot_be_disconnected() -> None:
    assert signed_in(member("operator")).post("/admin/operations/disconnect/").status_code == 404
    with pytest.raises(ValueError, match="must be named"):
        operations.disconnect()


@pytest.mark.django_db
def test_a_task_that_is_none_of_those_listed_cannot_be_run() -> None:
    client = signed_in(member("operator"))
    for task in ("flush", "migrate", "nonsense"):
        assert client.post(f"/admin/operations/run/{task}/").status_code == 404
        with pytest.raises(KeyError):
            maintenance.run(task)


def test_a_task_that_fails_says_so() -> None:
    outcome = maintenance.start("nonsense", longest=60)
    assert not outcome.ok
    assert str(outcome).startswith("failed after")
    assert outcome.said == "exit code 1; the log tells more"


def test_a_task_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "LONGEST", 0.05)  # less than Python needs to begin
    assert maintenance.run("prune_metrics").how == "interrupted"


def test_one_task_at_a_time() -> None:
    with maintenance._running, pytest.raises(Busy):
        maintenance.run("prune_metrics")
    assert not maintenance._running.locked()


@pytest.mark.django_db(transaction=True)
def test_what_staff_start_is_recorded_and_takes_the_lock_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    known = connection.settings_dict
    place = f"{known['USER']}:{known['PASSWORD']}@{known['HOST']}:{known['PORT']}/{known['NAME']}"
    monkeypatch.setenv("DATABASE_URL", f"postgres://{place}")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "claudia.settings")
    outcome = maintenance.run("prune_metrics")
    assert str(outcome).endswith(": 0 rows deleted, 0 windows rolled up"), "as the task itself told it"
    recorded = SyncTask.objects.get(name="prune_metrics")
    assert (recorded.outcome, recorded.said) == ("done", outcome.said)
    with maintenance.session() as elsewhere:
        elsewhere.execute(maintenance.TAKE, ["prune_metrics"])
        with pytest.raises(Busy, match="runs already, since"):
            maintenance.run("prune_metrics")


@pytest.mark.django_db
def test_recent_operations_stand_on_the_dashboard_the_newest_first() -> None:
    user = member("operator")
    client = signed_in(user)
    for table in ("messages", "sessions"):
        client.post("/admin/operations/resync/", {"table": table})
    told = json.loads(client.get("/admin/dashboard/now/").content)["operations"]
    assert [one["outcome"] for one in told] == [
        "Forced every client, table sessions to resync.",
        "Forced every client, table messages to resync.",
    ]
    assert told[0]["who"] == user.email


# -- what the processes are told ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_all_processes_are_told_of_one_client_and_it_is_remembered(resets: Resets) -> None:
    user = UserFactory()
    mine, other = (SyncClient.objects.create(client=uuid4(), user=user) for _ in range(2))
    with listening("claudia_access") as ear:
        done = operations.force_resync(client=mine.client, tables=["messages"])
        operations.disconnect(user=user.pk, client=mine.client)
        told = ear.hear(2)
    orders = SyncOrder.objects.order_by("id")
    assert [(one.kind, one.user_id, one.client_id, one.tables) for one in orders] == [
        ("resync", None, mine.client, ["messages"]),
        ("disconnect", user.pk, mine.client, None),
    ]
    assert told == [{"order": str(one.pk)} for one in orders]
    assert (done.clients, done.tables) == (1, ("messages",))
    mine.refresh_from_db()
    other.refresh_from_db()
    newest = SyncCheckpoint.objects.aggregate(newest=Max("id"))["newest"] or 0
    assert (mine.resync_after, other.resync_after) == (newest, None)
    assert resets() == []


@pytest.mark.django_db
def test_orders_are_kept_for_a_day() -> None:
    client = uuid4()
    for age in (timedelta(hours=23), timedelta(hours=25)):
        SyncOrder.objects.create(kind="disconnect", client_id=client, given_at=timezone.now() - age)
    operations.disconnect(client=client)
    ages = [timezone.now() - one.given_at for one in SyncOrder.objects.order_by("given_at")]
    assert [age // timedelta(hours=1) for age in ages] == [23, 0]


@pytest.mark.django_db
def test_the_command_force_resync_says_what_it_did(capsys: pytest.CaptureFixture[str], resets: Resets) -> None:
    user = UserFactory(email="alice@example.org")
    SyncClient.objects.create(client=uuid4(), user=user)
    call_command("force_resync", "--user", "Alice@example.org")
    assert "1 known clients read anew" in capsys.readouterr().out
    call_command("force_resync", "--table", "memory", "--table", "messages")
    assert "every client reads anew: memory, messages" in capsys.readouterr().out
    assert resets() == ["memory", "messages"]
    with pytest.raises(CommandError, match="There is no user nobody"):
        call_command("force_resync", "--user", "nobody@example.org")


@pytest.mark.django_db
def test_an_unknown_table_is_refused_before_anything_is_done(resets: Resets) -> None:
    with pytest.raises(UnknownTable):
        operations.force_resync(tables=["messages", "nonsense"])
    assert resets() == []
