"""Connections of the engine's own, beside Django's pool: direct ones, and those that may go through a pooler.

`DATABASE_URL` may lead to a pooler that gives each transaction another session. What needs a session of its own goes
by `SYNC_DATABASE_URL`, to PostgreSQL itself; without a pooler both are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

#: What libpq understands of Django's connection parameters, but for the name, which we give ourselves.
LIBPQ = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} - {"application_name"}
NAMES = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}


def conninfo(application_name: str, **settings: str) -> str:
    """The connection string of PostgreSQL itself, with session settings of our own.

    application_name: shown in pg_stat_activity, so that an operator sees what a connection is for.
    """
    direct: Mapping[str, Any] | None = django_settings.SYNC_DATABASE
    kept = _kept(_default() if direct is None else _libpq(direct))
    options = [str(kept.pop("options", ""))] + [f"-c {name}={value}" for name, value in settings.items()]
    return make_conninfo(**kept, application_name=application_name, options=" ".join(filter(None, options)))


def pooled_conninfo(application_name: str) -> str:
    """The connection string that Django uses, which may lead to a pooler: nothing of a session may be relied on."""
    return make_conninfo(**_kept(_default()), application_name=application_name)


def _default() -> Mapping[str, Any]:
    params: Mapping[str, Any] = connections[DEFAULT_DB_ALIAS].get_connection_params()
    return params


def _libpq(database: Mapping[str, Any]) -> dict[str, Any]:
    """Django's settings of a database in libpq's words."""
    named = {libpq: database[name] for name, libpq in NAMES.items() if database.get(name)}
    return {**named, **database.get("OPTIONS", {})}


def _kept(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in LIBPQ if params.get(name) is not None}


#: Of a connection to the standby, unless SYNC_REPLICA_URL says otherwise: one that is gone must be noticed soon.
NOTICED_SOON = {
    "connect_timeout": "3", "tcp_user_timeout": "10000", "keepalives_idle": "5", "keepalives_interval": "2",
    "keepalives_count": "3",
}  # fmt: skip


def standby_conninfo(url: str) -> str:
    """The connection string for reading snapshots on the standby, or on one of several, in libpq's way."""
    return make_conninfo("", **(NOTICED_SOON | conninfo_to_dict(url)) | {"application_name": "claudia snapshots"})


#: Of a connection that is made to look at something: whatever is wrong, it must not hang.
BRIEF = {"statement_timeout": "3s", "lock_timeout": "1s", "idle_in_transaction_session_timeout": "5s"}


@contextmanager
def brief_connection() -> Iterator[psycopg.Connection[Any]]:
    """A direct connection in autocommit that only lives for a look, and waits for nothing long.

    Beside Django's pool and any pooler, which may be exhausted just when somebody wants to know why. Raises
    psycopg.Error.
    """
    connection = psycopg.connect(
        conninfo("claudia monitor", **BRIEF), autocommit=True, prepare_threshold=None, connect_timeout=3
    )
    try:
        yield connection
    finally:
        connection.close()
