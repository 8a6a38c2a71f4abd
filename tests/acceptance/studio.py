"""Where pictures of pages are taken: a server of its own with the demo, and Chromium."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from claudia.postgres import EmbeddedPostgres
from tests.acceptance.browser import CHROMIUM
from tests.acceptance.server import ROOT
from tests.acceptance.site import ServerProcess, Site, drop_database, make_database


@contextmanager
def studio() -> Iterator[tuple[Site, ServerProcess, Browser]]:
    """All of it is gone afterwards."""
    postgres = EmbeddedPostgres(ROOT / ".local" / "postgres-test", for_tests=True)
    server_url = os.environ.get("TEST_DATABASE_URL") or postgres.start()
    name, url = make_database(server_url)
    with tempfile.TemporaryDirectory() as folder:
        site = Site(url, Path(folder))
        try:
            server = site.serve(SYNC_METRICS_SECONDS="2")
            site.connect()
            server.manage("seed_demo")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                yield site, server, browser
                browser.close()
        finally:
            site.close()
            drop_database(server_url, name)
            if "TEST_DATABASE_URL" not in os.environ:
                postgres.stop()
