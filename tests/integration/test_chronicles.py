"""`sync_history`: log and archives together tell the history that a row had before anything was pruned."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

import syncing
from memory.models import Memory
from syncing import archives, retention
from syncing.archives import Label
from syncing.chronicles import Chronicle, Source, merged
from syncing.exceptions import NotInLog
from syncing.histories import Entry, history
from syncing.retention import Order, alone, prune_log
from tests.factories import MemoryFactory, UserFactory
from tests.ring import Ring

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring()
    yield ring
    ring.close()


def prune(folder: Path | None) -> list[str]:
    with alone() as database:
        return [one.what for one in prune_log(database, timedelta(days=7), Order(archive=folder)) if not one.left]


def sync_history(*arguments: object) -> str:
    said = StringIO()
    call_command("sync_history", *map(str, arguments), stdout=said)
    return said.getvalue()


def change(row: Memory, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    with syncing.acting(user=row.user_id, origin="web"):
        row.save()


def told(row: Memory, folder: Path | None = None) -> list[Entry]:
    return [one.entry for one in Chronicle(history("memory", row.pk), folder).oldest_first()]


@pytest.fixture
def lived(ring: Ring) -> Memory:
    """A memory that was changed each day of ten, and then deleted; others, too."""
    ring.checkpoint()
    row = MemoryFactory(user=UserFactory(name="Alice"), summary="day 0", importance=1, content={"share": 0.1})
    for day in range(1, 11):
        ring.checkpoint()
        ring.passes(1)
        MemoryFactory()
        change(row, summary=f"day {day}", importance=1 + day % 10)
        change(row, content={"share": 0.1, "day": day})
    ring.checkpoint()
    return row


def test_nothing_is_lost_however_the_log_is_cut_into_archives(ring: Ring, lived: Memory, tmp_path: Path) -> None:
    before = list(history("memory", lived.pk).oldest_first())
    assert len(before) == 21
    assert told(lived) == before
    for again in range(3):  # one day after the other goes
        assert prune(tmp_path)
        change(lived, summary=f"again {again}")
        ring.checkpoint()
        ring.passes(1)
        ring.checkpoint()
    after = told(lived, tmp_path)
    # Days passed by setting times back, also in the log; archives bear the times of when they were written.
    assert [(one.event, one.version, one.op, one.before, one.after, one.actor) for one in after[:21]] == [
        (one.event, one.version, one.op, one.before, one.after, one.actor) for one in before
    ]
    assert len(after) == 24
    assert len(told(lived)) < 24, "some of it is in archives only"
    assert not any(one.after_gap for one in Chronicle(history("memory", lived.pk), tmp_path).oldest_first())


def test_what_was_pruned_without_an_archive_is_missing_and_told(ring: Ring, lived: Memory, tmp_path: Path) -> None:
    prune(tmp_path)
    ring.passes(2)
    ring.checkpoint()
    prune(None)
    ring.passes(1)
    prune(tmp_path)
    gaps = [one.after_gap for one in Chronicle(history("memory", lived.pk), tmp_path).oldest_first()]
    assert gaps.count(True) == 1
    assert not gaps[0]
    assert sync_history("memory", lived.pk, "--archive", tmp_path).count("something is missing here") == 1
    assert "something is missing here" in sync_history("memory", lived.pk), "the log alone begins in the middle"


def test_the_row_as_it_was_at_each_moment(ring: Ring, tmp_path: Path) -> None:
    ring.checkpoint()
    row = MemoryFactory(summary="first", importance=1)
    ring.checkpoint()
    ring.passes(9)
    change(row, summary="second")
    ring.checkpoint()
    ring.passes(1)
    change(row, importance=2)
    row_id = row.pk
    row.delete()
    ring.checkpoint()
    prune(tmp_path)
    chronicle = Chronicle(history("memory", row_id), tmp_path)
    ats = [one.entry.at for one in chronicle.oldest_first()]
    instant = timedelta(microseconds=1)
    assert chronicle.as_of(ats[0] - instant) is None
    seen = [chronicle.as_of(at) for at in ats]
    assert [row and (row["summary"], row["importance"]) for row in seen] == [
        ("first", 1), ("second", 1), ("second", 2), None,
    ]  # fmt: skip
    with pytest.raises(NotInLog):
        Chronicle(history("memory", row_id)).as_of(ats[0])
    with pytest.raises(CommandError, match="neither in the log nor in the archives"):
        sync_history("memory", row_id, "--at", ats[0].isoformat())
    as_json = json.loads(sync_history("memory", row_id, "--archive", tmp_path, "--at", ats[1].isoformat(), "--json"))
    assert as_json["summary"] == "second"
    shown = sync_history("memory", row_id, "--archive", tmp_path, "--at", ats[1].isoformat())
    assert "summary: second" in shown
    assert "There was no such row at" in sync_history("memory", row_id, "--at", timezone.now().isoformat())


def test_a_row_that_nothing_happened_to_since_is_as_it_is(ring: Ring, tmp_path: Path) -> None:
    ring.checkpoint()
    row = MemoryFactory(summary="quiet")
    ring.checkpoint()
    ring.passes(9)
    UserFactory()
    ring.checkpoint()
    prune(None)
    chronicle = Chronicle(history("memory", row.pk))
    known = chronicle.known_since
    assert known is not None
    present = chronicle.as_of(known)
    assert present is not None
    assert present["summary"] == "quiet"
    with pytest.raises(NotInLog):
        chronicle.as_of(known - timedelta(days=1))


def test_days_that_are_archived_one_after_the_other_are_known(ring: Ring, lived: Memory, tmp_path: Path) -> None:
    prune(tmp_path)
    first = archives.found(tmp_path, "sync_events")[0].label.since
    known = Chronicle(history("memory", lived.pk), tmp_path).known_since
    assert known == datetime.fromisoformat(first)
    assert "everything is known from" in sync_history("memory", lived.pk, "--archive", tmp_path)


def test_a_leaf_that_is_archived_and_still_there_is_told_once(
    ring: Ring, lived: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = told(lived)
    with monkeypatch.context() as patched:
        patched.setattr(retention, "_truncate", lambda *_: "not this time")
        assert prune(tmp_path) == ["checkpoints"]
    assert archives.found(tmp_path, "sync_events")
    assert told(lived, tmp_path) == before
    names = sorted(tmp_path.iterdir())
    assert len(prune(tmp_path)) > 0
    assert sorted(tmp_path.iterdir()) == names, "the next time the files are there"
    assert told(lived, tmp_path) == before


def test_it_tells_when_who_and_what(ring: Ring, tmp_path: Path) -> None:
    row = MemoryFactory(user=UserFactory(name="Alice [1]"), summary="the quick brown fox", tags=["a", "b"])
    change(row, summary="the slow brown fox", tags=["b", "c"], content={"n": 1})
    said = sync_history("memory", row.pk).splitlines()
    assert f"{row.updated_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC  update  version" in "\n".join(said)
    assert any(line.endswith("Alice [1], by web") for line in said)
    assert "    summary: the [-quick-]{+slow+} brown fox" in said
    assert "    tags: [-a-] b {+c+}" in said
    assert any(line.startswith("    content › n: {+1+}") for line in said)
    assert said[-1].startswith("2 entries; everything is known from ")
    first, second = map(json.loads, sync_history("memory", row.pk, "--json").splitlines())
    assert (first["op"], second["op"], second["origin"]) == ("insert", "update", "web")
    assert second["before"]["summary"] == "the quick brown fox"
    assert second["missing_before"] is False


def test_what_people_wrote_does_not_command_the_terminal(ring: Ring) -> None:
    row = MemoryFactory(user=UserFactory(name="\x1b]0;owned\x07"), summary="\x1b[2Jgone\u202e")
    change(row, importance=7)
    said = sync_history("memory", row.pk)
    assert not set(said) & set("\x1b\x07\u202e")
    assert "�[2Jgone�" in said


def test_what_cannot_be_asked_is_refused_in_words(ring: Ring, tmp_path: Path) -> None:
    some = MemoryFactory().pk
    with pytest.raises(CommandError, match="There is no synced table 'nothing': say one of agents"):
        sync_history("nothing", some)
    with pytest.raises(CommandError, match="'12' is no id"):
        sync_history("memory", 12)
    with pytest.raises(CommandError, match="'yesterday' is no time"):
        sync_history("memory", some, "--at", "yesterday")
    with pytest.raises(CommandError, match="is not a folder; name the one to which archives were written"):
        sync_history("memory", some, "--archive", tmp_path / "nowhere")


def test_sources_are_opened_when_their_turn_comes_and_closed_when_they_end() -> None:
    opened: list[int] = []

    def source(first: int, *ids: int) -> Source:
        def read() -> Iterator[dict[str, Any]]:
            opened.append(first)
            yield from ({"id": id_} for id_ in ids)

        return Source(first, read)

    events = merged([source(90, 95), source(1, 1, 5, 9), source(9, 9, 11), source(4, 4, 6)])
    assert next(events)["id"] == 1
    assert opened == [1]
    assert [event["id"] for event in events] == [4, 5, 6, 9, 11, 95]
    assert opened == [1, 4, 9, 90]
    assert list(merged([])) == []


def test_memory_is_bounded_however_large_the_archives_are(ring: Ring, tmp_path: Path) -> None:
    row = MemoryFactory(summary="x" * 1000)
    (line,) = (
        one for (one,) in ring.db.execute(f"SELECT {retention.LINE} FROM sync_events e WHERE row_id = %s", [row.pk])
    )
    event = json.loads(line)
    for day, first in (("2026-01-01", 1), ("2026-01-02", 20_001)):
        label = Label("sync_events", day, f"{first}", 20_000, str(first), str(first + 19_999), f"{day}T00", f"{day}T23")
        lines = (json.dumps(event | {"id": first + n, "xid": str(first + n)}) for n in range(20_000))
        archives.write(tmp_path, label, lines)
    ring.empty()
    tracemalloc.start()
    count = sum(1 for _ in Chronicle(history("memory", row.pk), tmp_path).oldest_first())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 4_000_000, f"{peak:,} bytes for 60 MB of events"
