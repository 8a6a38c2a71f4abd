"""A real browser on a real server; whatever it complains about fails the test."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.acceptance.site import Person

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
STATIC = Path(__file__).resolve().parent.parent / "js"
PASSWORD = "correct horse battery staple"
# Weak, since the tests hash quickly; logging in makes a strong one of it.
HASH = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
#: What a lost connection makes the browser itself say.
EXPECTED = re.compile(r"WebSocket connection to|net::ERR_|Failed to load resource")


#: All rows in all of the page's databases, as JSON.
STORED = """async () => {
  const rows = [];
  for (const { name } of await indexedDB.databases()) {
    const database = await new Promise((resolve) => {
      const request = indexedDB.open(name);
      request.onsuccess = () => resolve(request.result);
    });
    const request = database.transaction("rows").objectStore("rows").getAll();
    rows.push(...await new Promise((resolve) => { request.onsuccess = () => resolve(request.result); }));
    database.close();
  }
  return JSON.stringify(rows);
}"""


@dataclass
class Tab:
    """A page of the workspace, and what one looks for on it."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED.search(message.text):
            self.complaints.append(message.text)

    def sign_in(self, person: Person, password: str) -> Tab:
        """By the form, as far as the live workspace."""
        self.page.goto(self.origin + "/")
        self.page.get_by_label("E-mail").fill(person.email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.expect_state("live")
        return self

    def expect_state(self, state: str) -> None:
        """Of the connection."""
        expect(self.page.locator("#connection")).to_have_attribute("data-state", state, timeout=20_000)

    def open(self, session: str) -> None:
        """A session, by its address."""
        self.page.evaluate("session => { location.hash = `#/session/${session}` }", session)

    def expect_stored(self, expected: Callable[[str], bool]) -> None:
        """Of all rows in the browser's databases, as JSON, sooner or later: a page does not tell when it has stored."""
        deadline = time.monotonic() + 10
        while not expected(rows := self.page.evaluate(STORED)):
            assert time.monotonic() < deadline, rows
            self.page.wait_for_timeout(20)

    @property
    def lines(self) -> Locator:
        """Of the tree."""
        return self.page.get_by_role("treeitem")

    @property
    def entries(self) -> Locator:
        """Of the transcript."""
        return self.page.locator("article.entry")

    @property
    def words(self) -> Locator:
        """Where a message is written."""
        return self.page.get_by_role("textbox", name="Message")

    @property
    def focused(self) -> Locator:
        """What has the keyboard."""
        return self.page.locator(":focus")

    @property
    def from_end(self) -> float:
        """Pixels between what is in view and the end of the transcript."""
        return float(
            self.page.evaluate(
                "() => { const box = document.getElementById('conversation');"
                " return box.scrollHeight - box.scrollTop - box.clientHeight; }"
            )
        )


@dataclass
class Desk:
    """Where tabs are opened; each in a browser profile of its own unless they share one."""

    browser: Browser
    origin: str
    tabs: list[Tab] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def tab(self, *, beside: Tab | None = None, **options: Any) -> Tab:
        """A new tab. beside: one whose profile it shares."""
        context = beside.page.context if beside else self.browser.new_context(**options)
        if not beside:
            self.contexts.append(context)
        tab = Tab(context.new_page(), self.origin)
        self.tabs.append(tab)
        return tab

    def close(self) -> None:
        """All tabs; none may have complained."""
        complaints = [text for tab in self.tabs for text in tab.complaints]
        for context in self.contexts:
            context.close()
        assert complaints == []
