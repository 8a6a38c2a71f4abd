"""The dashboard in a real browser: it moves while rows are written, and comes back after the server does."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.browser import CHROMIUM, PASSWORD
from tests.acceptance.monitored import monitored
from tests.acceptance.site import Person, Site
from tests.acceptance.staffer import member

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
#: What the admin's paint does against the policy, on every page, and what a lost connection makes the browser say.
NOT_OURS = re.compile(r"Applying inline style|WebSocket connection to|net::ERR_|Failed to load resource")
SOON = 20_000


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with monitored(server_url, tmp_path_factory.mktemp("dashboard"), SYNC_METRICS_SECONDS="1") as site:
        yield site


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1600, "height": 1200})
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if message.type == "error" and not NOT_OURS.search(message.text) else None
        ),
    )
    yield page
    context.close()
    assert complaints == []


def enter(page: Page, place: Site, person: Person) -> None:
    """Signs in, as far as the live dashboard."""
    page.goto(place.servers[0].origin + "/admin/")
    page.get_by_label("E-mail").fill(person.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect_state(page, "live")


def expect_state(page: Page, state: str) -> None:
    expect(page.locator("#liveness")).to_have_attribute("data-state", state, timeout=SOON)


def write(place: Site, person: Person, number: int) -> None:
    session = place.session(person)
    for index in range(number):
        place.message(session, f"message {index}")


def test_it_moves_while_rows_are_written(page: Page, place: Site) -> None:
    olga = member(place, "olga", "operator")
    enter(page, place, olga)
    changes = page.locator("#tile-changes [data-figure]")
    expect(page.locator("#tile-health [data-figure]")).to_have_text(re.compile("healthy 100", re.I), timeout=SOON)
    before = changes.text_content()
    write(place, olga, 120)
    expect(changes).not_to_have_text(before or "", timeout=SOON)
    # And without a reload the plots follow what the server wrote down.
    expect(page.locator("#plot-changes .legend")).to_contain_text("messages", timeout=SOON)
    expect(page.locator("#plot-changes .canvas")).to_have_attribute(
        "aria-label", re.compile(r"messages [0-9.]+/s"), timeout=SOON
    )
    expect(page.locator("#plot-changes svg :is(path.line, circle.dot)").first).to_be_attached()
    expect(page.locator("#connected")).to_contain_text(olga.email, timeout=SOON)


def test_it_says_when_it_is_not_live_and_comes_back_with_the_server(page: Page, place: Site) -> None:
    enter(page, place, member(place, "vic", "viewer"))
    server = place.servers[0]
    server.stop()
    expect_state(page, "reconnecting")
    expect(page.locator("#liveness")).to_contain_text("Not live")
    expect(page.locator("#liveness")).to_contain_text("What you see is from before.")
    server.start()
    expect_state(page, "live")
    expect(page.locator("#tile-clients [data-figure]")).to_have_text("1", timeout=SOON)


def test_plots_are_read_by_keyboard_and_ranges_are_chosen_by_it(page: Page, place: Site) -> None:
    vic = member(place, "vic", "viewer")
    enter(page, place, vic)
    write(place, vic, 20)
    plot = page.locator("#plot-changes .canvas")
    expect(plot).to_be_visible(timeout=SOON)
    plot.focus()
    page.keyboard.press("End")
    readout = page.locator("#plot-changes .readout")
    expect(readout).to_have_text(re.compile(r".+: .+"))
    last = readout.text_content()
    page.keyboard.press("ArrowLeft")
    expect(readout).not_to_have_text(last or "")
    page.keyboard.press("Escape")
    expect(readout).to_have_text("")
    page.locator("input[value='1h']").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#dashboard")).to_have_attribute("data-drawn", "24h", timeout=SOON)


def test_an_operator_disconnects_a_client_by_two_clicks_and_sees_the_outcome(page: Page, place: Site) -> None:
    olga = member(place, "olga", "operator")
    enter(page, place, olga)
    row = page.locator("#connected tr", has_text=olga.email)
    expect(row).to_have_count(1, timeout=SOON)
    row.get_by_role("link", name="Disconnect…").click()
    expect(page.get_by_text("The connection is closed. The client comes again by itself")).to_be_visible()
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_text(re.compile("^Disconnected client")).first).to_be_visible()
    expect_state(page, "live")
    expect(page.locator("#operations")).to_contain_text("disconnect", timeout=SOON)


def test_a_viewer_is_shown_no_button(page: Page, place: Site) -> None:
    enter(page, place, member(place, "vic", "viewer"))
    expect(page.locator("#connected tbody tr").first).to_be_visible(timeout=SOON)
    assert page.get_by_role("link", name=re.compile("Disconnect|Resync|Force|prune")).count() == 0


@pytest.mark.parametrize("width", [390, 1600])
def test_nothing_is_wider_than_the_window(page: Page, place: Site, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    enter(page, place, member(place, "vic", "viewer"))
    expect(page.locator("#plot-partitions svg").first).to_be_visible(timeout=SOON)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_no_style_and_no_script_is_put_into_the_page(page: Page, place: Site) -> None:
    enter(page, place, member(place, "vic", "viewer"))
    assert page.locator("#dashboard style, #dashboard [style], #dashboard script").count() == 0
