"""The manifest of a backup: what it is of, when and by what it was made, and what must come out of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from claudia.backups.contents import Contents, Table
from claudia.backups.problem import BackupProblem

FILE = "manifest.json"
DUMP = "database.dump"
#: Of the form of the manifest itself.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """made_at: the moment whose state it is. seconds: how long it took. database_bytes: what it took on the server.

    cluster: PostgreSQL's system identifier. server, pg_dump: versions as PostgreSQL numbers them (180006). migrations:
    names by app. highest_version: a `sync_version` that no row of it exceeds.
    """

    database: str
    cluster: str
    made_at: datetime
    seconds: float
    server: int
    pg_dump: int
    encoding: str
    database_bytes: int
    dump_bytes: int
    dump_sha256: str
    migrations: Mapping[str, list[str]]
    highest_version: int
    contents: Contents

    def text(self) -> str:
        """As JSON, with a seal: a checksum of itself."""
        body = {"format": FORMAT, **asdict(self), "made_at": self.made_at.isoformat()}
        return json.dumps(body | {"seal": _seal(body)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def of_text(cls, text: str) -> Manifest:
        """Raises ValueError, which says in what way it is none."""
        body = json.loads(text)
        if not isinstance(body, dict) or "seal" not in body:
            raise ValueError("it has no seal")
        if body.pop("seal") != _seal(body):
            raise ValueError("it was changed after it was written")
        if body.pop("format") != FORMAT:
            raise ValueError("a newer Claudia wrote it")
        contents = body.pop("contents")
        tables = {
            name: Table(table["rows"], table["sum"], tuple(table["columns"]))
            for name, table in contents["tables"].items()
        }
        whole = Contents(tables, contents["sequences"], tuple(contents["objects"]))
        return cls(**body | {"made_at": datetime.fromisoformat(body["made_at"]), "contents": whole})


def _seal(body: Mapping[str, Any]) -> str:
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(plain.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Backup:
    """One that was published: its folder, and what the manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def dump(self) -> Path:
        """What `pg_restore` reads."""
        return self.folder / DUMP

    @property
    def is_whole(self) -> bool:
        """Whether the dump is as long as it should be, which costs nothing to see."""
        try:
            return self.dump.stat().st_size == self.manifest.dump_bytes
        except OSError:
            return False

    @classmethod
    def at(cls, path: Path) -> Backup:
        """The backup in a folder, which may also be named by one of its files. Raises BackupProblem."""
        folder = path.parent if path.name in (FILE, DUMP) else path
        if not folder.is_dir():
            raise BackupProblem(f"There is no backup at {path}: name the folder that `backup` printed.")
        try:
            manifest = Manifest.of_text((folder / FILE).read_text())
        except FileNotFoundError:
            raise BackupProblem(f"{folder} is no backup: there is no {FILE} in it.") from None
        except OSError as error:
            raise BackupProblem(f"{folder / FILE} cannot be read: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise BackupProblem(f"{folder / FILE} is not a manifest that this Claudia can trust: {error}.") from None
        return cls(folder, manifest)
