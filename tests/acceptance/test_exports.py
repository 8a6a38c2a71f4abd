"""Exports through the real server: long ones are streamed, cost it no memory, and end with the browser's interest."""

from __future__ import annotations

import csv
import http.client
import io
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

import pytest

from tests.acceptance.browser import PASSWORD
from tests.acceptance.measured import eventually
from tests.acceptance.people import Cast
from tests.acceptance.site import ServerProcess, Site, drop_database, make_database
from tests.acceptance.staffer import member

pytestmark = pytest.mark.timeout(400)
MEGABYTE = 1 << 20
ROWS = 100_000
#: The file is far larger: what the server keeps of it at a time is a chunk of rows, and what sockets hold.
MOST_GROWTH = 32 * MEGABYTE
EXPORTING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state <> 'idle' AND query LIKE '%%FETCH FORWARD%%'
        AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server, and a session of many messages."""
    name, url = make_database(server_url)
    site = Site(url, tmp_path_factory.mktemp("exports"))
    try:
        site.serve()
        site.connect()
        cast = Cast.enter(site)
        site.sql(
            "INSERT INTO messages (session_id, role, content)"
            " SELECT %s, 'user', 'message ' || n || ' ' || repeat('says much, ', 20) FROM generate_series(1, %s) n",
            cast.session, ROWS,
        )  # fmt: skip
        yield site
    finally:
        site.close()
        drop_database(server_url, name)


@pytest.fixture
def cookies(place: Site) -> str:
    """Of somebody of the staff who is signed in."""
    person = member(place, "sue", "support")
    talk = connection(place.servers[0])
    talk.request("GET", "/login/")
    first = talk.getresponse()
    first.read()
    token = first.getheader("Set-Cookie", "").partition("csrftoken=")[2].partition(";")[0]
    form = urlencode({"username": person.email, "password": PASSWORD, "csrfmiddlewaretoken": token})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": f"csrftoken={token}"}
    talk.request("POST", "/login/", form, headers)
    answer = talk.getresponse()
    answer.read()
    assert answer.status == 302
    return "; ".join(cookie.partition(";")[0] for cookie in answer.headers.get_all("Set-Cookie", []))


def connection(server: ServerProcess) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(server.origin).netloc, timeout=60)


def export(server: ServerProcess, cookies: str, kind: str = "csv", found: str = "") -> http.client.HTTPResponse:
    """An answer whose body is not read yet."""
    talk = connection(server)
    talk.request("GET", f"/admin/conversations/message/export/{kind}/?q={found}", headers={"Cookie": cookies})
    return talk.getresponse()


def test_a_long_file_comes_whole_while_the_servers_memory_stays_flat(place: Site, cookies: str) -> None:
    server = place.servers[0]
    [(one,)] = place.sql("SELECT id FROM messages LIMIT 1")
    export(server, cookies, found=str(one)).read()  # what a first export loads is no growth
    before, most, size = server.rss, 0, 0
    answer = export(server, cookies)
    assert answer.status == 200
    assert answer.getheader("Content-Length") is None
    text = io.BytesIO()
    while part := answer.read(MEGABYTE):
        size += len(part)
        text.write(part)
        most = max(most, server.rss)
    rows = list(csv.DictReader(io.StringIO(text.getvalue().decode("utf-8-sig"))))
    assert len(rows) == ROWS
    assert len({row["id"] for row in rows}) == ROWS
    assert size > MOST_GROWTH
    assert most - before < MOST_GROWTH, (
        f"{(most - before) / MEGABYTE:.0f} MB more for a file of {size / MEGABYTE:.0f} MB"
    )
    kept = place.sql("SELECT rows FROM sync_readings WHERE page = 'export' ORDER BY id DESC LIMIT 1")
    assert kept == [(ROWS,)]


def test_a_browser_that_does_not_read_makes_the_server_wait_and_not_hoard(place: Site, cookies: str) -> None:
    server = place.servers[0]
    before = server.rss
    answer = export(server, cookies)
    answer.read(1000)
    Cast.enter(place)  # meanwhile it serves others
    staff = connection(server)
    staff.request("GET", "/admin/", headers={"Cookie": cookies})
    assert staff.getresponse().status == 200
    assert server.rss - before < MOST_GROWTH
    assert len(answer.read(MEGABYTE)) == MEGABYTE
    answer.close()
    eventually(lambda: place.sql(EXPORTING) == [(0,)], "the query of the export is over")


def test_a_file_whose_browser_goes_away_leaves_nothing_running(place: Site, cookies: str) -> None:
    server = place.servers[0]
    before = broken_off(place)
    for _ in range(4):  # more than may run at once: each has to give its place back
        answer = export(server, cookies, "json")
        assert answer.status == 200
        answer.read(1000)
        assert place.sql(EXPORTING) == [(1,)]
        answer.close()
        eventually(lambda: place.sql(EXPORTING) == [(0,)], "the query of the export is over")
    assert export(server, cookies, "json", found="nothing-like-this").read() == b"[]\n"
    assert broken_off(place) == before + 4
    assert server.complaints() == []


def broken_off(place: Site) -> int:
    """Exports of which nobody knows how many rows they had."""
    return int(place.sql("SELECT count(*) FROM sync_readings WHERE page = 'export' AND rows IS NULL")[0][0])
