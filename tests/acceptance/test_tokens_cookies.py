"""The browser's session as a way in, and what a page of another origin gets of it."""

from __future__ import annotations

import asyncio
import http.cookiejar
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from tests.acceptance.client import Client
from tests.acceptance.people import Cast
from tests.acceptance.site import Person, ServerProcess, Site

PASSWORD = "correct horse battery staple"
# Weak, since the tests hash quickly; logging in makes a strong one of it.
HASH = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)


class Browser:
    """Logs in and out by Django's own pages."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def login(self, person: Person) -> None:
        """Through the form of the admin."""
        page = self._post("/login/?next=/admin/", username=person.email, password=PASSWORD)
        assert "/admin/logout/" in page

    def logout(self) -> None:
        """As by the button."""
        self._post("/admin/logout/", page="/admin/")

    def _post(self, path: str, *, page: str | None = None, **fields: str) -> str:
        url = self.server.origin + path
        form = self._opener.open(self.server.origin + (page or path)).read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert token
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        answer: str = self._opener.open(urllib.request.Request(url, data, {"Referer": url})).read().decode()
        return answer

    def client(self, origin: str | None = None) -> Client:
        """A socket of a page of the origin; by default of the server's own."""
        cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.cookies)
        return Client(self.server.url, headers={"Cookie": cookie}, origin=origin or self.server.origin)


@pytest.fixture
def staff(site: Site) -> Person:
    """Somebody who may enter the admin."""
    return site.person("staff", password=HASH, is_staff=True, is_superuser=True)


@pytest.fixture
def browser(server: ServerProcess, staff: Person) -> Browser:
    """Logged in."""
    browser = Browser(server)
    browser.login(staff)
    return browser


async def test_a_page_of_our_own_comes_in_by_its_session_and_logging_out_ends_it(
    browser: Browser, staff: Person, site: Site
) -> None:
    async with browser.client() as page, Client(browser.server.url, staff.token) as program:
        assert page.frames[0]["user"]["id"] == staff.id
        await page.subscribe(me="users")
        await asyncio.to_thread(browser.logout)
        assert await page.close_code(patience=3) == 4401
        await program.ping()
    again = await browser.client().open()
    await again.send("hello", client=str(uuid4()))
    assert await again.close_code() == 4401


async def test_a_changed_password_ends_the_sessions_of_the_person(browser: Browser, staff: Person, site: Site) -> None:
    async with browser.client() as page, Client(browser.server.url, staff.token) as program:
        site.update("users", staff.id, password=HASH + "x")
        assert await page.close_code(patience=3) == 4401
        await program.ping()


async def test_the_session_of_a_deactivated_person_is_4403(browser: Browser, staff: Person, site: Site) -> None:
    async with browser.client() as page:
        site.update("users", staff.id, is_active=False)
        assert await page.close_code(patience=1) == 4403
    again = await browser.client().open()
    await again.send("hello", client=str(uuid4()))
    assert await again.close_code() == 4403


async def test_a_session_that_expires_ends_its_connections(browser: Browser, hasty: ServerProcess, site: Site) -> None:
    browser.server = hasty  # servers of one site share sessions
    keys = [cookie.value for cookie in browser.cookies if cookie.name == "sessionid"]
    site.sql("UPDATE django_session SET expire_date = now() + interval '1 s' WHERE session_key = ANY(%s)", keys)
    async with browser.client() as page:
        assert await page.close_code() == 4401


ORIGINS = [
    "http://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example", "file://",
    "chrome-extension://abcdef",
]  # fmt: skip


async def test_a_page_of_another_origin_is_4403_whether_or_not_there_is_a_session(browser: Browser) -> None:
    for origin in ORIGINS:
        page = await browser.client(origin).open()
        await page.send("hello", client=str(uuid4()))
        assert await page.close_code() == 4403, origin
        stranger = await Client(browser.server.url, origin=origin).open()
        await stranger.send("hello", client=str(uuid4()))
        assert await stranger.close_code() == 4403, origin


async def test_a_token_needs_no_origin(server: ServerProcess, cast: Cast) -> None:
    async with Client(server.url, cast.alice.token, origin="http://evil.example") as one:
        assert one.frames[0]["user"]["id"] == cast.alice.id


@pytest.fixture(scope="module")
def trusting(site: Site) -> Iterator[ServerProcess]:
    """A server that trusts pages of other origins."""
    server = site.serve(CSRF_TRUSTED_ORIGINS="https://app.example,https://*.partner.example")
    yield server
    assert server.stop() == 0


async def test_trusted_origins_come_in_and_those_that_only_look_alike_do_not(
    trusting: ServerProcess, staff: Person
) -> None:
    browser = Browser(trusting)
    await asyncio.to_thread(browser.login, staff)
    for origin in ("https://app.example", "https://APP.example", "https://a.partner.example"):
        async with browser.client(origin) as page:
            assert page.frames[0]["user"]["id"] == staff.id
    for origin in (
        "http://app.example",
        "https://app.example.evil",
        "https://x.app.example",
        "https://evilpartner.example",
    ):
        page = await browser.client(origin).open()
        await page.send("hello", client=str(uuid4()))
        assert await page.close_code() == 4403, origin
