"""PgBouncer in front of a cluster: the real one, by the configuration that the documentation gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

from claudia.postgres import cluster as launcher
from tests.acceptance.server import ROOT, free_port
from tests.nemesis.cluster import PASSWORD, PATIENCE, Cluster, new_folder
from tests.programs import program

DOCUMENTED = ROOT / "docs" / "pgbouncer.ini"


@dataclass
class Bouncer:
    """Between whoever connects to `url` and the cluster; `with` starts and ends it.

    size: sessions of PostgreSQL, for all who come. options: beside, or in place of, documented ones.
    """

    cluster: Cluster
    size: int = 3
    options: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    def __enter__(self) -> Bouncer:
        program("pgbouncer")
        self.folder = new_folder()
        account = self.cluster._place.account
        (self.folder / "userlist.txt").write_text(f'"{launcher.USER}" "{PASSWORD}"\n')
        (self.folder / "pgbouncer.ini").write_text(self._configuration())
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, account.uid, account.gid)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Returns when it lets somebody in."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("pgbouncer"), str(self.folder / "pgbouncer.ini")], stdout=log, stderr=log,
                **self.cluster._place.account.process_options,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    said = (self.folder / "log").read_text()
                    raise AssertionError(f"pgbouncer does not start: {error}\n{said[-2000:]}") from None
                time.sleep(0.02)  # there is nothing that one could wait for

    def stop(self) -> None:
        """At once, as if it were killed: whoever is connected loses the connection."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)

    @property
    def url(self) -> str:
        """Of the database, through it."""
        return f"postgres://{launcher.USER}:{PASSWORD}@127.0.0.1:{self.port}/claudia"

    @property
    def variables(self) -> dict[str, str]:
        """What a server's environment says beside DATABASE_URL."""
        return {"DATABASE_POOLER": "transaction", "SYNC_DATABASE_URL": self.cluster.url}

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Through it, as a program does that knows of it."""
        return psycopg.connect(self.url, prepare_threshold=None, **options)

    def show(self, what: str) -> list[dict[str, Any]]:
        """What it tells of itself: POOLS, SERVERS, CLIENTS."""
        url = self.url.removesuffix("claudia") + "pgbouncer"
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(f"SHOW {what}").fetchall()

    def _configuration(self) -> str:
        ours = {
            "claudia": f"host=127.0.0.1 port={self.cluster.port} dbname=claudia",
            "listen_port": str(self.port),
            "auth_file": str(self.folder / "userlist.txt"),
            "default_pool_size": str(self.size),
        }
        text = DOCUMENTED.read_text()
        for name, value in ours.items():
            text, found = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
            assert found == 1, f"{DOCUMENTED} says {name} {found} times"
        return text + "".join(f"{name} = {value}\n" for name, value in self.options.items())
