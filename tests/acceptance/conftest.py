"""One database with one real server a worker; some tests start more on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.acceptance.browser import CHROMIUM, HASH, PASSWORD, Desk, Tab
from tests.acceptance.people import Cast
from tests.acceptance.site import Person, ServerProcess, Site, drop_database, make_database


@pytest.fixture(scope="session")
def site(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The database of this worker, migrated by its first server."""
    name, url = make_database(server_url)
    site = Site(url, tmp_path_factory.mktemp("site"))
    try:
        site.serve()
        site.connect()
        yield site
    finally:
        site.close()
        drop_database(server_url, name)


@pytest.fixture(scope="session")
def hasty(site: Site) -> ServerProcess:
    """Another server, which loses its patience within two seconds and looks at the clock four times a second."""
    return site.serve(hasty=True)


@pytest.fixture
def server(site: Site) -> Iterator[ServerProcess]:
    """The worker's first server, which nobody stops; no test may make it complain."""
    server = site.servers[0]
    before = len(server.complaints())
    yield server
    assert server.complaints()[before:] == []


@pytest.fixture
def cast(site: Site) -> Cast:
    """A new cast for each test, so that tests do not see each other's rows."""
    return Cast.enter(site)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless; as root it runs only without its sandbox."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def desk(browser: Browser, server: ServerProcess) -> Iterator[Desk]:
    desk = Desk(browser, server.origin)
    yield desk
    desk.close()


@pytest.fixture
def alice(site: Site, cast: Cast) -> Person:
    """Alice, who knows her password."""
    site.update("users", cast.alice.id, password=HASH)
    return cast.alice


@pytest.fixture
def tab(desk: Desk, alice: Person) -> Tab:
    """Alice at her desk."""
    return desk.tab().sign_in(alice, PASSWORD)
