"""A folder of backups: drafts that become backups by one rename, leftovers, and which of the old ones may go."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from claudia.backups.manifest import DUMP, FILE, Backup, Manifest
from claudia.backups.problem import BackupProblem
from claudia.postgres.locks import FileLock
from claudia.postgres.problem import PostgresProblem

DRAFT = re.compile(r"\.claudia-draft-[0-9a-f]{12}")
#: Held while drafts come and go, never for long.
GATE = ".claudia-backups.lock"
LOCK = "lock"


@dataclass
class Draft:
    """A backup that is being made, in a folder that nobody takes for one."""

    path: Path
    _lock: FileLock = field(repr=False)

    @property
    def dump(self) -> Path:
        """Where `pg_dump` writes."""
        return self.path / DUMP


@contextmanager
def draft_in(folder: Path) -> Iterator[Draft]:
    """A new draft, removed at the end unless it was published. Drafts that others left behind are removed first.

    Raises BackupProblem where nothing can be written.
    """
    _prepare(folder)
    path = folder / f".claudia-draft-{secrets.token_hex(6)}"
    with _gate(folder):
        _clear(folder)
        path.mkdir(mode=0o700)
        lock = FileLock(path / LOCK)
        lock.acquire()
    try:
        yield Draft(path, lock)
    finally:
        with _gate(folder):
            _remove(path)
            lock.release()


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise BackupProblem(f"{folder} is a file; name a folder.") from None
    except OSError as error:
        raise BackupProblem(f"The folder {folder} cannot be made: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BackupProblem(f"Nothing can be written into {folder}: run this as its owner, or name another with --to.")


@contextmanager
def _gate(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / GATE)
    try:
        lock.acquire()
    except PostgresProblem:
        raise BackupProblem(
            f"{lock.path} belongs to another user: take backups as that user, or into a folder of your own with --to."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    """Removes drafts whose maker is gone."""
    for path in folder.iterdir():
        if DRAFT.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            lock = FileLock(path / LOCK)
            if lock.acquire(wait=False):
                _remove(path)
                lock.release()


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def publish(draft: Draft, manifest: Manifest, folder: Path) -> Backup:
    """The draft becomes a backup: everything is on the disk before the one rename that makes it one."""
    file = draft.path / FILE
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(manifest.text())
    draft.dump.chmod(0o600)
    for path in (draft.dump, file, draft.path):
        _flush(path)
    with _gate(folder):
        (draft.path / LOCK).unlink()
        target = _free_name(folder, f"{_plain(manifest.database)}-{manifest.made_at:%Y%m%dT%H%M%SZ}")
        draft.path.rename(target)
        _flush(folder)
    return Backup(target, manifest)


def _plain(database: str) -> str:
    return re.sub(r"[^\w-]+", "_", database)


def _free_name(folder: Path, name: str) -> Path:
    target, number = folder / name, 1
    while target.exists():
        number += 1
        target = folder / f"{name}-{number}"
    return target


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def backups_in(folder: Path) -> list[Backup]:
    """All that are whole, the newest first; whatever else lies there is passed over."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith("."):
            try:
                backup = Backup.at(path)
            except BackupProblem:
                continue
            if backup.is_whole:
                found.append(backup)
    return sorted(found, key=lambda backup: (backup.manifest.made_at, backup.folder.name), reverse=True)


def siblings(folder: Path, manifest: Manifest) -> list[Backup]:
    """Backups of the same database of the same cluster: another's, of the same name, are none of its business."""
    same = (manifest.cluster, manifest.database)
    return [one for one in backups_in(folder) if (one.manifest.cluster, one.manifest.database) == same]


def keep(folder: Path, newest: Backup, number: int) -> list[Path]:
    """Removes backups of the same database beyond the newest `number`; which they were.

    Only whole ones count and only they go. Each gets a draft's name first, so that half a backup is never found.
    """
    gone = []
    with _gate(folder):
        for backup in siblings(folder, newest.manifest)[number:]:
            if backup.folder != newest.folder:
                hidden = folder / f".claudia-draft-{secrets.token_hex(6)}"
                backup.folder.rename(hidden)
                _remove(hidden)
                gone.append(backup.folder)
    return gone
