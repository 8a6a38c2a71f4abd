"""What can be set is told three times, by the code that reads it, `.env.example` and docs/settings.md: the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from claudia.environment import Environment, Variable
from claudia.settings import env
from syncing.tasks import tasks

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = (ROOT / ".env.example").read_text()
PAGE = (ROOT / "docs/settings.md").read_text()
#: Where the default depends on something, the page says so in words.
IN_WORDS = {"LOG_FORMAT"}
CODE = "import json, sys; sys.path.insert(0, '.'); from claudia.settings import env, MISSPELT; print(json.dumps({}))"


def example() -> dict[str, tuple[str, str]]:
    """Default, and the comment above it, by variable."""
    found = re.findall(r"((?:^# .*\n)+)#(\w+)=(.*)$", EXAMPLE, re.MULTILINE)
    return {
        name: (default, comment.replace("\n# ", " ").removeprefix("# ").strip()) for comment, name, default in found
    }


def page() -> dict[str, tuple[str, str, str]]:
    """Default, range, meaning, without marks, by variable."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) \|$", PAGE, re.MULTILINE)
    return {name: (default, range_, meaning.replace("`", "")) for name, default, range_, meaning in rows}


def block(variable: Variable, meaning: str) -> str:
    """The comment as it should stand in .env.example."""
    return f"{meaning[:1].upper()}{meaning[1:]}." + (f" [{variable.range}]" if variable.range else "")


def test_all_three_tell_of_the_same_variables() -> None:
    read = set(env.declared)
    assert len(read) > 40
    assert read - page().keys() == set(), "settings.py reads what docs/settings.md does not tell"
    assert read - example().keys() == set(), "settings.py reads what .env.example does not show"
    assert example().keys() | page().keys() == read, "told, and not read by settings.py"


@pytest.mark.parametrize("variable", env.declared.values(), ids=list(env.declared))
def test_default_range_and_meaning_are_the_same(variable: Variable) -> None:
    default, range_, meaning = page()[variable.name]
    if variable.default and variable.name not in IN_WORDS:
        assert default == variable.default, "docs/settings.md"
    assert default, "docs/settings.md says nothing of the default"
    assert range_.strip() == variable.range, "docs/settings.md"
    assert meaning, "docs/settings.md says nothing of the meaning"
    assert example()[variable.name] == (variable.default, block(variable, meaning)), ".env.example"


def settings_with(dotenv: str, tmp_path: Path, what: str) -> object:
    """Something of the settings, as a process reads them whose `.env` holds this."""
    (tmp_path / "claudia").mkdir()
    for name in ("__init__.py", "settings.py", "environment.py", "logs.py"):
        (tmp_path / "claudia" / name).write_text((ROOT / "claudia" / name).read_text())
    (tmp_path / ".env").write_text(dotenv)
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(what)], cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_example_changes_nothing_when_all_of_it_is_uncommented(tmp_path: Path) -> None:
    uncommented = re.sub(r"^#(\w+=)", r"\1", EXAMPLE, flags=re.MULTILINE)
    assert "\nSYNC_BATCH_SIZE=10000\n" in uncommented
    values = "[{n: env.text(n) for n in env.declared}, MISSPELT]"
    read, misspelt = settings_with(uncommented, tmp_path, values)  # type: ignore[misc]
    assert misspelt == []
    assert read == {name: variable.default for name, variable in env.declared.items()}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("SYNC_BATCHSIZE=5", "SYNC_BATCHSIZE is set, and nothing reads it: do you mean SYNC_BATCH_SIZE?"),
        ("export DATABSE_URL=x", "DATABSE_URL is set, and nothing reads it: do you mean DATABASE_URL?"),
        ("sync_batch_size=5", "sync_batch_size is set, and nothing reads it: do you mean SYNC_BATCH_SIZE?"),
        ("ALERT_XYZ=5", "ALERT_XYZ is set in .env, and nothing reads it: .env.example shows all that there is."),
        ("#SYNC_BATCHSIZE=5", None),
        ("SOMEBODY_ELSES=5", None),
        ("SYNC_BATCH_SIZE=500", None),
    ],
)
def test_a_name_that_nothing_reads_is_told_with_the_nearest(line: str, told: str | None, tmp_path: Path) -> None:
    assert settings_with(f"{line}\n", tmp_path, "MISSPELT") == ([told] if told else [])


def test_of_the_processs_own_variables_only_what_resembles_ours_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_POLL_SECOND", "1")
    monkeypatch.setenv("SYNC_PORT_8000_TCP_ADDR", "10.0.0.1")
    monkeypatch.setenv("PORTS", "1")
    monkeypatch.setenv("PORT", "1")  # `make` exports it
    reader = Environment()
    reader.number("SYNC_POLL_SECONDS", 1, low=0, high=2)
    reader.integer("PORT", 1, low=0, high=2)
    assert [sentence.split()[0] for sentence in reader.misspelt()] == ["SYNC_POLL_SECOND"]


def test_it_is_told_at_start_and_nothing_is_refused(tmp_path: Path) -> None:
    variables = {"PATH": "", "LOCAL_DIR": str(tmp_path), "SYNC_POLL_SECOND": "1"}
    done = subprocess.run(
        [sys.executable, "manage.py", "help", "check"], cwd=ROOT, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "WARNING claudia.apps: SYNC_POLL_SECOND is set, and nothing reads it" in done.stderr


def test_intervals_are_of_tasks_or_said_to_be_unused() -> None:
    settings = {name for name in env.declared if re.fullmatch(r"MAINTAIN_\w+_HOURS", name)}
    unused = {name for name in settings if page()[name][2].endswith("not used yet")}
    assert {task.setting for task in tasks().values()} == settings - unused
