"""Conflicts reviewed in a real browser, by keyboard, while rows move and others decide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.acceptance.browser import CHROMIUM, HASH, PASSWORD, Desk, Tab
from tests.acceptance.people import Cast
from tests.acceptance.site import Person, Site

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
QUEUE = "/admin/syncing/syncconflict/"


@dataclass
class Reviewing:
    """A reviewer's tab."""

    tab: Tab
    site: Site

    @property
    def page(self) -> Page:
        return self.tab.page

    def open(self, path: str = QUEUE) -> None:
        self.page.goto(self.tab.origin + path)

    def press(self, *keys: str) -> None:
        self.page.wait_for_load_state()  # until then nobody hears keys
        for key in keys:
            self.page.keyboard.press(key)

    def question(self, column: str) -> Locator:
        return self.page.locator(f"[data-question={column}]")


def conflict(site: Site, person: Person, session: str, **values: object) -> str:
    """An open conflict about a session, whose title and description somebody else changed; its id."""
    site.update("sessions", session, title="the server", description="of the server")
    return site.insert(
        "sync_conflicts", user_id=person.id, table_name="sessions", row_id=session, type="same_column",
        fields=["title", "description"], local=json.dumps({"title": "the client", "description": "of the client"}),
        base=json.dumps({"title": "the base", "description": "of the base"}),
        remote=json.dumps({"title": "the server", "description": "of the server"}), **values,
    )  # fmt: skip


@pytest.fixture
def reviewing(desk: Desk, site: Site, cast: Cast) -> Iterator[Reviewing]:
    """Vera, who is staff here. Only the conflicts of this test are open."""
    site.update("users", cast.vera.id, password=HASH, is_staff=True, is_superuser=True)
    tab = desk.tab()
    tab.page.goto(f"{desk.origin}/login/?next={QUEUE}")
    tab.page.get_by_label("E-mail").fill(cast.vera.email)
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.page.get_by_role("button", name="Sign in").click()
    tab.page.wait_for_url(f"**{QUEUE}")
    others_end = "UPDATE sync_conflicts SET status = 'expired', resolved_at = now() WHERE status = 'open'"
    site.sql(others_end)
    yield Reviewing(tab, site)
    site.sql(others_end)


def test_conflicts_are_decided_by_keyboard_alone_while_the_row_moves(
    reviewing: Reviewing, site: Site, cast: Cast
) -> None:
    page = reviewing.page
    second_session = site.session(cast.alice, cast.project)
    first, second = conflict(site, cast.bob, cast.session), conflict(site, cast.bob, second_session)
    reviewing.open()
    reviewing.press("j", "j", "k", "Enter")
    expect(page).to_have_url(f"{reviewing.tab.origin}{QUEUE}{first}/change/?")
    reviewing.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    reviewing.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    reviewing.press("j", "e")
    editor = reviewing.question("title").get_by_role("textbox")
    expect(editor).to_be_focused()
    expect(editor).to_have_value("the client")
    reviewing.press("Control+a")
    page.keyboard.type("just what n and s agreed on")
    site.update("sessions", cast.session, title="moved meanwhile")
    expect(page.locator("#moved")).to_be_visible(timeout=20_000)
    expect(reviewing.question("title").locator(".server ins")).to_have_text("moved meanwhile")
    editor = reviewing.question("title").get_by_role("textbox")
    expect(editor).to_have_value("just what n and s agreed on")
    expect(editor).to_be_focused()
    page.keyboard.type("!")
    reviewing.press("Escape", "Enter")
    expect(reviewing.question("description")).to_have_attribute("data-missing", "")
    expect(reviewing.question("description")).to_be_focused()
    reviewing.press("s", "r")
    page.keyboard.type("we talked")
    reviewing.press("Escape", "Enter")
    asked = page.get_by_role("dialog", name="Decide like this?")
    expect(asked).to_contain_text("title: Edit")
    expect(asked).to_contain_text("description: Server")
    reviewing.press("Escape")
    expect(asked).to_be_hidden()
    assert site.sql("SELECT status FROM sync_conflicts WHERE id = %s", first) == [("open",)]
    reviewing.press("Enter")
    expect(asked).to_be_visible()
    reviewing.press("Enter")

    expect(page).to_have_url(f"{reviewing.tab.origin}{QUEUE}{second}/change/?")
    row = site.sql("SELECT title, description FROM sessions WHERE id = %s", cast.session)
    assert row == [("just what n and s agreed on!", "of the server")]
    kept = site.sql("SELECT status, reason, choices, resolved_by_id::text FROM sync_conflicts WHERE id = %s", first)
    assert kept == [("resolved", "we talked", {"title": "edit", "description": "server"}, cast.vera.id)]

    reviewing.press("C", "Enter", "Enter")
    page.wait_for_url(lambda url: second not in url)
    assert site.sql("SELECT title FROM sessions WHERE id = %s", second_session) == [("the client",)]


def test_neighbours_are_reached_and_a_conflict_is_taken_on_by_keyboard(
    reviewing: Reviewing, site: Site, cast: Cast
) -> None:
    first = conflict(site, cast.bob, cast.session)
    second = conflict(site, cast.bob, site.session(cast.alice, cast.project))
    reviewing.open(f"{QUEUE}{first}/change/")
    reviewing.press("n")
    reviewing.page.wait_for_url(f"**{second}/change/?")
    reviewing.press("p")
    reviewing.page.wait_for_url(f"**{first}/change/?")
    reviewing.press("m")
    expect(reviewing.page.locator("#about")).to_contain_text("you")
    assert site.sql("SELECT claimed_by_id::text FROM sync_conflicts WHERE id = %s", first) == [(cast.vera.id,)]
    reviewing.press("u")
    reviewing.page.wait_for_url(f"**{QUEUE}?")
    expect(reviewing.page.get_by_text("yours")).to_be_visible()


def test_who_looks_at_what_somebody_else_decides_is_told_at_once(reviewing: Reviewing, site: Site, cast: Cast) -> None:
    one = conflict(site, cast.bob, cast.session)
    reviewing.open(f"{QUEUE}{one}/change/")
    reviewing.press("j", "c")
    site.sql(
        "UPDATE sync_conflicts SET status = 'resolved', resolution = 'remote_wins', resolved_at = now(),"
        " resolved_by_id = %s WHERE id = %s",
        cast.alice.id, one,
    )  # fmt: skip
    expect(reviewing.page.locator("#moved")).to_contain_text("Somebody decided this conflict", timeout=20_000)
    expect(reviewing.page.get_by_role("button", name="Decide")).to_be_disabled()
    reviewing.page.reload()
    expect(reviewing.page.locator(".verdict")).to_contain_text("By Alice")


def test_several_are_selected_previewed_and_decided(reviewing: Reviewing, site: Site, cast: Cast) -> None:
    sessions = [site.session(cast.alice, cast.project) for _ in range(3)]
    for session in sessions:
        conflict(site, cast.bob, session)
    reviewing.open()
    reviewing.press("j", "x", "j", "x")
    reviewing.page.get_by_role("button", name="Take the clients' writes").click()
    expect(reviewing.page.locator(".previews > li")).to_have_count(2)
    assert site.sql("SELECT count(*) FROM sessions WHERE id = ANY(%s::uuid[]) AND title = 'the client'", sessions) == [
        (0,)
    ]
    reviewing.page.get_by_role("button", name="Decide these 2").click()
    expect(reviewing.page.get_by_text("2 decided.")).to_be_visible()
    titles = [site.sql("SELECT title FROM sessions WHERE id = %s", session)[0][0] for session in sessions]
    assert titles == ["the client", "the client", "the server"]


def test_a_row_that_is_referred_to_is_found_by_its_name_and_by_keyboard(
    reviewing: Reviewing, site: Site, cast: Cast
) -> None:
    page = reviewing.page
    theirs, wanted, chosen, other = (
        site.project(cast.alice, name) for name in ("Atlas", "Borealis", "Corona", "Delta")
    )
    session = site.session(cast.alice, theirs)
    one = site.insert(
        "sync_conflicts", user_id=cast.bob.id, table_name="sessions", row_id=session, type="same_column",
        fields=["project_id"], local=json.dumps({"project_id": wanted}), base=json.dumps({"project_id": None}),
        remote=json.dumps({"project_id": theirs}),
    )  # fmt: skip
    reviewing.open(f"{QUEUE}{one}/change/")
    expect(reviewing.question("project_id")).to_contain_text("Atlas")
    reviewing.press("j", "e")
    box = reviewing.question("project_id").get_by_role("combobox")
    expect(box).to_be_focused()
    expect(box).to_have_value("Borealis")
    reviewing.press("Control+a")
    page.keyboard.type("corona")
    expect(page.get_by_role("option")).to_have_count(1)
    reviewing.press("Enter")
    expect(box).to_have_value("Corona")
    expect(page.get_by_role("option")).to_have_count(0)
    reviewing.press("Control+a")
    page.keyboard.type("delt")
    expect(page.get_by_role("option").first).to_contain_text("Delta")
    reviewing.press("Escape")  # closes the list, and leaves what was chosen
    expect(box).to_have_value("Corona")
    expect(box).to_be_focused()

    site.update("sessions", session, project_id=other)
    expect(page.locator("#moved")).to_be_visible(timeout=20_000)
    expect(reviewing.question("project_id")).to_contain_text("Delta")
    expect(box).to_have_value("Corona")
    expect(box).to_be_focused()
    reviewing.press("Escape", "Enter")
    expect(page.get_by_role("dialog", name="Decide like this?")).to_be_visible()
    reviewing.press("Enter")
    page.wait_for_url(lambda url: one not in url)
    assert site.sql("SELECT project_id::text FROM sessions WHERE id = %s", session) == [(chosen,)]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_pages_fit_and_run_nothing_that_stands_in_them(
    width: int, desk: Desk, reviewing: Reviewing, site: Site, cast: Cast
) -> None:
    one = conflict(site, cast.bob, cast.session)
    nasty = '<img src=x onerror="document.title=2"> ' + "long" * 100
    site.update("sessions", cast.session, title=nasty)
    page = reviewing.page
    page.set_viewport_size({"width": width, "height": 800})
    history = f"/admin/syncing/syncevent/row/sessions/{cast.session}/"
    for path in (QUEUE, f"{QUEUE}{one}/change/", "/admin/syncing/syncevent/", history):
        reviewing.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.locator(".sync-page img, .sync-page script, .sync-page [style], .sync-page [onclick]").count() == 0
    expect(page.locator(".history ins").first).to_contain_text("<img src=x")
