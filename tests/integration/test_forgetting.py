"""`prune_sync` and all that is not the log: receipts, while no mutation is ever applied twice; clients, conflicts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from conversations.models import Message
from syncing import archives, forgetting, receipts, retention
from syncing.databases import conninfo
from syncing.forgetting import MARGIN, forget
from syncing.identity import uuid7
from syncing.models import MutationReceipt, PersonalReading, SyncClient, SyncConflict, SyncEvent, SyncHorizon
from syncing.retention import Gone, Order, Stopped, alone
from syncing.writers import Writer
from tests.connections import at_once
from tests.factories import SessionFactory, UserFactory
from tests.factories.syncing import SyncConflictFactory
from tests.feeds import PATIENCE
from tests.ring import Ring
from tests.writing import Device, code, mutation

pytestmark = pytest.mark.django_db(transaction=True)

MONTH = 31 + MARGIN.days


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring()
    yield ring
    ring.close()


@pytest.fixture
def alice() -> Device:
    return Device(UserFactory(name="Alice"))


def forgotten(order: Order | None = None) -> dict[str, Gone]:
    """What went, by what it is."""
    with alone() as database:
        return {one.what: one for one in forget(database, order or Order())}


def minted(days_ago: float) -> str:
    """An id of version 7 from then."""
    return str(UUID(int=uuid7().int - (int(days_ago * 86_400_000) << 80)))


def say(device: Device, days_ago: float) -> Any:
    """A mutation that adds a message, minted so long ago."""
    values = {"session_id": str(SessionFactory(user=device.user).pk), "role": "user", "content": "hello"}
    return mutation("insert", "messages", uuid7(), values, id=minted(days_ago))


def answered(device: Device, days_ago: float, settings: Settings) -> Any:
    """One that was minted, sent and applied so long ago."""
    one = say(device, days_ago)
    kept, settings.SYNC_RECEIPT_DAYS = settings.SYNC_RECEIPT_DAYS, 3650
    assert device.send(one).result.status == "applied"
    settings.SYNC_RECEIPT_DAYS = kept
    MutationReceipt.objects.filter(mutation=one.id).update(created_at=timezone.now() - timedelta(days=days_ago))
    return one


# -- receipts ----------------------------------------------------------------------------------------------------------


def test_receipts_go_when_their_mutations_are_expired_and_a_day_more(alice: Device, settings: Settings) -> None:
    old, young = answered(alice, MONTH, settings), answered(alice, 30.5, settings)
    assert forgotten()["receipts of mutations"].rows == 1
    assert list(MutationReceipt.objects.values_list("mutation", flat=True)) == [young.id]
    assert code(alice.send(old)) == "expired"
    assert alice.send(young).result.replayed, "as long as it is there it answers"
    assert Message.objects.count() == 2


def test_a_mutation_whose_receipt_is_gone_stays_expired_when_receipts_are_kept_longer(
    alice: Device, settings: Settings
) -> None:
    old, other = answered(alice, MONTH, settings), say(alice, MONTH)
    forgotten()
    settings.SYNC_RECEIPT_DAYS = 60
    assert code(alice.send(old)) == "expired"
    assert code(alice.send(other)) == "expired", "nobody knows that it was never sent"
    assert Message.objects.count() == 1
    young = say(alice, 20)
    assert [answer.result.status for answer in alice.group(young)] == ["applied"]
    assert code(alice.group(old)[0]) == "expired"


def test_what_a_clock_that_is_ahead_minted_is_remembered_until_it_is_expired(alice: Device, settings: Settings) -> None:
    ahead = say(alice, -100)
    assert alice.send(ahead).result.status == "applied"
    MutationReceipt.objects.update(created_at=timezone.now() - timedelta(days=90))
    old = answered(alice, MONTH, settings)
    assert forgotten()["receipts of mutations"].rows == 1
    assert alice.send(ahead).result.replayed
    assert code(alice.send(old)) == "expired"


def test_what_was_minted_long_ago_and_came_now_is_remembered(alice: Device, settings: Settings) -> None:
    """While receipts were kept longer; since then the setting was lowered."""
    settings.SYNC_RECEIPT_DAYS = 60
    late = say(alice, 50)
    assert alice.send(late).result.status == "applied"
    settings.SYNC_RECEIPT_DAYS = 30
    assert forgotten() == {}
    assert alice.send(late).result.replayed


def test_decisions_have_ids_that_tell_no_age_and_go_by_when_they_came(alice: Device) -> None:
    conflict = SyncConflictFactory(user=alice.user)
    alice.resolve(conflict, "remote_wins", id="00000000-0000-4000-8000-000000000001")
    SyncHorizon.objects.create(receipts_from=UUID(minted(0)))
    assert forgotten() == {}
    again = SyncConflictFactory(user=alice.user)
    assert alice.resolve(again, "remote_wins", id="00000000-0000-4000-8000-000000000002").result.error is None
    MutationReceipt.objects.update(created_at=timezone.now() - timedelta(days=MONTH))
    assert forgotten()["receipts of mutations"].rows == 2


def test_who_claims_a_receipt_by_the_former_horizon_is_waited_for(
    alice: Device, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting was just raised here, and the first copy's receipt is about to go."""
    old = answered(alice, MONTH, settings)
    other = say(alice, MONTH)
    settings.SYNC_RECEIPT_DAYS = 60
    claimed, go_on = threading.Event(), threading.Event()
    results: list[Gone] = []

    def claims() -> None:
        with transaction.atomic():
            receipts.claim(Writer(alice.user, alice.client), [other])  # it has read the horizon, and holds the table
            claimed.set()
            assert go_on.wait(PATIENCE)

    def prunes() -> None:
        assert claimed.wait(PATIENCE)
        settings.SYNC_RECEIPT_DAYS = 30
        results.extend(forgotten().values())
        go_on.set()

    at_once(claims, prunes)
    assert [one.left != "" for one in results] == [True]
    assert MutationReceipt.objects.filter(mutation=old.id).exists(), "it answers still"
    settings.SYNC_RECEIPT_DAYS = 60
    assert alice.send(old).result.replayed
    settings.SYNC_RECEIPT_DAYS = 30
    assert forgotten()["receipts of mutations"].left == ""


def test_a_replay_whose_receipt_goes_in_the_same_moment_is_expired(
    alice: Device, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found, and is gone before it is counted."""
    old = answered(alice, MONTH, settings)
    settings.SYNC_RECEIPT_DAYS = 60
    known = receipts._known

    def late(*arguments: Any) -> Any:
        MutationReceipt.objects.all().delete()
        return known(*arguments)

    monkeypatch.setattr(receipts, "_known", late)
    assert alice.send(old).result.replayed
    SyncHorizon.objects.create(receipts_from=UUID(minted(MONTH - 1)))
    assert code(alice.send(old)) == "expired"
    assert Message.objects.count() == 1


def test_receipts_go_batch_by_batch_past_those_that_stay(
    alice: Device, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "RECEIPTS", forgetting.RECEIPTS.replace("LIMIT 2000", "LIMIT 2"))
    ahead = [say(alice, -1) for _ in range(3)]
    for one in ahead:
        alice.send(one)
    MutationReceipt.objects.update(created_at=timezone.now() - timedelta(days=90))
    for _ in range(5):
        answered(alice, MONTH, settings)
    assert forgotten()["receipts of mutations"].rows == 5
    assert set(MutationReceipt.objects.values_list("mutation", flat=True)) == {one.id for one in ahead}


# -- the others --------------------------------------------------------------------------------------------------------


def ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def test_clients_that_were_not_seen_are_forgotten_unless_they_must_read_anew(ring: Ring, alice: Device) -> None:
    checkpoint = ring.checkpoint()
    for days, resync_after in ((92, None), (80, None), (92, checkpoint), (92, checkpoint - 1)):
        SyncClient.objects.create(
            client=uuid4(), user=alice.user, last_sync_at=ago(days), connected_at=ago(days), resync_after=resync_after
        )
    assert forgotten()["clients that were not seen"].rows == 2
    left = SyncClient.objects.order_by("last_sync_at").values_list("resync_after", flat=True)
    assert list(left) == [checkpoint, None]


def decided(days: float, **values: Any) -> SyncConflict:
    return SyncConflictFactory(status="resolved", resolution="merge", resolved_at=ago(days), **values)


def test_decided_conflicts_go_and_open_ones_stay_however_old(ring: Ring, alice: Device) -> None:
    old = decided(92, user=alice.user)
    expired = SyncConflictFactory(status="expired", resolved_at=ago(92), user=alice.user)
    young = decided(80, user=alice.user)
    open_ = SyncConflictFactory(user=alice.user)
    SyncConflict.objects.filter(pk=open_.pk).update(created_at=ago(900))
    assert forgotten()["decided conflicts"].rows == 2
    assert set(SyncConflict.objects.values_list("pk", flat=True)) == {young.pk, open_.pk}
    events = SyncEvent.objects.filter(row_id__in=[old.pk, expired.pk], op="D")
    assert {event.origin for event in events} == {"command prune_sync"}, "clients are told, and the log knows by whom"


def test_what_tells_what_staff_did_is_kept_longer(ring: Ring, alice: Device) -> None:
    for days in (800, 700):
        reading = PersonalReading.objects.create(user=alice.user, table_name="memory", page="row")
        PersonalReading.objects.filter(pk=reading.pk).update(created_at=ago(days))
        LogEntry.objects.create(
            user=alice.user, action_time=ago(days), object_repr="x", action_flag=CHANGE,
            content_type=ContentType.objects.get_for_model(SyncConflict),
        )  # fmt: skip
    gone = forgotten()
    assert [gone[what].rows for what in ("readings of personal content", "entries of the admin's log")] == [1, 1]
    assert PersonalReading.objects.count() == LogEntry.objects.count() == 1


def test_a_row_that_somebody_holds_is_left_and_not_waited_for(ring: Ring, alice: Device) -> None:
    held, free = decided(92, user=alice.user), decided(92, user=alice.user)
    with psycopg.connect(conninfo("psql")) as somebody:
        somebody.execute("SELECT FROM sync_conflicts WHERE id = %s FOR UPDATE", [held.pk])
        assert forgotten()["decided conflicts"].rows == 1
    assert set(SyncConflict.objects.values_list("pk", flat=True)) == {held.pk}
    assert free.pk != held.pk
    assert forgotten()["decided conflicts"].rows == 1


def test_it_stops_between_two_batches(ring: Ring, alice: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "AT_ONCE", 2)
    for _ in range(5):
        decided(92, user=alice.user)
    stop = threading.Event()
    delete = forgetting._delete

    def stopped(*arguments: Any) -> int:
        stop.set()
        return delete(*arguments)

    monkeypatch.setattr(forgetting, "_delete", stopped)
    with pytest.raises(Stopped):
        forgotten(Order(stop=stop))
    assert SyncConflict.objects.count() == 3


# -- archives ----------------------------------------------------------------------------------------------------------


def test_conflicts_are_archived_with_their_decisions_day_by_day(ring: Ring, alice: Device, tmp_path: Path) -> None:
    one = decided(93, user=alice.user, reason="the newer one is right", local={"summary": "mine"})
    others = [decided(95, user=alice.user) for _ in range(2)]
    forgotten(Order(archive=tmp_path))
    assert not SyncConflict.objects.exists()
    earlier, later = archives.found(tmp_path, "sync_conflicts")
    assert (earlier.label.rows, later.label.rows) == (2, 1)
    (line,) = later.lines()
    assert str(one.pk).encode() in line
    assert b"the newer one is right" in line
    text = b"".join(earlier.lines())
    assert all(str(other.pk).encode() in text for other in others)


def test_who_is_killed_between_archive_and_deletion_leaves_nothing_twice(
    ring: Ring, alice: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided(92, user=alice.user)
    with monkeypatch.context() as patched:
        patched.setattr(forgetting, "_delete", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            forgotten(Order(archive=tmp_path))
    assert SyncConflict.objects.count() == len(list(tmp_path.iterdir())) == 1
    decided(91, user=alice.user)
    forgotten(Order(archive=tmp_path))
    assert not SyncConflict.objects.exists()
    assert sum(archive.label.rows for archive in archives.found(tmp_path, "sync_conflicts")) == 2


def test_a_dry_run_counts(ring: Ring, alice: Device, settings: Settings, tmp_path: Path) -> None:
    decided(92, user=alice.user)
    answered(alice, MONTH, settings)
    gone = forgotten(Order(archive=tmp_path, dry_run=True))
    assert {what: one.rows for what, one in gone.items()} == {"decided conflicts": 1, "receipts of mutations": 1}
    assert all(one.bytes > 50 for one in gone.values())
    assert SyncConflict.objects.count() == MutationReceipt.objects.count() == 1
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_share_nothing(ring: Ring, alice: Device) -> None:
    for _ in range(5):
        decided(92, user=alice.user)
    with alone(), ThreadPoolExecutor(1) as thread, pytest.raises(retention.Busy):
        thread.submit(forgotten).result(PATIENCE)
    assert SyncConflict.objects.count() == 5
