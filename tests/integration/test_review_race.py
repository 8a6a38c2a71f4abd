"""Two reviewers of one conflict at the same time, in two transactions of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from conversations.models import Session
from syncing.models import SyncConflict, SyncEvent
from tests.cast import cast
from tests.reviews import decide, disputed, look, url_of
from tests.staff import main_of, member, signed_in, words
from tests.writing import Device

pytestmark = pytest.mark.django_db(transaction=True)
#: Seconds until somebody must have got as far as waiting.
PATIENCE = 20.0


@contextmanager
def held(row: SyncConflict | Session) -> Iterator[None]:
    """Another transaction keeps the row locked, so that all who come wait at the same place."""
    release, locked = threading.Event(), threading.Event()

    def hold() -> None:
        from django.db import connection, transaction

        with transaction.atomic():
            type(row).objects.select_for_update(no_key=True).get(pk=row.pk)
            locked.set()
            assert release.wait(PATIENCE)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(PATIENCE)
    try:
        yield
    finally:
        release.set()
        thread.join(PATIENCE)


def wait_for_waiting(count: int) -> None:
    """Until so many transactions wait for a lock."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0] >= count:
                return
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.01)  # PostgreSQL tells nobody when somebody begins to wait


@pytest.mark.parametrize("choices", [("server", "client"), ("client", "client")])
def test_of_two_reviewers_one_decides_and_the_other_is_told(choices: tuple[str, str], groups: None) -> None:
    people = cast()
    row, kept = disputed(people, Device(people.bob))
    names = ("Ann", "Sue")
    browsers = [signed_in(member("support", name=name)) for name in names]
    seen = [look(browser, kept) for browser in browsers]
    answers: dict[int, object] = {}

    def go(number: int) -> None:
        from django.db import connection

        answers[number] = decide(
            browsers[number], kept, seen[number], title=choices[number], reason=f"says {names[number]}"
        )
        connection.close()

    threads = [threading.Thread(target=go, args=[number]) for number in (0, 1)]
    events = SyncEvent.objects.filter(row_id=row.pk).count()
    with held(kept):
        for thread in threads:
            thread.start()
        wait_for_waiting(2)
    for thread in threads:
        thread.join(PATIENCE)
    statuses = {number: answer.status_code for number, answer in answers.items()}  # type: ignore[attr-defined]
    assert sorted(statuses.values()) == [302, 409]
    winner, loser = sorted(statuses, key=lambda number: statuses[number])
    ended = SyncConflict.objects.get(pk=kept.pk)
    assert ended.resolved_by is not None
    assert (ended.resolved_by.name, ended.reason) == (names[winner], f"says {names[winner]}")
    row.refresh_from_db()
    assert row.title == f"the {choices[winner]}"
    written = 1 if choices[winner] == "client" else 0
    assert SyncEvent.objects.filter(row_id=row.pk).count() == events + written
    text = words(answers[loser].content.decode())  # type: ignore[attr-defined]
    assert f"{names[winner]} decided this one before you. Nothing of yours was written." in text
    assert f"says {names[winner]}" in words(main_of(answers[loser]))


def test_a_write_that_commits_while_a_decision_waits_for_the_row_is_not_overwritten(groups: None) -> None:
    people = cast()
    row, kept = disputed(people, Device(people.bob))
    browser = signed_in(member("support"))
    seen = look(browser, kept)
    answer: list[object] = []
    written, release = threading.Event(), threading.Event()

    def write() -> None:
        from django.db import connection, transaction

        with transaction.atomic():
            Session.objects.filter(pk=row.pk).update(title="the newest")
            written.set()
            assert release.wait(PATIENCE)
        connection.close()

    def go() -> None:
        from django.db import connection

        answer.append(decide(browser, kept, seen, title="client"))
        connection.close()

    writer, reviewer = threading.Thread(target=write), threading.Thread(target=go)
    writer.start()
    assert written.wait(PATIENCE)
    reviewer.start()
    wait_for_waiting(1)
    release.set()
    writer.join(PATIENCE)
    reviewer.join(PATIENCE)
    assert answer[0].status_code == 409  # type: ignore[attr-defined]
    row.refresh_from_db()
    assert row.title == "the newest"
    shown = browser.get(url_of(kept))
    assert "newest" in shown.content.decode()


@pytest.fixture
def groups() -> None:
    """Transactional tests begin with empty tables."""
    from django.apps import apps

    from claudia.groups import make_groups

    make_groups(apps)
