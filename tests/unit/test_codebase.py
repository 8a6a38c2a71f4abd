"""Guards of the code itself: what every later change must keep, told by name when it does not."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands

import syncing
from syncing.declarations import Declaration, declarations
from tests.rows import factory_of, plain
from tests.world import SHAPES

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = ("claudia", "accounts", "projects", "agents", "conversations", "memory", "syncing")
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
LONGEST = 400
#: What documents name although a clone does not hold it.
MADE = (".venv", ".local", ".env", "manifest.json")
CODED_SUFFIXES = (".py", ".js", ".json", ".md", ".toml", ".txt", ".sql", ".svg", ".example", ".css", ".html")
#: Pure modules, and so those of which the contract "pure" must speak.
PURE = {
    "alignment", "conditions", "containment", "cursor", "diffs", "ephemeral_frames", "equality", "exceptions",
    "filters", "frames",
    "issues", "log", "lookups", "matching", "merge", "packets", "presenting", "protocol", "rates", "recent",
    "reconcile", "replica", "shapes", "sketch", "steps", "undoing",
    "values",
}  # fmt: skip


def sources(*suffixes: str) -> Iterator[Path]:
    """The project's own source files, without what is generated."""
    for top in (*APPS, "benchmarks", "tests", "templates", ".ci"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in suffixes and not {"migrations", "__pycache__", "node_modules"} & set(path.parts):
                yield path


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def our_commands() -> list[str]:
    return sorted(command for command, app in get_commands().items() if app in APPS)


# -- tests that must not be forgotten ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", our_commands())
def test_every_command_is_named_in_a_test(command: str) -> None:
    tests = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__))
    assert any(re.search(rf"\b{command}\b", text) for text in tests), f"manage.py {command} has no test"


@pytest.fixture(params=sorted(declarations()))
def declaration(request: pytest.FixtureRequest) -> Declaration:
    return declarations()[request.param]


def test_every_synced_model_has_a_factory(declaration: Declaration) -> None:
    assert factory_of(declaration.model)


def test_every_synced_model_takes_part_in_capture_and_in_the_theorem(declaration: Declaration) -> None:
    assert plain(declaration) in declaration.columns
    assert declaration.table in {table for table, _ in SHAPES}


# -- the form of the code ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(sources(".py", ".js", ".css", ".html", ".sql")), ids=name)
def test_no_file_is_longer_than_one_can_hold_in_the_head(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST, f"{name(path)} has {lines} lines: split it by subject ({LONGEST} are allowed)"


def undocumented(path: Path) -> Iterator[str]:
    """The module, its public classes and its public functions, if they have no docstring."""
    definitions = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    module = ast.parse(path.read_text())
    if ast.get_docstring(module) is None:
        yield "the module"
    for node in module.body:
        if not isinstance(node, definitions) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not explained_elsewhere(path, node):
            yield node.name


def explained_elsewhere(path: Path, node: ast.AST) -> bool:
    """Frames by the protocol, the app's configuration by Django."""
    return path.name in ("frames.py", "apps.py") and isinstance(node, ast.ClassDef)


@pytest.mark.parametrize("path", sorted((ROOT / "syncing").glob("*.py")), ids=name)
def test_what_is_public_in_the_engine_has_a_docstring(path: Path) -> None:
    assert not list(undocumented(path)), f"without a docstring in {name(path)}: {list(undocumented(path))}"


def test_whatever_domain_apps_may_import_is_there() -> None:
    assert not [public for public in syncing.__all__ if not hasattr(syncing, public)]


# -- who imports whom --------------------------------------------------------------------------------------------------


def contract(which: str) -> dict[str, list[str]]:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(table for table in tables if table["id"] == which)


def test_imports_keep_the_contracts() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_contracts_speak_of_what_is_there() -> None:
    assert sorted(contract("pure")["source_modules"]) == sorted(f"syncing.{module}" for module in PURE)
    assert not [module for module in PURE if not (ROOT / "syncing" / f"{module}.py").exists()]
    # All inner modules, whichever there are.
    assert contract("public-face")["forbidden_modules"] == ["syncing.*"]
    assert {*contract("public-face")["source_modules"], "claudia", "syncing"} == set(APPS)


def test_a_module_that_says_it_is_pure_is_held_to_it() -> None:
    said = {
        path.stem
        for path in (ROOT / "syncing").glob("*.py")
        if re.search(r"\bPure\.", ast.get_docstring(ast.parse(path.read_text())) or "")
    }
    assert said <= PURE, f"say so to import-linter, in pyproject.toml: {sorted(said - PURE)}"


# -- documents that tell the truth -------------------------------------------------------------------------------------


@pytest.fixture(params=PAGES, ids=name)
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def exists(path: str, beside: Path) -> bool:
    path = path.rstrip("/")
    return path.startswith(MADE) or any(
        (folder / path).exists() for folder in (ROOT, beside, ROOT / "syncing", ROOT / "syncing/static/syncing")
    )


def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_files_that_are_named_exist(page: Path) -> None:
    quoted = re.findall(r"`([\w./-]+)`", page.read_text())
    paths = [text for text in quoted if text.endswith(CODED_SUFFIXES) or re.fullmatch(r"[\w.-]+(/[\w.-]+)*/", text)]
    assert not [path for path in paths if not exists(path, page.parent)]


def test_commands_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"manage\.py ([a-z_]+)", text))
    assert not named - get_commands().keys()
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = "\n".join(code_of(text))
    assert not set(re.findall(r"\bmake ([a-z-]+)", typed)) - targets


def code_of(text: str) -> list[str]:
    """What a document shows as something to type: blocks of shell, and code inside sentences."""
    return [*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]


def test_the_readme_names_every_command_of_ours() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [command for command in our_commands() if command not in readme]


def test_every_invariant_names_the_tests_that_hold_it() -> None:
    rows = re.findall(r"^\| (\d) \| .* \| (.*) \|$", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    assert [number for number, _ in rows] == list("123456789")
    unheld = [number for number, held in rows if "`tests/" not in held]
    assert unheld == []


def test_every_module_of_the_engine_has_a_line_in_the_design() -> None:
    text = (ROOT / "docs/design.md").read_text()
    modules = [path.name for path in (ROOT / "syncing").glob("*.py") if path.name not in ("apps.py", "exceptions.py")]
    assert not [module for module in modules if f"`{module}`" not in text]


def test_every_benchmark_is_run_with_the_others_and_told_in_the_document() -> None:
    programs = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "def main() -> bool" in path.read_text()}
    run = set(re.findall(r'^    "(\w+)": \d+,$', (ROOT / "benchmarks/__main__.py").read_text(), re.MULTILINE))
    told = set(re.findall(r"^\| `benchmarks/(\w+)\.py` ", (ROOT / "docs/benchmarks.md").read_text(), re.MULTILINE))
    assert programs == run == told


def test_every_issue_that_can_be_found_is_told_in_the_document_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "syncing").glob("*.py"))
    found = set(re.findall(r'\bIssue\(\s*"([a-z_]+)"', sources)) | {"gate_frozen", "checkpoint_lock_frozen"}
    told = set(re.findall(r"^\| `([a-z_]+)` \| ", (ROOT / "docs/health.md").read_text(), re.MULTILINE))
    # What a client is told of its own connection only.
    assert found - {"offline", "behind"} == told


def test_nothing_speaks_of_the_machine_on_which_it_was_written() -> None:
    pattern = re.compile(r"(?<![\w.])/(work|tmp|root|home/\w+)/")
    pages = [*PAGES, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".env.example", *sources(".py", ".js", ".sql")]
    assert not [name(path) for path in pages if path != Path(__file__) and pattern.search(path.read_text())]
