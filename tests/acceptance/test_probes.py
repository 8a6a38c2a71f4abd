"""What machines ask over HTTP: liveness, readiness, Prometheus; and the dashboard that shows only what exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.monitored import get, monitored, until
from tests.acceptance.mutations import insert
from tests.acceptance.people import client
from tests.acceptance.site import ROOT, ServerProcess, Site

TOKEN = "a-token-for-the-scraper"
DASHBOARD = ROOT / "docs" / "grafana" / "claudia.json"
#: What PromQL itself has words for.
WORDS = {
    "sum", "rate", "by", "le", "histogram_quantile", "max", "min", "increase", "instance", "table", "status", "code",
    "operation", "avg", "time", "label_values", "or", "vector", "without", "topk", "how", "kind",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with monitored(server_url, tmp_path_factory.mktemp("probed")) as site:
        yield site


@pytest.fixture(scope="module")
def server(place: Site) -> ServerProcess:
    return place.servers[0]


def test_a_process_that_answers_is_alive(server: ServerProcess) -> None:
    status, body, headers = get(server, "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok"})
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")


def test_a_server_is_ready_when_a_heartbeat_has_come_through(server: ServerProcess) -> None:
    _, body, _ = until(lambda: (got := get(server, "/readyz"))[0] == 200 and got, "the server is ready")
    told = json.loads(body)
    assert (told["ready"], told["reasons"]) == (True, [])
    assert told["heartbeat_ms"] > 0
    assert told["database_ms"] > 0


def test_many_who_ask_at_once_ask_the_database_once(place: Site, server: ServerProcess) -> None:
    def sent() -> int:
        return int(place.sql("SELECT max(id) FROM sync_heartbeats")[0][0])

    get(server, "/readyz")
    before = sent()
    assert all(get(server, "/readyz")[0] == 200 for _ in range(100))
    assert sent() - before < 20


def test_a_table_that_logical_replication_writes_to_makes_a_server_unready(place: Site, server: ServerProcess) -> None:
    place.sql(
        "CREATE SUBSCRIPTION foreign_rows CONNECTION 'dbname=nowhere' PUBLICATION nothing"
        " WITH (connect = false, slot_name = NONE)"
    )
    try:
        with place.atomic():
            place.sql("SET LOCAL allow_system_table_mods = on")
            place.sql(
                "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
                " SELECT oid, 'messages'::regclass, 'r' FROM pg_subscription WHERE subname = 'foreign_rows'"
            )
        _, body, _ = until(lambda: (got := get(server, "/readyz"))[0] == 503 and got, "it is not ready")
        (reason,) = json.loads(body)["reasons"]
        assert reason["code"] == "replicated_table"
        assert "messages" in reason["message"]
        assert "nowhere" not in body
    finally:
        place.sql("ALTER SUBSCRIPTION foreign_rows SET (slot_name = NONE)")
        place.sql("DROP SUBSCRIPTION foreign_rows")
    until(lambda: get(server, "/readyz")[0] == 200, "it is ready again")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_only_get_and_head(server: ServerProcess, path: str) -> None:
    assert get(server, path, method="HEAD")[:2] == (200, "")
    for method in ("POST", "DELETE"):
        assert get(server, path, method=method)[0] == 405


# -- Prometheus --------------------------------------------------------------------------------------------------------


def samples(server: ServerProcess) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """By name and labels, read by the library that scrapers' tests use."""
    status, body, headers = get(server, "/metrics")
    assert status == 200, body
    assert headers["content-type"].startswith("text/plain")
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


async def exercise(place: Site, server: ServerProcess) -> None:
    """Something of everything that is measured."""
    alice = place.person("alice")
    project = place.project(alice)
    async with client(server, alice) as one:
        await one.subscribe(projects="projects", sessions="sessions")
        session = place.session(alice, project)
        await one.shows("sessions", session)
        (result,) = await one.results(insert("memory", key="k", type="user_preference", user_id=alice.id))
        assert result["status"] == "applied"
        await one.send("metric", name="page_load", value=120, unit="ms")
        await one.ping()


async def test_what_happened_is_counted(place: Site, server: ServerProcess) -> None:
    before = samples(server)
    assert before["claudia_feed_up"] == {frozenset(): 1.0}
    await exercise(place, server)
    after = samples(server)
    clients = after["claudia_clients"]
    assert sum(clients.values()) >= 0
    assert sum(after["claudia_changes_total"].values()) > sum(before.get("claudia_changes_total", {"": 0}).values())
    assert after["claudia_feed_checkpoint"][frozenset()] > before["claudia_feed_checkpoint"][frozenset()]
    # Buckets grow, and the last holds all.
    buckets = {dict(labels)["le"]: n for labels, n in after["claudia_delivery_seconds_bucket"].items()}
    ordered = [buckets[bound] for bound in sorted(buckets, key=float)]
    assert ordered == sorted(ordered)
    assert buckets["+Inf"] == after["claudia_delivery_seconds_count"][frozenset()]
    assert "process_resident_memory_bytes" in after


def test_through_a_proxy_nobody_gets_the_metrics(server: ServerProcess) -> None:
    for header in ("X_Forwarded_For", "X_Forwarded_Proto", "Forwarded", "Via", "X_Real_Ip"):
        status, body, _ = get(server, "/metrics", **{header: "whatever"})
        assert (status, "claudia_" in body) == (403, False), header


def test_with_a_token_only_who_shows_it_gets_the_metrics(place: Site) -> None:
    server = place.serve(METRICS_TOKEN=TOKEN)
    assert get(server, "/metrics")[0] == 403
    assert get(server, "/metrics", Authorization="Bearer wrong")[0] == 403
    status, body, _ = get(server, "/metrics", Authorization=f"Bearer {TOKEN}", X_Forwarded_For="10.0.0.1")
    assert (status, "claudia_feed_up " in body) == (200, True)
    assert TOKEN not in body
    server.stop()


def expressions(node: Any) -> Iterator[str]:
    """Of all panels of a dashboard."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "expr":
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


async def test_the_dashboard_shows_only_metrics_that_exist(place: Site, server: ServerProcess) -> None:
    await exercise(place, server)
    known = set(samples(server))
    labels = {name for found in samples(server).values() for one in found for name, _ in one}
    shown = list(expressions(json.loads(DASHBOARD.read_text())))
    assert len(shown) >= 8
    for expression in shown:
        bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\$\w+', "", expression)
        names = set(re.findall(r"[a-z_][a-z0-9_]*", bare)) - WORDS - labels
        assert names, expression
        assert names <= known, f"{names - known} in {expression}"


# -- ids of requests ---------------------------------------------------------------------------------------------------


def test_every_answer_has_an_id(server: ServerProcess) -> None:
    for path in ("/healthz", "/login/", "/api/mutations", "/there/is/nothing/here"):
        _, _, headers = get(server, path)
        assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"]), path
        assert get(server, path, X_Request_Id="from-the-proxy")[2]["x-request-id"] == "from-the-proxy"
