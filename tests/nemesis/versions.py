"""Other versions of the project: copies of its code with a column more, less, or by another name.

Their migrations are made by `makemigrations`, as a developer makes them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.acceptance.server import ROOT, environment

CODE = ("manage.py", "claudia", "accounts", "projects", "agents", "conversations", "memory", "syncing", "templates")
FIELD = "    importance = models.SmallIntegerField("
MOOD = '    mood = models.TextField(default="calm", db_default="calm")\n'
TEMPER = MOOD.replace("mood", "temper")
#: While former versions write the one column and this version the other, the database keeps them alike.
ALIKE = '''

@pgtrigger.register(
    pgtrigger.Trigger(
        name="kk_mood_is_temper",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func="""
            IF TG_OP = 'INSERT' THEN
                IF NEW.temper = 'calm' THEN NEW.temper := NEW.mood; ELSE NEW.mood := NEW.temper; END IF;
            ELSIF NEW.temper IS DISTINCT FROM OLD.temper THEN NEW.mood := NEW.temper;
            ELSE NEW.temper := NEW.mood; END IF;
            RETURN NEW;
        """,
    )
)
'''
COPY = 'migrations.RunSQL("UPDATE memory SET temper = mood WHERE temper <> mood", migrations.RunSQL.noop)'
PATIENCE = 60.0


class Version:
    """A copy of the project's code, or of another version's, to be changed."""

    def __init__(self, folder: Path, database_url: str, like: Version | None = None) -> None:
        self.folder = folder
        self._url = database_url
        source = like.folder if like else ROOT
        folder.mkdir()
        for name in CODE:
            if (source / name).is_dir():
                shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source / name, folder / name)

    # -- changes -----------------------------------------------------------------------------------------------------

    def replace(self, file: str, old: str, new: str) -> None:
        """Once."""
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} has changed: what should be replaced there?"
        path.write_text(text.replace(old, new))

    def declare(self, column: str) -> None:
        """A memory's column is synced, filterable, and clients may write it."""
        self.replace("memory/sync.py", '"frequency",\n', f'"frequency",\n        "{column}",\n')
        for where in ("filterable", "writable"):
            self.replace("memory/sync.py", f"    {where} = [", f'    {where} = ["{column}", ')

    def undeclare(self, column: str) -> None:
        """It is not any more."""
        path = self.folder / "memory" / "sync.py"
        text = path.read_text()
        assert text.count(f'"{column}",') == 3, "memory/sync.py has changed: what should be taken away there?"
        path.write_text(text.replace(f'        "{column}",\n', "").replace(f'"{column}", ', ""))

    def add(self, field: str) -> None:
        """A field of a memory, as it stands in models.py."""
        self.replace("memory/models.py", FIELD, f"{field}{FIELD}")

    def drop(self, field: str) -> None:
        """No more."""
        self.replace("memory/models.py", field, "")

    # -- migrations --------------------------------------------------------------------------------------------------

    def make_migration(self, name: str, *, answers: str = "") -> Path:
        """By `makemigrations`; the file, which it numbers. answers: to what it asks."""
        self.manage("makemigrations", "memory", "--name", name, answers=answers)
        return self.migration(name)

    def migration(self, name: str) -> Path:
        """Of memories, whatever its number."""
        (file,) = (self.folder / "memory" / "migrations").glob(f"[0-9][0-9][0-9][0-9]_{name}.py")
        return file

    def mark_after_rollout(self, file: Path) -> None:
        """It waits until no former version runs."""
        text = file.read_text()
        head = "class Migration(migrations.Migration):\n"
        assert head in text
        file.write_text(text.replace(head, f"{head}\n    after_rollout = True\n"))

    def migrate(self) -> None:
        """All there is."""
        self.manage("migrate", "--verbosity", "0")

    def manage(self, *arguments: str, answers: str = "") -> str:
        """A command of `manage.py`; what it says."""
        done = subprocess.run(
            [sys.executable, str(self.folder / "manage.py"), *arguments], cwd=self.folder, input=answers,
            env=environment(self.folder / "local", DATABASE_URL=self._url), capture_output=True, text=True,
            timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


def moody(folder: Path, database_url: str) -> Version:
    """A memory has a mood."""
    version = Version(folder, database_url)
    version.add(MOOD)
    version.declare("mood")
    version.make_migration("mood")
    return version
