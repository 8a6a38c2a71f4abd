"""Before a server starts: may this code serve from this database at all?"""

from __future__ import annotations

import logging

import psycopg

from syncing.databases import brief_connection
from syncing.fitness import unfit
from syncing.upgrades import told, unknown_migrations, waiting_migrations

logger = logging.getLogger(__name__)


class CannotStart(Exception):
    """Why the server does not start, and what to do."""


def check_database() -> None:
    """Raises CannotStart where the database is not migrated as far as this code needs it, or too far for it.

    A database that is newer, and has all that this code declares, is served from: so a former version can be started
    again while it is replaced, or after it was. One that does not answer now is waited for, as it would be later; then
    the hub looks by itself before it serves anybody.
    """
    try:
        with brief_connection() as database:
            reason = next(unfit(database), None)
            unknown, waiting = unknown_migrations(database), waiting_migrations(database)
    except psycopg.Error as error:
        logger.warning("the database does not answer yet (%s): clients are refused until it does", type(error).__name__)
        return
    if reason is not None:
        raise CannotStart(f"{reason.message} {reason.recommendation}")
    if unknown:
        logger.warning("a newer version has migrated the database, and this one can go on: %s", told(unknown))
    if waiting:
        logger.info("migrations that wait until no former version runs are not applied yet: %s", told(waiting))
