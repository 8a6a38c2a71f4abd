"""Writing in the workspace, in a real browser on a real server: what the writer sees, and what the database gets."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.browser import CHROMIUM, HASH, PASSWORD, Desk, Tab
from tests.acceptance.people import Cast
from tests.acceptance.site import Person, Site

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

#: Ids of writes that the page keeps for later.
WAITING = """async () => {
  const [{ name }] = await indexedDB.databases();
  const database = await new Promise((resolve) => {
    const request = indexedDB.open(name);
    request.onsuccess = () => resolve(request.result);
  });
  const request = database.transaction("writes").objectStore("writes").getAllKeys();
  const keys = await new Promise((resolve) => { request.onsuccess = () => resolve(request.result); });
  database.close();
  return keys;
}"""


def write(tab: Tab, text: str) -> None:
    """A message, sent by the keyboard."""
    tab.words.fill(text)
    tab.words.press("Enter")


def messages(site: Site, session: str) -> list[tuple[str, str]]:
    """Role and content of a session's messages, in sequence."""
    return [
        (role, content)
        for role, content in site.sql(
            "SELECT role, content FROM messages WHERE session_id = %s ORDER BY sequence_number", session
        )
    ]


def expect_soon(tab: Tab, condition: Callable[[], bool]) -> None:
    """What no page shows."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        tab.page.wait_for_timeout(20)


def expect_saved(tab: Tab, count: int) -> None:
    """So many messages, none of which waits."""
    expect(tab.entries).to_have_count(count)
    expect(tab.page.locator(".entry.pending")).to_have_count(0)


def test_a_message_is_shown_at_once_and_saved(tab: Tab, site: Site, cast: Cast) -> None:
    site.message(cast.session, "hello")
    tab.open(cast.session)
    expect(tab.words).to_be_visible()
    tab.page.keyboard.press("m")
    expect(tab.focused).to_have_attribute("id", "words")
    tab.page.keyboard.type("Why is it red?")
    tab.page.keyboard.press("Shift+Enter")
    tab.page.keyboard.type("It was green.")
    tab.page.keyboard.press("Enter")
    expect(tab.entries.last.locator(".prose")).to_contain_text("It was green.")
    expect(tab.words).to_have_value("")
    expect_saved(tab, 2)
    expect(tab.entries.last.locator(".number")).to_have_text("2")
    assert messages(site, cast.session)[1] == ("user", "Why is it red?\nIt was green.")


def test_what_was_written_without_a_server_is_saved_once_when_there_is_one_also_by_the_next_page(
    browser: Browser, site: Site, alice: Person, cast: Cast
) -> None:
    server = site.serve()
    desk = Desk(browser, server.origin)
    tab = desk.tab().sign_in(alice, PASSWORD)
    tab.open(cast.session)
    expect(tab.page.get_by_text("No messages yet.")).to_be_visible()
    server.stop()
    tab.expect_state("reconnecting")
    write(tab, "one")
    write(tab, "two")
    expect(tab.page.locator(".entry.pending .waiting")).to_have_text(["Not saved yet"] * 2)
    expect_soon(tab, lambda: len(tab.page.evaluate(WAITING)) == 2)
    tab.page.close()
    server.start()
    tab = desk.tab(beside=tab)
    tab.page.goto(f"{desk.origin}/#/session/{cast.session}")
    expect_saved(tab, 2)
    assert messages(site, cast.session) == [("user", "one"), ("user", "two")]
    expect_soon(tab, lambda: tab.page.evaluate(WAITING) == [])
    desk.close()
    server.stop()


def test_another_tab_is_another_client(tab: Tab, site: Site, cast: Cast) -> None:
    tab.open(cast.session)
    write(tab, "from the first")
    expect_saved(tab, 1)
    other = tab.page.context.new_page()
    other.goto(tab.page.url)
    other.locator("#words").fill("from the second")
    other.locator("#words").press("Enter")
    expect_saved(tab, 2)
    clients = site.sql(
        "SELECT DISTINCT client_id FROM sync_events WHERE op = 'I' AND row_id IN"
        " (SELECT id FROM messages WHERE session_id = %s)",
        cast.session,
    )
    assert len(clients) == 2, "what one tab wrote would be taken for known to the other"


def test_a_session_is_renamed_where_its_title_stands(tab: Tab, site: Site, cast: Cast) -> None:
    tab.open(cast.session)
    heading = tab.page.get_by_role("heading", level=1)
    tab.page.get_by_role("button", name="Rename").click()
    tab.page.keyboard.type("Better")
    tab.page.keyboard.press("Enter")
    expect(heading).to_have_text("Better")
    expect(tab.lines.filter(has_text="Better")).to_be_visible()
    expect(tab.page.locator(".facts .waiting")).to_have_count(0)
    tab.page.locator("#conversation").focus()
    tab.page.keyboard.press("r")
    tab.page.keyboard.type("Worse")
    tab.page.keyboard.press("Escape")
    expect(heading).to_have_text("Better")
    tab.page.get_by_role("button", name="Rename").click()
    tab.page.keyboard.type("Be")
    site.update("sessions", cast.session, description="somebody writes elsewhere in the row meanwhile")
    site.message(cast.session, "and the title stays as it is being typed")
    expect(tab.entries).to_have_count(1)
    expect(tab.lines.filter(has_text="1 message")).to_be_visible()
    tab.page.keyboard.type("st")
    tab.page.keyboard.press("Enter")
    expect(heading).to_have_text("Best")
    expect(tab.page.locator(".facts .waiting")).to_have_count(0)
    assert site.sql("SELECT title, description FROM sessions WHERE id = %s", cast.session) == [
        ("Best", "somebody writes elsewhere in the row meanwhile")
    ]


@pytest.mark.parametrize(("choice", "title"), [("Keep mine", "Mine"), ("Keep theirs", "Theirs")])
def test_a_title_that_somebody_else_changed_too_waits_for_its_writer_to_decide(
    tab: Tab, site: Site, cast: Cast, choice: str, title: str
) -> None:
    tab.open(cast.session)
    tab.page.get_by_role("button", name="Rename").click()
    tab.page.keyboard.type("Mine")
    site.update("sessions", cast.session, title="Theirs")
    expect(tab.lines.filter(has_text="Theirs")).to_be_visible()
    tab.page.keyboard.press("Enter")
    notice = tab.page.locator(".notice")
    expect(notice.locator("q")).to_have_text(["Mine", "Theirs"])
    notice.get_by_role("button", name=choice).click()
    expect(tab.page.locator("#notices")).to_be_hidden()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text(title)
    expect(tab.lines.filter(has_text=title)).to_be_visible()
    expect_soon(
        tab, lambda: site.sql("SELECT status FROM sync_conflicts WHERE row_id = %s", cast.session) == [("resolved",)]
    )
    assert site.sql("SELECT title FROM sessions WHERE id = %s", cast.session) == [(title,)]


def test_a_message_that_is_refused_is_told_and_given_back(tab: Tab, site: Site, cast: Cast) -> None:
    tab.open(cast.session)
    expect(tab.words).to_be_visible()
    refused = "a text\0 that no database holds"
    tab.words.evaluate("(words, text) => { words.value = text; words.form.requestSubmit(); }", refused)
    alert = tab.page.get_by_role("alert").filter(has_text="was not saved")
    expect(alert).to_be_visible()
    expect(tab.entries).to_have_count(0)
    expect(tab.words).to_have_value(refused)
    alert.get_by_role("button", name="Dismiss").click()
    expect(tab.page.locator("#notices")).to_be_hidden()
    assert messages(site, cast.session) == []


def test_who_may_only_read_is_offered_nothing_to_write(desk: Desk, site: Site, cast: Cast) -> None:
    site.update("users", cast.vera.id, password=HASH)
    tab = desk.tab().sign_in(cast.vera, PASSWORD)
    site.message(cast.session, "read me")
    tab.open(cast.session)
    expect(tab.entries).to_have_count(1)
    expect(tab.words).to_be_hidden()
    expect(tab.page.get_by_role("button", name="Rename")).to_have_count(0)
    tab.page.keyboard.press("m")
    tab.page.keyboard.press("r")
    expect(tab.page.locator("input.rename")).to_have_count(0)


def test_signing_out_asks_before_it_loses_what_is_not_saved(
    browser: Browser, site: Site, alice: Person, cast: Cast
) -> None:
    server = site.serve()
    desk = Desk(browser, server.origin)
    tab = desk.tab().sign_in(alice, PASSWORD)
    tab.open(cast.session)
    expect(tab.words).to_be_visible()
    server.stop()
    tab.expect_state("reconnecting")
    write(tab, "precious")
    asked: list[str] = []
    tab.page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    tab.page.get_by_role("button", name="Sign out").click()
    assert asked == ["1 change not saved yet. Sign out and lose them?"]
    server.start()
    expect_saved(tab, 1)
    assert messages(site, cast.session) == [("user", "precious")]
    desk.close()
    server.stop()
