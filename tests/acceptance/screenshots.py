"""The pictures of the documents: `make screenshots`. A server of its own with the demo, looked at by Chromium."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from PIL import Image
from playwright.sync_api import Page

from tests.acceptance.browser import HASH, PASSWORD
from tests.acceptance.mutations import update
from tests.acceptance.server import ROOT
from tests.acceptance.site import Person, Site
from tests.acceptance.studio import studio
from tests.acceptance.web import ask_now

FOLDER = ROOT / "docs" / "screenshots"
STAFF = "staff@example.org"
COLOURS = 224
#: Seconds for which something happens before the dashboard is taken.
BUSY = 25
#: Name of a picture: what is looked at, theme, width.
LISTS = {
    "sessions": ("/admin/conversations/session/", "light", 1280),
    "projects-narrow": ("/admin/projects/project/", "dark", 420),
}
ROWS = {
    "conversation": ("/admin/conversations/session/?q=flicker", "light", 1280, ".staff-transcript"),
    "agent": ("/admin/agents/agent/?q=Frontend", "dark", 1280, ".staff-plots"),
}


def main() -> None:
    """Takes all pictures anew."""
    FOLDER.mkdir(exist_ok=True)
    with studio() as (site, server, browser):
        site.insert("users", email=STAFF, name="Staff", is_staff=True, is_superuser=True, password=HASH)
        for theme, width in {(theme, width) for _, theme, width, *_ in (*LISTS.values(), *ROWS.values())}:
            size = {"width": width, "height": 760}
            page = browser.new_context(viewport=size, color_scheme=theme).new_page()
            sign_in(page, server.origin)
            take(page, server.origin, site, theme, width)


def sign_in(page: Page, origin: str) -> None:
    """As staff."""
    page.goto(f"{origin}/login/?next=/admin/")
    page.get_by_label("E-mail").fill(STAFF)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_load_state("networkidle")


def take(page: Page, origin: str, site: Site, theme: str, width: int) -> None:
    """The pictures of this theme and width."""
    for name, (path, wanted_theme, wanted_width) in LISTS.items():
        if (wanted_theme, wanted_width) == (theme, width):
            page.goto(origin + path)
            keep(page, name)
    for name, (path, wanted_theme, wanted_width, part) in ROWS.items():
        if (wanted_theme, wanted_width) == (theme, width):
            page.goto(origin + path)
            page.locator("#result_list a[href*='/change/']").first.click()
            page.locator(part).scroll_into_view_if_needed()
            keep(page, name)
    if (theme, width) == ("light", 1280):
        collide(page, origin, site)
        review(page, origin, site)
        watch(page, origin, site)


def collide(page: Page, origin: str, site: Site) -> None:
    """Two people edit a memory."""
    [(row, summary)] = site.sql("SELECT id, summary FROM memory WHERE summary <> '' ORDER BY key LIMIT 1")
    page.goto(f"{origin}/admin/memory/memory/{row}/change/")
    page.locator("#id_summary").fill(f"{summary} Only in the evening.")
    site.update("memory", str(row), summary=f"{summary} But never on a Sunday.")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator(".staff-disputes").scroll_into_view_if_needed()
    keep(page, "collision")


def review(page: Page, origin: str, site: Site) -> None:
    """A conflict that waits for a reviewer, and what the log has of the row."""
    [(owner, row, version, summary)] = site.sql(
        "SELECT user_id, id, sync_version, summary FROM memory WHERE summary <> '' AND user_id IS NOT NULL"
        " ORDER BY key LIMIT 1"
    )
    site.update("memory", str(row), summary=f"{summary} In English, please.")
    wanted = update(
        "memory", str(row), version, strategy="manual", summary=f"{summary} In the language of the question."
    )
    alice = Person(str(owner), "", site.token(str(owner)))
    answer = ask_now(origin + "/api/mutations", alice, {"client": str(uuid4()), "mutations": [wanted]})
    [result] = answer.body["results"]
    page.goto(f"{origin}/admin/syncing/syncconflict/{result['conflict']}/change/")
    keep(page, "review")
    page.goto(f"{origin}/admin/syncing/syncevent/?row={row}")
    keep(page, "log")


def watch(page: Page, origin: str, site: Site) -> None:
    """The dashboard, while somebody has the workspace open and messages are written."""
    [(session, project)] = site.sql("SELECT id, project_id FROM sessions WHERE project_id IS NOT NULL LIMIT 1")
    [(staff,)] = site.sql("SELECT id FROM users WHERE email = %s", STAFF)
    site.share(str(project), Person(str(staff), STAFF, ""), "viewer")
    reader = page.context.new_page()
    reader.goto(f"{origin}/")
    page.goto(f"{origin}/admin/")
    for number in range(BUSY * 20):
        site.message(str(session), f"One of many, {number}")
        page.wait_for_timeout(50)
    page.locator("#liveness[data-state=live]").wait_for()
    page.screenshot(path=str(FOLDER / "dashboard.png"), animations="disabled")
    shrink(FOLDER / "dashboard.png")


def keep(page: Page, name: str) -> None:
    """The page as it is, in few colours."""
    page.wait_for_load_state("networkidle")
    path = FOLDER / f"{name}.png"
    page.screenshot(path=str(path), animations="disabled")
    shrink(path)


def shrink(path: Path) -> None:
    """To few colours."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main()
