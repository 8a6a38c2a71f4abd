"""One database takes another's name, in one transaction, with whoever is connected sent away."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from claudia.backups.problem import BackupProblem
from claudia.backups.servers import Server

#: Seconds between two looks at who is still connected. PostgreSQL gives them five to leave.
LOOK = 0.05
LONGEST = 63

TERMINATE = """
    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = ANY(%s) AND backend_type = 'client backend'
"""
CONNECTED = """
    SELECT string_agg(DISTINCT coalesce(nullif(application_name, ''), 'somebody') || ' (' || pid || ')', ', ')
    FROM pg_stat_activity WHERE datname = ANY(%s) AND backend_type = 'client backend'
"""
SETTINGS = """
    SELECT coalesce(r.rolname, ''), setting FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole,
    unnest(s.setconfig) AS setting WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = %s)
"""
OF_DATABASE = """
    SELECT pg_get_userbyid(datdba), pg_get_userbyid(datdba) <> current_user, datconnlimit, datacl IS NOT NULL
    FROM pg_database WHERE datname = %s
"""
GRANTS = """
    SELECT a.privilege_type, a.is_grantable,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
    FROM pg_database d, aclexplode(d.datacl) AS a WHERE d.datname = %s
"""


def dress(keeper: psycopg.Connection[Any], old: str, new: str) -> list[str]:
    """Gives the new database what belongs to the old one itself: owner, settings, who may connect.

    What this role may not give, in words.
    """
    owner, other, limit, granted = keeper.execute(OF_DATABASE, [old]).fetchone() or ("", False, -1, False)
    names = {"new": Identifier(new)}
    wanted: list[tuple[str, list[Any]]] = [
        (f"the connection limit {limit}", [SQL(f"ALTER DATABASE {{new}} CONNECTION LIMIT {limit}").format(**names)])
    ]
    for role, setting in keeper.execute(SETTINGS, [old]).fetchall():
        name, _, value = setting.partition("=")
        whose = SQL("ROLE {} IN DATABASE {new}" if role else "DATABASE {new}").format(
            *map(Identifier, filter(None, [role])), **names
        )
        # By way of the session's own setting: no rule of quoting, of which lists have another one, is needed.
        own = SQL("SELECT set_config({}, {}, true)").format(name, value)
        wanted.append(
            (
                f"the setting {name}",
                [own, SQL("ALTER {} SET {} FROM CURRENT").format(whose, Identifier(*name.split(".")))],
            )
        )
    if granted:
        grants = [SQL("REVOKE ALL ON DATABASE {new} FROM PUBLIC").format(**names)]
        for privilege, grantable, grantee in keeper.execute(GRANTS, [old]).fetchall():
            option = " WITH GRANT OPTION" if grantable else ""
            grants.append(SQL(f"GRANT {privilege} ON DATABASE {{new}} TO {grantee}{option}").format(**names))
        wanted.append(("who may connect", grants))
    if other:
        wanted.append(
            (f"its owner {owner}", [SQL("ALTER DATABASE {new} OWNER TO {}").format(Identifier(owner), **names)])
        )
    refused = []
    for what, statements in wanted:
        try:
            with keeper.transaction():
                for statement in statements:
                    keeper.execute(statement)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject):
            refused.append(what)
    return refused


def aside(name: str) -> str:
    """The name that a database gets when another one takes its own."""
    suffix = f"_before_restore_{datetime.now(UTC):%Y%m%dT%H%M%SZ}".lower()
    return name.encode()[: LONGEST - len(suffix)].decode(errors="ignore") + suffix


def swap(server: Server, keeper: psycopg.Connection[Any], new: str, *, replaces: bool) -> tuple[str | None, int]:
    """The new database gets the server's name; the old one, if it replaces one, another: which, and who was sent away.

    Both renames are one transaction. The first takes a lock behind which newcomers wait, and waits for those who are
    connected, who are terminated meanwhile: so nobody slips in between. Raises BackupProblem if somebody does not go.
    """
    kept = aside(server.name) if replaces else None
    sent_away = 0
    names = [server.name, new]
    failed: list[psycopg.Error] = []
    with server.upkeep() as renamer:

        def rename() -> None:
            try:
                with renamer.transaction():
                    renamer.execute("SET LOCAL lock_timeout = '30s'")
                    if kept is not None:
                        renamer.execute(_renamed(server.name, kept))
                    renamer.execute(_renamed(new, server.name))
            except psycopg.Error as error:
                failed.append(error)

        renaming = threading.Thread(target=rename)
        renaming.start()
        while renaming.is_alive():
            with suppress(KeyboardInterrupt):  # it is done or undone within seconds, and we must know which
                sent_away += _terminate(keeper, names)
                renaming.join(LOOK)
    if failed:
        (connected,) = keeper.execute(CONNECTED, [names]).fetchone() or (None,)
        reason = f"these do not go: {connected}" if connected else " ".join(str(failed[0]).split())
        raise BackupProblem(f"{server.name} cannot be replaced: {reason}. It is as it was.")
    return kept, sent_away


def _renamed(old: str, new: str) -> Any:
    return SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(old), Identifier(new))


def _terminate(keeper: psycopg.Connection[Any], names: list[str]) -> int:
    try:
        return (keeper.execute(TERMINATE, [names]).fetchone() or (0,))[0]
    except psycopg.errors.InsufficientPrivilege:
        return 0  # a superuser's; who does not go is told in the end
