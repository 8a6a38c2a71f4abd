"""Every page of the admin in a real browser: it fits a telephone, and does nothing that its policy forbids."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.acceptance.admin_pages import furnish, sign_in, walk
from tests.acceptance.browser import CHROMIUM
from tests.acceptance.monitored import monitored
from tests.acceptance.site import Site

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
#: So many pages are found at least: fewer, and the way to them is lost.
AT_LEAST = 70
#: That a page which was asked for is not there, is said by design.
EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of (400|409)")
#: The texts of labels that lie on what they are the labels of.
COVERED = """() => [...document.querySelectorAll('.field-line label')].filter(label => {
    const field = label.closest('.field-line').querySelector('.grow'), text = document.createRange();
    if (!field || field.contains(label)) return false;
    text.selectNodeContents(label);
    const [a, b] = [text.getBoundingClientRect(), field.getBoundingClientRect()];
    return a.width && a.right > b.left && b.right > a.left && a.bottom > b.top && b.bottom > a.top;
}).map(label => label.textContent)"""


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with monitored(server_url, tmp_path_factory.mktemp("pages"), SYNC_METRICS_SECONDS="2") as site:
        site.servers[0].manage("seed_demo")
        furnish(site)
        yield site


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 390)])
def test_every_page_fits_and_breaks_no_rule_of_its_own(browser: Browser, place: Site, theme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
    page, wrong, origin = context.new_page(), [], place.servers[0].origin
    page.on("pageerror", lambda error: wrong.append(f"{page.url.removeprefix(origin)}: {error}"))
    page.on(
        "console",
        lambda said: (
            wrong.append(f"{page.url.removeprefix(origin)}: {said.text}")
            if said.type in ("error", "warning") and not EXPECTED.search(said.text)
            else None
        ),
    )
    sign_in(page, origin)
    seen = 0
    for _, path in walk(page, origin, place):
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            wrong.append(f"{path}: {wide} pixels wide")
        wrong += [f"{path}: {label!r} covers its field" for label in page.evaluate(COVERED)]
        seen += 1
    context.close()
    assert wrong == []
    assert seen >= AT_LEAST
