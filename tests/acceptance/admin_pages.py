"""Every page of the admin, found as a person would: by the sidebar, the links of lists and rows, and the actions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

from playwright.sync_api import Page

from tests.acceptance.browser import HASH, PASSWORD
from tests.acceptance.site import Site

STAFF = "staff@example.org"
MARK = "0123456789abcdef"
#: Links of a page by which others are found, the first of each kind.
LEADS = {
    "row": "#result_list a[href*='/change/'], .list a[href*='/change/']",
    "add": "a[href$='/add/']",
    "history": "a[href*='/history/']",
    "delete": "a[href$='/delete/']",
    "password": "a[href*='/password/']",
    "row of the log": "a[href*='/syncevent/row/']",
    "next": "nav.pages a[rel=next]",
}
#: Pages that no sidebar leads to.
OTHERS = {
    "nothing found": "/admin/projects/project/?q=xylophone",
    "resync": "/admin/operations/resync/",
    "disconnect": "/admin/operations/disconnect/?user={user}",
    "task": "/admin/operations/run/prune_metrics/",
    "decided": "/admin/syncing/syncconflict/?decided=1",
    "mine": "/admin/syncing/syncconflict/?mine=1",
    "no event": "/admin/syncing/syncevent/?op=D&table=agents",
    "wrong search": "/admin/syncing/syncevent/?user=nobody",
    "own password": "/admin/password_change/",
}


def furnish(site: Site) -> None:
    """Rows of everything that a demo does not have, and a member of staff."""
    staff = site.insert("users", email=STAFF, name="Staff", is_staff=True, is_superuser=True, password=HASH)
    [(row, owner)] = site.sql("SELECT id, user_id FROM memory WHERE user_id IS NOT NULL ORDER BY id LIMIT 1")
    site.token(staff)
    # Names of any length, in lists, forms and what one chooses from.
    long = "A name that goes on and on, " * 6
    site.sql("UPDATE sessions SET title = %s", long)
    site.sql("UPDATE projects SET name = left(%s, 190)", long)
    site.sql("UPDATE users SET name = left(%s, 190) WHERE id <> %s", long, staff)
    for status in ("open", "open", "resolved"):
        site.insert(
            "sync_conflicts", user_id=owner, table_name="memory", row_id=row, type="same_column", status=status,
            fields=["summary", "importance"], local=json.dumps({"summary": "as the client wants it", "importance": 3}),
            base=json.dumps({"summary": "as it was", "importance": 1}), base_version=0, remote_version=1,
            remote=json.dumps({"summary": "as the server has it", "importance": 2}),
            **({"resolution": "remote_wins", "resolved_by_id": staff} if status == "resolved" else {}),
        )  # fmt: skip
    site.sql("UPDATE sync_conflicts SET resolved_at = now() WHERE status = 'resolved'")
    site.insert("sync_clients", client=uuid4(), user_id=owner, user_agent="Mozilla/5.0 Firefox/140.0")
    site.insert(
        "sync_receipts", user_id=owner, client=uuid4(), mutation=uuid4(), digest="d", table_name="memory", row_id=row,
        status="applied", attempts=1,
    )  # fmt: skip
    site.insert("sync_orders", id=uuid4(), kind="disconnect", user_id=owner)
    site.sql(
        "INSERT INTO sync_alerts (key, code, part, severity, message)"
        " VALUES ('k', 'clients_behind', 'delivery', 'warning', 'Three clients are 40 s behind.')"
    )


def sign_in(page: Page, origin: str) -> None:
    """As that member of staff."""
    page.goto(f"{origin}/login/?next=/admin/")
    page.get_by_label("E-mail").fill(STAFF)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{origin}/admin/")


def walk(page: Page, origin: str, site: Site) -> Iterator[tuple[str, str]]:
    """Opens all pages that GET shows, one after the other: name and address of each, while it is open."""
    page.goto(f"{origin}/admin/")
    lists = dict.fromkeys(path for path in links(page.locator("a[href^='/admin/']")) if path.count("/") == 4)
    yield "overview", "/admin/"
    seen: set[str] = set()
    for path in lists:
        name = path.strip("/").rpartition("/")[2]
        waiting = [(name, path)]
        while waiting:
            title, at = waiting.pop(0)
            page.goto(origin + at)
            yield title, at
            for kind, selector in LEADS.items():
                for address in links(page.locator(selector))[:1]:
                    key = f"{name} {kind}"
                    if key not in seen and address.startswith("/admin/") and (kind != "add" or path in address):
                        seen.add(key)
                        waiting.append((key, address))
    [(user,)] = site.sql("SELECT id FROM users WHERE email = %s", STAFF)
    for name, path in OTHERS.items():
        address = path.format(user=user)
        page.goto(origin + address)
        yield name, address


def links(located: object) -> list[str]:
    """Where they lead."""
    return [str(href) for href in located.evaluate_all("all => all.map(one => one.getAttribute('href'))")]  # type: ignore[attr-defined]
