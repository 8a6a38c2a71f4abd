"""Alerts: told once when something begins, once when it is over, by one of all servers, and in nobody's way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.monitored import get, monitored, until
from tests.acceptance.site import ServerProcess, Site


class Hook:
    """A webhook that refuses the first so many times; what it was told by then, and after."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.refused: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                refuse = len(hook.refused) < hook.refusals
                (hook.refused if refuse else hook.told).append(body)
                self.send_response(503 if refuse else 204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks/of-a-secret-path"


@contextmanager
def webhook(refusals: int) -> Iterator[Hook]:
    hook = Hook(refusals)
    threading.Thread(target=hook.server.serve_forever, daemon=True).start()
    try:
        yield hook
    finally:
        hook.server.shutdown()
        hook.server.server_close()


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with webhook(2) as hook:
        yield hook


@pytest.fixture(scope="module")
def place(server_url: str, hook: Hook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    mails = tmp_path_factory.mktemp("mails")
    variables = {
        "ALERT_TRANSACTION_SECONDS": "1",
        "ALERT_WEBHOOK_URL": hook.url,
        "ALERT_EMAILS": "ops@example.com",
        "EMAIL_URL": f"filemail:///{mails}",
    }
    with monitored(server_url, tmp_path_factory.mktemp("alarmed"), **variables) as site:
        site.serve(ALERT_SECONDS="0.5", **variables)
        for server in site.servers:
            site_ready(server)
        yield site


def site_ready(server: ServerProcess) -> None:
    until(lambda: get(server, "/readyz")[0] == 200, "the server is ready")


def lines(place: Site, text: str) -> list[str]:
    """Of the logs of all servers."""
    return [line for server in place.servers for line in server.output if text in line]


def open_alerts(place: Site) -> set[str]:
    return {code for (code,) in place.sql("SELECT code FROM sync_alerts")}


def expect(place: Site, codes: set[str]) -> None:
    """Returns when exactly these alerts are open."""
    try:
        until(lambda: open_alerts(place) == codes, "")
    except AssertionError:
        logged = "".join(line for server in place.servers for line in server.output)
        raise AssertionError(f"open are {open_alerts(place)}, not {codes}:\n{logged}") from None


def test_a_thing_is_told_once_when_it_begins_and_once_when_it_is_over(place: Site, hook: Hook) -> None:
    owner = place.person("owner")
    with psycopg.connect(place.database_url, application_name="nightly import") as writer:
        writer.execute("UPDATE users SET name = 'a name nobody may read' WHERE id = %s", [owner.id])
        # Something must happen, or nobody looks.
        place.session(owner)
        expect(place, {"old_transaction"})
        until(lambda: hook.told, "the webhook took it at the third attempt")
        writer.rollback()
    expect(place, set())
    until(lambda: len(hook.told) == 2, "the webhook was told of the end")

    raised, cleared = hook.told
    assert [raised["event"], cleared["event"]] == ["raised", "cleared"]
    assert {raised["code"], cleared["code"]} == {"old_transaction"}
    assert raised["message"].startswith("A transaction of nightly import (backend ")
    assert raised["recommendation"] in raised["text"]
    assert len(hook.refused) == 2
    assert all(one == hook.refused[0] for one in hook.refused)

    # By one of the two servers, though both looked.
    assert len(lines(place, "alert: A transaction of nightly import")) == 1
    assert len(lines(place, "alert is over: A transaction of nightly import")) == 1
    said = json.dumps(hook.told) + "".join(line for server in place.servers for line in server.output)
    # By mail, too.
    folder = Path(place.servers[0]._env["EMAIL_URL"].removeprefix("filemail:///"))

    def mails() -> str:
        return "\n".join(path.read_text() for path in sorted(folder.iterdir()))

    until(lambda: "Subject: [Claudia] Over: A transaction of nightly import" in mails(), "the second mail")
    assert "Subject: [Claudia] A transaction of nightly import" in mails()
    assert mails().count("To: ops@example.com") == 2
    said += mails()
    assert "nobody may read" not in said
    assert "UPDATE users" not in said


def test_what_is_critical_is_told_once_however_many_see_it_how_often(place: Site, hook: Hook) -> None:
    owner = place.person("owner")
    seen = len(hook.told)

    def look() -> None:
        place.session(owner)  # something must happen, or nobody looks

    with psycopg.connect(place.database_url, autocommit=True, application_name="frozen reader") as holder:
        holder.execute("SELECT pg_advisory_lock('sync_events'::regclass::oid::int, 1)")
        until(lambda: look() or open_alerts(place) == {"gate_frozen"}, "the alert is open")
        # Both servers see it again and again.
        beats = place.sql("SELECT max(id) FROM sync_heartbeats")[0][0]
        until(lambda: place.sql("SELECT max(id) FROM sync_heartbeats")[0][0] >= beats + 6, "six more looks")
    expect(place, set())
    until(lambda: len(hook.told) == seen + 2, "the webhook was told of the end")
    assert [one["event"] for one in hook.told[seen:]] == ["raised", "cleared"]
    (line,) = lines(place, "alert: Backend")
    assert " ERROR " in line
    assert "(frozen reader) holds the gate" in line


def test_a_webhook_that_is_gone_is_in_nobodys_way(place: Site, hook: Hook) -> None:
    assert not lines(place, "of-a-secret-path")
    hook.server.shutdown()
    hook.server.server_close()
    owner = place.person("owner")
    with psycopg.connect(place.database_url, application_name="another import") as writer:
        writer.execute("UPDATE users SET name = name || '.' WHERE id = %s", [owner.id])
        place.session(owner)
        expect(place, {"old_transaction"})
        writer.rollback()
    expect(place, set())  # although nobody took the notice
    assert len(lines(place, "alert: A transaction of another import")) == 1
    # SIGTERM does not wait for notices either.
    assert place.servers[1].stop() == 0
    assert not lines(place, "of-a-secret-path")
