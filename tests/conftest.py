"""What all tests share: the database server.

The pytest process starts one embedded PostgreSQL for the clone and its xdist workers share it; so do several pytest
processes at a time, with databases of their own. TEST_DATABASE_URL replaces it by any server on which its user may
create databases.
"""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
from django.conf import settings

from claudia.database import use_database
from claudia.postgres import EmbeddedPostgres, PostgresProblem

# The same examples each time, and as long as they take: a busy machine is no failure.
hypothesis.settings.register_profile("claudia", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("claudia")

ROOT = Path(__file__).resolve().parent.parent
# How the workers learn what the controller started.
SERVER, DATABASE = "CLAUDIA_TESTS_SERVER", "CLAUDIA_TESTS_DATABASE"
_server = pytest.StashKey[EmbeddedPostgres]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if not is_worker:
        url = settings.TEST_DATABASE_URL
        os.environ.pop(DATABASE, None)
        if not url:
            server = EmbeddedPostgres(ROOT / ".local" / "postgres-test", for_tests=True)
            try:
                url = server.start()
            except PostgresProblem as problem:
                pytest.exit(str(problem), returncode=3)
            config.stash[_server] = server
            os.environ[DATABASE] = f"test_claudia_{os.getpid()}"
        os.environ[SERVER] = url
    use_database(os.environ[SERVER])
    if DATABASE in os.environ:
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = os.environ[DATABASE]


def pytest_unconfigure(config: pytest.Config) -> None:
    if server := config.stash.get(_server, None):
        server.stop()


@pytest.fixture(scope="session")
def server_url() -> str:
    """The address of the test server, for tests that make databases of their own on it."""
    return os.environ[SERVER]
