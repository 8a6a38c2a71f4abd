"""Archives: what was pruned, as compressed JSON lines; a file holds a day of the log, or some rows of another table.

    {"format": "claudia archive 1", "table": "sync_events", "day": "2026-11-18", "key": "1-90", "rows": 90, …}
    {"id": 1, "xid": "765", "at": "2026-11-18T00:00:01.5+00:00", "table": "memory", "op": "I", …}
    …
    {"end": {"rows": 90, "sha256": "…"}}

The last line tells how many lines stand between it and the first, and their SHA-256. A file appears under its name when
it is whole, on disk and read back; nothing is ever overwritten. It holds what people wrote: only its owner may read it.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from syncing.exceptions import SyncError

FORMAT = "claudia archive 1"
SUFFIX = ".jsonl.gz"
#: Of 1 to 9: more makes files a tenth smaller and takes three times as long.
COMPRESSION = 4
#: Bytes of a line that tells what follows, which is one of ours or none.
LONGEST_HEAD = 10_000
BROKEN = (OSError, EOFError, zlib.error)


class ArchiveProblem(SyncError):
    """An archive cannot be written or read."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a file holds. day: ISO 8601, in UTC. key: tells this file from others of the day. first, last: ids of rows.

    since, until: times of the oldest and the newest row, ISO 8601.
    """

    table: str
    day: str
    key: str
    rows: int
    first: str
    last: str
    since: str
    until: str

    @property
    def name(self) -> str:
        """Of the file."""
        return f"{self.table}-{self.day}-{self.key}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that is there."""

    path: Path
    label: Label

    def lines(self) -> Iterator[bytes]:
        """The rows, each a JSON object. Raises ArchiveProblem at the place where the file is damaged, or at its end."""
        digest, rows, line = hashlib.sha256(), 0, b""
        with _told(self.path), gzip.open(self.path, "rb") as packed:
            packed.readline()
            for line in packed:
                if line.startswith(b'{"end": '):
                    break
                yield line
                digest.update(line)
                rows += 1
        if line.rstrip(b"\n") != _end(rows, digest.hexdigest()) or rows != self.label.rows:
            raise ArchiveProblem(f"{self.path} is damaged: its {rows:,} lines are not those that were written.")

    @property
    def digest(self) -> str:
        """The SHA-256 of its lines, all of which are read. Raises ArchiveProblem."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line)
        return digest.hexdigest()


def open_folder(folder: Path) -> Path:
    """The folder, made if it is not there, for its owner only. Raises ArchiveProblem where nothing can be written."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        raise ArchiveProblem(f"{folder} is not a folder; name one for archives.") from None
    except FileNotFoundError:
        raise ArchiveProblem(f"{folder.parent} does not exist; archives go to a folder in one that does.") from None
    except OSError as error:
        raise ArchiveProblem(f"{folder} cannot be made: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArchiveProblem(f"{folder} may not be written to by this user.")
    return folder


def found(folder: Path, table: str) -> list[Archive]:
    """The archives of a table, the oldest first. Raises ArchiveProblem for a file that is none, or no folder."""
    if not folder.is_dir():
        raise ArchiveProblem(f"{folder} is not a folder; name the one to which archives were written.")
    return [Archive(path, _label(path)) for path in sorted(folder.glob(f"{table}-*{SUFFIX}"))]


def write(folder: Path, label: Label, rows: Iterable[str]) -> Archive:
    """Writes the rows, each a JSON object, and reads them back.

    A file of that name that holds just these is left as it is: an earlier attempt got that far. Raises ArchiveProblem:
    for another one, where there are not as many rows as the label says, and where the disk takes or gives no more.
    """
    path = folder / label.name
    if path.exists():
        there = Archive(path, _label(path))
        if there.digest != _digest_of(rows):
            raise ArchiveProblem(f"{path} is there, and holds something else: move it away, or name another folder.")
        return there
    part = path.with_name(path.name + ".part")  # of an attempt that was killed, it is written anew
    try:
        with _told(part):
            digest = _write(part, label, rows)
        if Archive(part, _label(part)).digest != digest:
            raise ArchiveProblem(f"{part} does not hold what was written to it: the disk is failing.")
        with _told(path):
            _publish(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    return Archive(path, label)


def _write(path: Path, label: Label, rows: Iterable[str]) -> str:
    digest, count = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        with _packed(file) as packed:
            packed.write(json.dumps({"format": FORMAT, **asdict(label)}).encode() + b"\n")
            for row in rows:
                line = _line(row)
                packed.write(line)
                digest.update(line)
                count += 1
            packed.write(_end(count, digest.hexdigest()) + b"\n")
        file.flush()
        os.fsync(descriptor)
    if count != label.rows:
        raise ArchiveProblem(f"{label.table} had {label.rows:,} rows of {label.day}, and a moment later {count:,}.")
    return digest.hexdigest()


def _packed(file: IO[bytes]) -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=COMPRESSION, mtime=0)


def _publish(part: Path, path: Path) -> None:
    """Gives the file its name, which nobody else's may have; on disk when this returns."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise ArchiveProblem(f"{path} appeared while it was being written: somebody else writes there.") from None
    except OSError as error:  # a file system without hard links
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS) or path.exists():
            raise
        part.rename(path)
    else:
        part.unlink()
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _label(path: Path) -> Label:
    with _told(path), gzip.open(path, "rb") as packed:
        head = packed.readline(LONGEST_HEAD)
    try:
        told: dict[str, Any] = json.loads(head)
        if told.pop("format") != FORMAT:
            raise ValueError
        return Label(**told)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArchiveProblem(f"{path} is no archive of this version; move it away.") from None


def _line(row: str) -> bytes:
    # Between the values of JSON a line break is as good as a space, inside them there is none.
    return row.replace("\n", " ").encode() + b"\n"


def _digest_of(rows: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(_line(row))
    return digest.hexdigest()


def _end(rows: int, digest: str) -> bytes:
    return json.dumps({"end": {"rows": rows, "sha256": digest}}).encode()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What goes wrong inside is told with the file's name."""
    try:
        yield
    except BROKEN as error:
        raise ArchiveProblem(f"{path}: {getattr(error, 'strerror', None) or error}.") from error
