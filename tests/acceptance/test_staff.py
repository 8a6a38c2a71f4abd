"""Staff in Chromium, under the content security policy: nothing on their pages is refused by the browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.browser import HASH, PASSWORD, Desk, Tab
from tests.acceptance.people import Cast
from tests.acceptance.site import Person, Site


@pytest.fixture
def office(site: Site, desk: Desk, cast: Cast) -> Page:
    """The admin, entered by somebody who may do everything. What the browser complains about fails the test."""
    person: Person = site.person("root", is_staff=True, is_superuser=True, password=HASH)
    page = desk.tab().page
    page.goto(f"{desk.origin}/admin/")
    page.get_by_label("E-mail").fill(person.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_title("Overview | Claudia")
    return page


def test_lists_are_searched_filtered_and_acted_upon(office: Page, desk: Desk, site: Site, cast: Cast) -> None:
    session = site.session(cast.alice, title="A rare xylophone")
    office.goto(f"{desk.origin}/admin/conversations/session/")
    office.get_by_role("textbox").first.fill("xylophone")
    office.keyboard.press("Enter")
    expect(office.locator("#result_list a", has_text="A rare xylophone")).to_be_visible()
    office.get_by_text("Filters").first.click()
    expect(office.locator("#changelist-filter")).to_be_visible()
    office.keyboard.press("Escape")
    office.locator(f"input.action-select[value='{session}']").check()
    office.locator("select[name=action]").select_option("complete")
    office.get_by_role("button", name="Run").click()
    office.get_by_role("button", name="Complete").click()
    expect(office.get_by_text("1 completed.")).to_be_visible()
    assert site.sql("SELECT status FROM sessions WHERE id = %s", session) == [("completed",)]


def test_an_edit_is_on_a_persons_screen_at_once(office: Page, desk: Desk, site: Site, alice: Person, tab: Tab) -> None:
    session = site.session(alice, title="Before")
    expect(tab.page.get_by_text("Before").first).to_be_visible()
    office.goto(f"{desk.origin}/admin/conversations/session/{session}/change/")
    office.locator("#id_title").fill("After")
    office.get_by_role("button", name="Save", exact=True).click()
    expect(tab.page.get_by_text("After").first).to_be_visible()
