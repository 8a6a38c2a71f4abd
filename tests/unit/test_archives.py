"""Archives are whole or not there, hold what was written, and are never overwritten."""

from __future__ import annotations

import gzip
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncing import archives
from syncing.archives import Archive, ArchiveProblem, Label, found, open_folder, write

ROWS = ['{"id": 1, "text": "größer"}', '{"id": 2,\n "text": "a\\nb"}', '{"id": 3}']


def label(rows: int = 3, key: str = "1-3", day: str = "2026-11-18") -> Label:
    return Label("sync_events", day, key, rows, "1", "3", f"{day}T00:00:01+00:00", f"{day}T23:00:00+00:00")


def read(archive: Archive) -> list[object]:
    return [json.loads(line) for line in archive.lines()]


def test_what_was_written_is_read_back_and_only_its_owner_may(tmp_path: Path) -> None:
    written = write(tmp_path, label(), ROWS)
    assert written.path.name == "sync_events-2026-11-18-1-3.jsonl.gz"
    (there,) = found(tmp_path, "sync_events")
    assert there == written
    assert read(there) == [json.loads(row) for row in ROWS]
    assert stat.S_IMODE(written.path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [written.path], "nothing else is left"
    assert found(tmp_path, "sync_conflicts") == []


def test_any_tool_reads_it(tmp_path: Path) -> None:
    lines = gzip.decompress(write(tmp_path, label(), ROWS).path.read_bytes()).decode().splitlines()
    head, *rows, end = map(json.loads, lines)
    assert (head["format"], head["rows"], end["end"]["rows"]) == ("claudia archive 1", 3, 3)
    assert rows == [json.loads(row) for row in ROWS]


def test_the_same_once_more_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    first = write(tmp_path, label(), ROWS)
    before = (first.path.stat().st_ino, first.path.read_bytes())
    assert write(tmp_path, label(), ROWS) == first
    assert (first.path.stat().st_ino, first.path.read_bytes()) == before


def test_a_file_that_holds_something_else_is_never_overwritten(tmp_path: Path) -> None:
    first = write(tmp_path, label(), ROWS)
    before = first.path.read_bytes()
    with pytest.raises(ArchiveProblem, match=r"1-3\.jsonl\.gz is there, and holds something else: move it away"):
        write(tmp_path, label(), ['{"id": 1}', '{"id": 2}', '{"id": 3}'])
    assert first.path.read_bytes() == before


def test_somebody_who_writes_the_same_name_meanwhile_keeps_his_file(tmp_path: Path) -> None:
    path = tmp_path / label().name

    def rows() -> Iterator[str]:
        path.write_bytes(b"theirs")
        yield from ROWS

    with pytest.raises(ArchiveProblem, match="appeared while it was being written"):
        write(tmp_path, label(), rows())
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rows", [ROWS[:2], [*ROWS, "{}"]], ids=["fewer", "more"])
def test_other_rows_than_were_counted_are_no_archive(tmp_path: Path, rows: list[str]) -> None:
    with pytest.raises(ArchiveProblem, match="had 3 rows of 2026-11-18, and a moment later"):
        write(tmp_path, label(), rows)
    assert list(tmp_path.iterdir()) == []


def test_what_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def rows() -> Iterator[str]:
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, label(), rows())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_one_left_is_written_anew(tmp_path: Path) -> None:
    part = tmp_path / (label().name + ".part")
    part.write_bytes(b"half of it" * 1000)
    part.chmod(0o644)
    written = write(tmp_path, label(), ROWS)
    assert read(written) == [json.loads(row) for row in ROWS]
    assert stat.S_IMODE(written.path.stat().st_mode) == 0o600
    assert not part.exists()


def test_nobody_is_led_elsewhere_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("keep")
    (tmp_path / (label().name + ".part")).symlink_to(tmp_path / "secret")
    with pytest.raises(ArchiveProblem):
        write(tmp_path, label(), ROWS)
    assert (tmp_path / "secret").read_text() == "keep"


@pytest.mark.parametrize("damage", ["cut", "byte", "line", "end"])
def test_a_damaged_file_is_told_by_its_name(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path, label(200), [json.dumps({"id": n}) for n in range(200)]).path
    packed = path.read_bytes()
    lines = gzip.decompress(packed).splitlines(keepends=True)
    if damage == "cut":
        path.write_bytes(packed[: len(packed) // 2])
    elif damage == "byte":
        path.write_bytes(packed[:200] + bytes([packed[200] ^ 1]) + packed[201:])
    elif damage == "line":
        path.write_bytes(gzip.compress(b"".join(lines[:5] + lines[6:])))
    else:
        path.write_bytes(gzip.compress(b"".join(lines[:-1])))
    with pytest.raises(ArchiveProblem, match=path.name):
        list(Archive(path, label(200)).lines())


def test_a_file_that_is_no_archive_is_told(tmp_path: Path) -> None:
    for number, text in enumerate((b"", b"[]", b'{"format": "else"}', b'{"format": "claudia archive 1"}', b"\xff")):
        path = tmp_path / f"sync_events-2026-11-18-{number}.jsonl.gz"
        path.write_bytes(gzip.compress(text))
        with pytest.raises(ArchiveProblem, match="is no archive of this version"):
            found(tmp_path, "sync_events")
        path.unlink()


def test_a_folder_is_made_for_its_owner_and_what_is_wrong_with_one_is_told(tmp_path: Path) -> None:
    made = open_folder(tmp_path / "kept")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert open_folder(made) == made
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveProblem, match="file is not a folder"):
        open_folder(tmp_path / "file")
    with pytest.raises(ArchiveProblem, match="nowhere does not exist"):
        open_folder(tmp_path / "nowhere" / "kept")
    with pytest.raises(ArchiveProblem, match="is not a folder"):
        found(tmp_path / "nowhere", "sync_events")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full is Linux's")  # noqa: PTH110
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def full(path: object, flags: int, *mode: int) -> int:
        return opened("/dev/full" if str(path).endswith(".part") else path, flags & ~os.O_TRUNC, *mode)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(archives.os, "open", full)
    monkeypatch.setattr(archives.os, "fchmod", lambda *_: None)
    with pytest.raises(ArchiveProblem, match="No space left on device"):
        write(tmp_path, label(), ROWS)
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links_a_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(archives.os, "link", refused)
    written = write(tmp_path, label(), ROWS)
    assert read(written) == [json.loads(row) for row in ROWS]
    assert list(tmp_path.iterdir()) == [written.path]
