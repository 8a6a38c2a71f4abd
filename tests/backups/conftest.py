"""Vaults for tests: each a copy of one database that was filled once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.site import drop_database, make_database
from tests.backups.vault import Vault

#: A row of what neither the demo nor the bulk makes, so that every table of the engine has one.
REST = """
    INSERT INTO api_tokens (id, user_id, name, digest, prefix)
        SELECT id, id, 'of a phone', md5(id::text), 'claudia_' FROM users;
    INSERT INTO sync_clients (client, user_id) SELECT id, id FROM users;
    INSERT INTO sync_receipts (user_id, client, mutation, digest, table_name, row_id, status, error)
        SELECT id, id, id, 'd', 'memory', id, 'rejected', '{"code": "gone"}' FROM users;
    INSERT INTO sync_conflicts (user_id, table_name, row_id, type, fields, local, strategy)
        SELECT id, 'memory', id, 'same_column', '{"content"}', '{"content": 1.50}', 'manual' FROM users;
    INSERT INTO sync_readings (user_id, table_name, page) SELECT id, 'messages', 'row' FROM users;
    INSERT INTO sync_alerts (key, code, part, severity, message) VALUES ('k', 'k', 'database', 'warning', 'it was so');
    INSERT INTO sync_processes (id, host, pid) SELECT id, 'long gone', 1 FROM users;
    INSERT INTO sync_cluster (system_identifier) SELECT system_identifier FROM pg_control_system();
    UPDATE messages SET content = E'quotes '' " \\\\ tabs \\t lines \\n ünïcode 🌱 ' || content;
    DELETE FROM memory WHERE id = (SELECT min(id::text)::uuid FROM memory);
"""


@pytest.fixture(scope="session")
def filled(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database with something in every table; nobody is connected to it."""
    name, url = make_database(server_url)
    vault = Vault(server_url, url, tmp_path_factory.mktemp("filled"))
    try:
        vault.run("migrate", "--verbosity", "0")
        vault.run("seed_demo")
        vault.run("seed_bulk", "--sessions", "20", "--messages", "3000", "--memory", "200", "--agents", "5")
        vault.sql(REST)
        yield name
    finally:
        drop_database(server_url, name)


@pytest.fixture
def vault(server_url: str, filled: str, tmp_path: Path) -> Iterator[Vault]:
    """Its database is a copy, for this test alone."""
    _, url = make_database(server_url, filled)
    vault = Vault(server_url, url, tmp_path)
    yield vault
    vault.remove()
