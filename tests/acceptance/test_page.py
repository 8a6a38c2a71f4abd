"""The workspace in a real browser, on a real server: what people see, and when."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.browser import CHROMIUM, HASH, PASSWORD, STATIC, Desk, Tab
from tests.acceptance.people import Cast
from tests.acceptance.site import Person, Site

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


# -- the way in and out ------------------------------------------------------------------------------------------------


def test_who_is_not_signed_in_is_led_to_the_form_and_back(desk: Desk, alice: Person) -> None:
    tab = desk.tab()
    tab.page.goto(desk.origin + "/")
    assert "/login/?next=/" in tab.page.url
    tab.page.get_by_label("E-mail").fill(alice.email)
    tab.page.get_by_label("Password").fill("wrong")
    tab.page.get_by_role("button", name="Sign in").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("correct")
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.page.get_by_role("button", name="Sign in").click()
    tab.expect_state("live")
    assert tab.page.url == desk.origin + "/"


@pytest.mark.parametrize("path", ["/", "/login/"])
def test_no_page_may_run_or_load_anything_from_elsewhere(desk: Desk, path: str) -> None:
    tab = desk.tab()
    answer = tab.page.goto(desk.origin + path)
    assert answer is not None
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert tab.page.locator("script:not([src]), style, [style], [onclick]").count() == 0


def test_signing_out_leaves_no_row_in_the_browser(tab: Tab, site: Site, cast: Cast) -> None:
    site.message(cast.session, "a secret")
    tab.open(cast.session)
    expect(tab.entries).to_have_count(1)
    tab.expect_stored(lambda rows: "a secret" in rows)
    tab.page.get_by_role("button", name="Sign out").click()
    tab.page.wait_for_url("**/login/")
    tab.expect_stored(lambda rows: rows == "[]")


def test_who_signs_out_in_one_tab_is_told_in_the_other_and_nothing_stays_behind(
    desk: Desk, tab: Tab, site: Site, cast: Cast
) -> None:
    site.message(cast.session, "a secret")
    tab.open(cast.session)
    expect(tab.entries).to_have_count(1)
    tab.expect_stored(lambda rows: "a secret" in rows)
    other = desk.tab(beside=tab)
    other.page.goto(desk.origin + "/")
    other.page.get_by_role("button", name="Sign out").click()
    tab.expect_state("stopped")
    expect(tab.page.get_by_role("alert")).to_contain_text("You have been signed out")
    expect(tab.page.get_by_role("link", name="Sign in")).to_be_visible()
    other.page.wait_for_url("**/login/")
    other.expect_stored(lambda rows: rows == "[]")


# -- what is live ------------------------------------------------------------------------------------------------------


def test_sessions_and_messages_appear_change_and_go_as_they_are_committed(tab: Tab, site: Site, cast: Cast) -> None:
    expect(tab.lines.filter(has_text="Dashboard")).to_be_visible()
    session = site.session(cast.alice, cast.project, "Why is the build red?")
    tab.lines.filter(has_text="Why is the build red?").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("Why is the build red?")
    expect(tab.page.get_by_text("No messages yet.")).to_be_visible()
    first = site.message(session, "Because of a **missing** semicolon.")
    expect(tab.entries.locator(".prose")).to_have_text(["Because of a missing semicolon."])
    expect(tab.entries.locator("strong")).to_have_text("missing")
    site.update("messages", first, content="Because of a missing bracket.")
    expect(tab.entries.locator(".prose")).to_have_text(["Because of a missing bracket."])
    site.update("sessions", session, title="Mended", status="completed")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("Mended")
    site.delete("messages", first)
    expect(tab.page.get_by_text("No messages yet.")).to_be_visible()
    site.delete("sessions", session)
    expect(tab.page.get_by_text("This session is not here (any more).")).to_be_visible()


def test_a_tool_call_is_folded_and_stands_with_its_result(tab: Tab, site: Site, cast: Cast) -> None:
    call = {"id": "call_1", "name": "get_weather", "arguments": {"city": "Ghent", "days": 2}}
    site.insert("messages", session_id=cast.session, role="assistant", content="", tool_calls=json.dumps([call]))
    tab.open(cast.session)
    slip = tab.page.locator("details.call")
    expect(slip.locator("summary")).to_contain_text("waiting")
    expect(slip.locator("pre")).to_have_count(0)
    slip.locator("summary").click()
    expect(slip.locator("pre")).to_have_text('{\n  "city": "Ghent",\n  "days": 2\n}')
    result = {"tool_call_id": "call_1", "name": "get_weather", "content": '{"sky":"grey"}'}
    site.insert("messages", session_id=cast.session, role="tool", content="", tool_results=json.dumps([result]))
    expect(slip.locator("summary")).to_contain_text("answered")
    expect(slip.locator("pre").nth(1)).to_have_text('{\n  "sky": "grey"\n}')
    expect(tab.entries).to_have_count(1)


def test_what_people_write_is_never_markup(tab: Tab, site: Site, cast: Cast) -> None:
    nasty = '<img src=x onerror="document.title=2"> [x](javascript:alert(1)) <script>document.title=1</script>'
    site.update("sessions", cast.session, title=nasty)
    site.insert(
        "messages", session_id=cast.session, role="assistant", content=nasty,
        tool_calls=json.dumps([{"id": "c", "name": nasty, "arguments": nasty}]),
    )  # fmt: skip
    tab.open(cast.session)
    expect(tab.entries.locator(".prose")).to_have_text([nasty])
    tab.page.locator("details.call summary").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text(nasty)
    assert tab.page.locator("main img, main script, main a[href^=javascript], aside img").count() == 0


def test_a_project_comes_when_it_is_shared_and_goes_when_it_is_not(tab: Tab, site: Site, cast: Cast) -> None:
    project = site.project(cast.mallory, "Secret plans")
    session = site.session(cast.mallory, project, "Volcano")
    site.message(session, "Step one.")
    grant = site.share(project, cast.alice, "viewer")
    tab.lines.filter(has_text="Volcano").click()
    expect(tab.entries).to_have_count(1)
    site.delete("collaborators", grant)
    expect(tab.lines.filter(has_text="Secret plans")).to_have_count(0)
    expect(tab.entries).to_have_count(0)
    expect(tab.page.get_by_text("This session is not here (any more).")).to_be_visible()


def test_what_happened_while_the_server_was_down_is_there_when_it_is_back(
    browser: Browser, site: Site, alice: Person, cast: Cast
) -> None:
    server = site.serve()
    desk = Desk(browser, server.origin)
    tab = desk.tab().sign_in(alice, PASSWORD)
    site.message(cast.session, "before")
    tab.open(cast.session)
    expect(tab.entries.locator(".prose")).to_have_text(["before"])
    server.stop()
    tab.expect_state("reconnecting")
    site.message(cast.session, "meanwhile")
    expect(tab.entries.locator(".prose")).to_have_text(["before"])
    server.start()
    tab.expect_state("live")
    expect(tab.entries.locator(".prose")).to_have_text(["before", "meanwhile"])
    desk.close()
    server.stop()


def test_what_was_seen_is_there_again_before_the_server_answers(tab: Tab, site: Site, cast: Cast) -> None:
    site.message(cast.session, "kept")
    tab.open(cast.session)
    expect(tab.entries).to_have_count(1)
    tab.expect_stored(lambda rows: "kept" in rows)
    tab.page.route_web_socket("**/ws/sync/", lambda socket: None)  # it is opened, and nobody ever answers
    tab.page.reload()
    expect(tab.entries.locator(".prose")).to_have_text(["kept"])
    expect(tab.lines.filter(has_text="Dashboard")).to_be_visible()
    tab.expect_state("connecting")


def test_two_tabs_of_one_person_are_both_live(desk: Desk, tab: Tab, site: Site, cast: Cast) -> None:
    other = desk.tab(beside=tab)
    other.page.goto(f"{desk.origin}/#/session/{cast.session}")
    other.expect_state("live")
    tab.open(cast.session)
    site.message(cast.session, "to both")
    for each in (tab, other):
        expect(each.entries.locator(".prose")).to_have_text(["to both"])


def test_another_person_signing_in_elsewhere_in_the_browser_sees_nothing_of_alice(
    desk: Desk, tab: Tab, site: Site, cast: Cast
) -> None:
    site.update("users", cast.mallory.id, password=HASH)
    other = desk.tab(beside=tab)
    other.page.goto(desk.origin + "/")
    other.page.get_by_role("button", name="Sign out").click()
    other.sign_in(cast.mallory, PASSWORD)
    expect(other.page.locator("#tree-note")).to_contain_text("No sessions yet.")
    assert other.lines.count() == 0


# -- at hand -----------------------------------------------------------------------------------------------------------


def test_the_keyboard_reaches_everything(tab: Tab, site: Site, cast: Cast) -> None:
    site.message(cast.session, "one")
    site.message(cast.session, "two")
    page = tab.page
    expect(tab.lines).to_have_count(2)
    page.keyboard.press("Tab")
    expect(tab.focused).to_have_text("Skip to the conversation")
    page.keyboard.press("/")
    page.keyboard.type("nothing like it")
    expect(page.locator("#tree-note")).to_contain_text("No session is called")
    page.keyboard.press("Escape")
    expect(tab.focused).to_contain_text("Dashboard")
    page.keyboard.press("/")
    page.keyboard.type("sess")
    page.keyboard.press("Enter")
    expect(tab.focused).to_have_attribute("data-id", cast.session)
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    expect(tab.focused).to_contain_text("Dashboard")
    page.keyboard.press("ArrowLeft")
    expect(tab.lines).to_have_count(1)
    page.keyboard.press("ArrowRight")
    expect(tab.lines).to_have_count(2)
    page.keyboard.press("j")
    expect(tab.focused).to_contain_text("Session")
    assert page.locator("[role=treeitem][tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    expect(tab.entries).to_have_count(2)
    page.locator("#conversation").focus()
    page.keyboard.press("j")
    expect(tab.focused).to_contain_text("one")
    page.keyboard.press("ArrowDown")
    expect(tab.focused).to_contain_text("two")
    page.keyboard.press("k")
    expect(tab.focused).to_contain_text("one")
    page.keyboard.press("Escape")
    expect(tab.focused).to_have_attribute("aria-selected", "true")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_the_keyboard_stays_on_its_line_while_rows_move(tab: Tab, site: Site, cast: Cast) -> None:
    quiet = site.session(cast.alice, cast.project, "Quiet one")
    line = tab.lines.filter(has_text="Quiet one")
    line.focus()
    for title in ("Louder", "Loudest"):
        site.session(cast.alice, cast.project, title)
        expect(tab.lines.filter(has_text=title)).to_be_visible()
    expect(tab.focused).to_have_attribute("data-id", quiet)


def test_on_a_phone_the_list_is_a_drawer(desk: Desk, alice: Person, site: Site, cast: Cast) -> None:
    site.message(cast.session, "small")
    tab = desk.tab(viewport={"width": 390, "height": 780}, has_touch=True).sign_in(alice, PASSWORD)
    sidebar, drawer = tab.page.locator("#sidebar"), tab.page.get_by_role("button", name="Sessions")
    expect(sidebar).not_to_be_in_viewport()
    drawer.click()
    expect(sidebar).to_be_in_viewport()
    expect(tab.page.locator("#main")).to_have_attribute("inert", "")
    tab.page.keyboard.press("Escape")
    expect(sidebar).not_to_be_in_viewport()
    drawer.click()
    tab.page.get_by_title("Session", exact=True).click()
    expect(sidebar).not_to_be_in_viewport()
    expect(tab.entries).to_have_count(1)
    width = tab.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, "nothing is wider than the screen"


def test_a_chosen_theme_stays(desk: Desk, alice: Person) -> None:
    tab = desk.tab(color_scheme="light").sign_in(alice, PASSWORD)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(paper)
    button = tab.page.locator("#theme")
    button.click()
    expect(button).to_have_text("Light")
    button.click()
    expect(button).to_have_text("Dark")
    assert tab.page.evaluate(paper) != light
    tab.page.reload()
    expect(button).to_have_text("Dark")
    assert tab.page.evaluate(paper) != light


def test_a_long_transcript_is_drawn_in_part_and_a_reader_is_left_in_peace(tab: Tab, site: Site, cast: Cast) -> None:
    site.sql(
        "INSERT INTO messages (session_id, role, content)"
        " SELECT %s, 'user', 'message ' || n || repeat(E'\n\nwords', 3) FROM generate_series(1, 600) n",
        cast.session,
    )
    tab.open(cast.session)
    expect(tab.entries.last).to_contain_text("message 600")
    assert tab.entries.count() < 200
    assert tab.from_end < 2
    site.message(cast.session, "the reader at the end follows")
    expect(tab.entries.last).to_contain_text("follows")
    assert tab.from_end < 2
    first = tab.entries.first
    before = first.get_attribute("data-id") or ""
    tab.page.locator("#conversation").evaluate("box => { box.scrollTop = 0; }")
    expect(first).not_to_have_attribute("data-id", before)
    away = tab.from_end
    site.message(cast.session, "not for who reads above")
    expect(tab.page.get_by_role("button", name="New messages")).to_be_visible()
    assert tab.from_end > away
    tab.page.get_by_role("button", name="New messages").click()
    expect(tab.entries.last).to_be_in_viewport()


def test_of_a_thousand_sessions_only_those_in_view_are_drawn(tab: Tab, site: Site, cast: Cast) -> None:
    site.sql(
        "INSERT INTO sessions (id, title, user_id) SELECT gen_random_uuid(), 'Number ' || n, %s"
        " FROM generate_series(1, 1000) n",
        cast.alice.id,
    )
    expect(tab.lines.filter(has_text="Personal")).to_contain_text("1000")
    assert tab.lines.count() < 60
    tab.lines.filter(has_text="Personal").focus()
    tab.page.keyboard.press("End")
    expect(tab.focused).to_be_in_viewport()
    assert tab.lines.count() < 60
    scrolled = "document.getElementById('tree-scroll')"
    tab.page.evaluate(f"{scrolled}.scrollTop = 0")
    expect(tab.lines.filter(has_text="Personal")).to_be_in_viewport()
    expect(tab.focused).to_have_attribute("role", "treeitem")
    tab.page.keyboard.press("ArrowUp")
    expect(tab.focused).to_be_in_viewport()
    assert tab.page.evaluate(f"{scrolled}.scrollTop") > 10_000, "it went on from where the keyboard was"


def test_the_browsers_own_storage_keeps_the_contract(tab: Tab, desk: Desk) -> None:
    source = (STATIC / "support" / "storage.js").read_text()
    tab.page.route(
        "**/contract.js", lambda route: route.fulfill(body=source, headers={"Content-Type": "text/javascript"})
    )
    broken = tab.page.evaluate(
        """async () => {
          const { contract } = await import("/contract.js");
          const { browserStorage, memoryStorage } = await import("/static/syncing/persist.js");
          const broken = [];
          for (const [name, check] of Object.entries(contract)) {
            const storage = await browserStorage(`contract ${name}`);
            await check(storage).catch((error) => broken.push(`${name}: ${error.message}`));
            const second = await browserStorage(`contract ${name}`);
            await second.save({ saved: { user: {}, cursor: null, scopes: [], shapes: [] }, lost: [], dropped: [],
                                writes: [["M", "p:1", "intruder", { id: "intruder", sync_version: 1 }]] });
            const found = await storage.load();
            if (JSON.stringify(found ?? "").includes("intruder")) broken.push(`${name}: two pages wrote`);
            const before = JSON.stringify(found);
            storage.close();
            await new Promise((resolve) => setTimeout(resolve));  // the lock is given back in a task of its own
            const again = await browserStorage(`contract ${name}`);
            if (JSON.stringify(await again.load()) !== before) broken.push(`${name}: not there for the next page`);
            again.close();
          }
          return broken;
        }"""
    )
    assert broken == []
