"""The one database: pointing Django at it at run time, and whether it will do."""

from __future__ import annotations

import psycopg
from django.conf import settings

from claudia.environment import Environment
from claudia.postgres import PostgresProblem

OLDEST_SUPPORTED = 15


def use_database(url: str) -> None:
    """Point Django at the database at `url`; to be called before the first connection."""
    found = Environment().database("DATABASE_URL", url)
    default = settings.DATABASES["default"]
    # In place: Django's connections hold this very dict, and fill it up with defaults of their own.
    default["OPTIONS"].update(found.pop("OPTIONS"))
    default.update(found)


def check_server(url: str) -> None:
    """Raise PostgresProblem, in one sentence, unless a supported PostgreSQL answers at `url`."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            version = connection.info.server_version
    except psycopg.Error as error:
        place = psycopg.conninfo.conninfo_to_dict(url)
        where = f"{place.get('host', 'localhost')}:{place.get('port', 5432)}/{place.get('dbname', '')}"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PostgresProblem(f"Cannot reach the database at {where}: {reason}. Check DATABASE_URL.") from None
    if version < OLDEST_SUPPORTED * 10_000:
        raise PostgresProblem(
            f"PostgreSQL {version // 10_000} is too old: Claudia needs PostgreSQL {OLDEST_SUPPORTED} or newer."
        )
