"""A PostgreSQL server as backups use it: more than one of its databases, and programs that connect by themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from claudia.backups.problem import BackupProblem
from claudia.environment import Environment
from syncing.databases import conninfo

#: Of the connections that a long piece of work holds on to.
PATIENT = {"statement_timeout": "0", "idle_session_timeout": "0", "idle_in_transaction_session_timeout": "0"}


@dataclass(frozen=True)
class Server:
    """params: of libpq. name: of the database that it is about. maintenance: one that may be used while it is not."""

    params: Mapping[str, Any]
    name: str
    maintenance: str = "postgres"

    @classmethod
    def default(cls, program: str, maintenance: str = "postgres") -> Server:
        """That of DATABASE_URL. program: shown in pg_stat_activity."""
        return cls._of(conninfo(f"command {program}"), maintenance)

    @classmethod
    def at(cls, url: str, program: str, maintenance: str = "postgres") -> Server:
        """That of an address. Raises BackupProblem, without repeating it: it may hold a password."""
        try:
            Environment().database("--database", url)
            return cls._of(make_conninfo(url, application_name=f"command {program}", connect_timeout=5), maintenance)
        except (ImproperlyConfigured, psycopg.Error) as error:
            raise BackupProblem(str(error)) from None

    @classmethod
    def _of(cls, text: str, maintenance: str) -> Server:
        params = conninfo_to_dict(text)
        name = str(params.pop("dbname", None) or params.get("user") or "")
        if name == maintenance:
            raise BackupProblem(
                f"The database {name} is the one from which others are made: name another with --maintenance-db."
            )
        return cls(params, name, maintenance)

    def connect(self, database: str | None = None) -> psycopg.Connection[Any]:
        """To a database, the server's own unless another is named; in autocommit. Raises BackupProblem."""
        database = database or self.name
        try:
            connection = psycopg.connect(
                make_conninfo(**self.params, dbname=database), autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            place = f"{self.params.get('host', 'localhost')}:{self.params.get('port', 5432)}/{database}"
            raise BackupProblem(f"Cannot connect to {place}: {' '.join(str(error).split())}") from None
        for name, value in PATIENT.items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        return connection

    def upkeep(self) -> psycopg.Connection[Any]:
        """To the maintenance database, from where others are made, renamed and dropped. Raises BackupProblem."""
        try:
            return self.connect(self.maintenance)
        except BackupProblem as problem:
            raise BackupProblem(
                f"{problem} Databases are made and renamed from there: name another one with --maintenance-db."
            ) from None

    def program_arguments(self, database: str | None = None) -> list[str]:
        """For `pg_dump` and `pg_restore`: where to connect, without a password, which all could read in the list."""
        params = {name: value for name, value in self.params.items() if name != "password"}
        return ["--no-password", "--dbname", make_conninfo(**params, dbname=database or self.name)]

    def program_environment(self) -> dict[str, str]:
        """The password, and messages in the language that we read."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PGPASS"))}
        password = self.params.get("password")
        return kept | {"LC_ALL": "C.UTF-8"} | ({"PGPASSWORD": str(password)} if password else {})
