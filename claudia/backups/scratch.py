"""Databases beside the real one, in which a backup is brought up: dropped in any case, if need be by the next run.

A name says that a database is one of these; an advisory lock, which dies with whoever holds it, that it is in use.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from claudia.backups.problem import BackupProblem
from claudia.backups.servers import Server

NAME = re.compile(r".{1,37}_claudia_scratch_([0-9a-f]{8})")
LONGEST = 63
#: The class of the advisory locks, in the maintenance database.
LOCKS = 1_129_070_914

# As the database that it stands for, or will: what sorts before what is nothing that a dump could bring along.
LIKE = """
    SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, to_jsonb(d) ->> 'datlocale',
        to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'daticurules'
    FROM pg_database d WHERE datname = %s
"""
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


def clear(keeper: psycopg.Connection[Any]) -> list[str]:
    """Drops what killed runs left behind; the names."""
    dropped = []
    for (name,) in keeper.execute(
        "SELECT datname FROM pg_database WHERE datname LIKE '%\\_claudia\\_scratch\\_%'"
    ).fetchall():
        match = NAME.fullmatch(name)
        if match is None or not _lock(keeper, match[1]):
            continue
        try:
            _drop(keeper, name)
            dropped.append(name)
        except psycopg.errors.InsufficientPrivilege:
            pass  # somebody else's
        finally:
            _unlock(keeper, match[1])
    return dropped


@contextmanager
def scratch(server: Server, keeper: psycopg.Connection[Any], encoding: str) -> Iterator[str]:
    """An empty database; its name. Dropped at the end, unless it has another name by then.

    keeper: a connection to the maintenance database, which must live as long. encoding: of what will be in it. Raises
    BackupProblem if the role may not make databases.
    """
    key = secrets.token_hex(4)
    name = f"{server.name.encode()[: LONGEST - 26].decode(errors='ignore')}_claudia_scratch_{key}"
    _lock(keeper, key)
    try:
        try:
            _create(server, keeper, name, encoding)
            yield name
        finally:
            with suppress(psycopg.OperationalError):  # without its connection the next run has to do it
                _drop(keeper, name)
    finally:
        with suppress(psycopg.OperationalError):
            _unlock(keeper, key)


def _create(server: Server, keeper: psycopg.Connection[Any], name: str, encoding: str) -> None:
    options = [SQL("TEMPLATE template0 ENCODING {}").format(Literal(encoding))]
    like = keeper.execute(LIKE, [server.name]).fetchone()
    if like is not None:
        has, collate, ctype, provider, locale, icu, rules = like
        if has != encoding:
            raise BackupProblem(f"The backup is of a database in {encoding}, and {server.name} is in {has}.")
        options.append(SQL("LC_COLLATE {} LC_CTYPE {}").format(Literal(collate), Literal(ctype)))
        options.append(SQL("LOCALE_PROVIDER {}").format(SQL(PROVIDERS[provider])))
        if provider == "i":
            options.append(SQL("ICU_LOCALE {}").format(Literal(locale or icu)))
            options += [SQL("ICU_RULES {}").format(Literal(rules))] if rules else []
        elif provider == "b":
            options.append(SQL("BUILTIN_LOCALE {}").format(Literal(locale)))
    try:
        keeper.execute(SQL("CREATE DATABASE {} {}").format(Identifier(name), SQL(" ").join(options)))
    except psycopg.errors.InsufficientPrivilege:
        role = keeper.info.user
        raise BackupProblem(
            f"The role {role} may not make databases, and the backup is brought up in one of its own: let a superuser"
            f" say `ALTER ROLE {role} CREATEDB`, or name a server where it may with --database."
        ) from None
    except psycopg.Error as error:
        raise BackupProblem(f"No database can be made beside {server.name}: {str(error).strip()}") from None


def _drop(keeper: psycopg.Connection[Any], name: str) -> None:
    keeper.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


def _lock(keeper: psycopg.Connection[Any], key: str) -> bool:
    row = keeper.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCKS, _number(key)]).fetchone()
    return bool(row and row[0])


def _unlock(keeper: psycopg.Connection[Any], key: str) -> None:
    keeper.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCKS, _number(key)])


def _number(key: str) -> int:
    return int.from_bytes(bytes.fromhex(key), signed=True)
