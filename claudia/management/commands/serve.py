"""`manage.py serve`: everything for one machine, from the database to the WebSockets."""

from __future__ import annotations

import os
import threading
from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from claudia import development, serving
from claudia.database import check_server, use_database
from claudia.postgres import EmbeddedPostgres, PostgresProblem
from claudia.postgres.locks import FileLock
from syncing.databases import conninfo
from syncing.poolers import NotDirect, check_addresses
from syncing.upkeep import Background

MIGRATION_LOCK = 7_246_529_801  # any number that nobody else uses for pg_advisory_lock


class Command(BaseCommand):
    help = (
        "Serve Claudia on one machine: start an embedded PostgreSQL unless DATABASE_URL is set, migrate, and serve "
        "HTTP and WebSockets until Ctrl-C or SIGTERM. Maintenance that is due is done in the background, unless"
        " MAINTAIN_WHILE_SERVING is 0."
    )
    requires_system_checks = []  # run by `_migrate`, once there is a database to check

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="the port (default: PORT from the environment, else 8000)")
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
        parser.add_argument(
            "--demo", action="store_true", help="fill an empty database with a demo, make a staff login"
        )

    def handle(self, *, port: int | None, host: str, demo: bool, **options: Any) -> None:
        serving.end_on_sigterm()
        try:
            port = settings.PORT if port is None else port
            with ExitStack() as stack:
                self._claim_clone(stack)
                serving.check_port(host, port)
                url = self._database(stack)
                self._migrate()
                note = development.Note(f"http://{host}:{port}", url, development.STAFF_EMAIL, "")
                if demo:
                    note = self._demo(note)
                serving.serve(host, port, on_ready=lambda: self._ready(note, demo, stack))
                self._say("\nStopping …")
        except (PostgresProblem, serving.CannotListen, ImproperlyConfigured, NotDirect) as problem:
            raise CommandError(str(problem)) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        if self._database_died:
            raise CommandError(f"The database stopped by itself; see {settings.LOCAL_DIR / 'postgres' / 'log'}.")

    _database_died = False
    _leaving = False

    def _claim_clone(self, stack: ExitStack) -> None:
        """Two servers of one clone would share .local, and overwrite each other's note."""
        lock = FileLock(settings.LOCAL_DIR / "serve.lock")
        if not lock.acquire(wait=False):
            raise CommandError(
                "Claudia is already being served from this clone: stop that first (one clone, one server)."
            )
        stack.callback(lock.release)

    def _database(self, stack: ExitStack) -> str:
        url = settings.DATABASE_URL
        if not url:
            self._say("Starting PostgreSQL …")
            embedded = EmbeddedPostgres(settings.LOCAL_DIR / "postgres")
            url = embedded.start()
            stack.callback(embedded.stop)
            stack.callback(setattr, self, "_leaving", True)
            threading.Thread(target=self._watch, args=(embedded,), daemon=True).start()
            os.environ["DATABASE_URL"] = url  # for child processes
        check_server(url)
        use_database(url)
        check_addresses()
        return url

    def _watch(self, embedded: EmbeddedPostgres) -> None:
        """Without its database the server is of no use: end with it."""
        if embedded.supervisor is not None:
            embedded.supervisor.wait()
            if not self._leaving:
                self._database_died = True
                serving.stop_server()

    def _migrate(self) -> None:
        self._say("Migrating the database …")
        self.check()
        # Several servers may start at once on one database.
        with psycopg.connect(conninfo("claudia start"), autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
            call_command("migrate", interactive=False, verbosity=0)

    def _demo(self, note: development.Note) -> development.Note:
        path = settings.LOCAL_DIR / "dev.json"
        seeded = development.seed_demo_once()
        password = development.ensure_staff(development.noted_password(path))
        if seeded:
            development.share_demo()
            self._say("Made a small demo.")
        return development.Note(note.url, note.database_url, note.email, password)

    def _ready(self, note: development.Note, demo: bool, stack: ExitStack) -> None:
        if settings.MAINTAIN_WHILE_SERVING:
            stack.callback(Background().end)
        self._welcome(note, demo)

    def _welcome(self, note: development.Note, demo: bool) -> None:
        if demo:
            note.write(settings.LOCAL_DIR / "dev.json")
        rows = [("Workspace", f"{note.url}/"), ("Admin", f"{note.url}/admin/")]
        if demo:
            rows += [("E-mail", note.email), ("Password", note.password)]
        self._say("\n" + self.style.SUCCESS("Claudia is running.") + "\n")
        for name, value in rows:
            self._say(f"  {name:<10} {self.style.MIGRATE_HEADING(value)}")
        self._say("\nCtrl-C stops it.\n")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
