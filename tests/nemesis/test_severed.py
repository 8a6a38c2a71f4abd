"""PostgreSQL is gone without a word, as where its machine dies or the network does: nothing says that it is.

Left to itself the kernel sends what is not acknowledged again and again for a quarter of an hour.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.acceptance.monitored import get, until_soon
from tests.acceptance.people import EVERYTHING, Cast, client
from tests.acceptance.site import Site
from tests.nemesis.agreement import agrees
from tests.nemesis.cluster import cluster_like
from tests.nemesis.severing import alone, connections, silent

#: By which the servers reach PostgreSQL, and we do not.
THERE = "127.0.0.2"


def test_a_database_that_falls_silent_is_given_up_soon_and_nothing_is_lost(template: Path, tmp_path: Path) -> None:
    alone(lambda: asyncio.run(fall_silent(template, tmp_path)))


async def fall_silent(template: Path, folder: Path) -> None:
    with cluster_like(template, listen_addresses=f"127.0.0.1,{THERE}") as cluster:
        cluster.start()
        site = Site(cluster.url, folder, served_url=cluster.url.replace("127.0.0.1", THERE))
        site.connect()
        try:
            server, cast = site.serve(ALERT_SECONDS="1"), Cast.enter(site)
            pid = server.process.pid
            async with client(server, cast.alice) as one:
                await one.subscribe(**EVERYTHING)
                await agrees(site, one)
                assert connections(pid, THERE)
                with silent(THERE):
                    message = site.message(cast.session, "while nobody hears")
                    await until_soon(lambda: not connections(pid, THERE), "all connections are given up")
                    status, body, _ = await asyncio.to_thread(get, server, "/readyz")
                    assert (status, "database_unreachable" in body) == (503, True)
                    assert message not in one.rows("messages")
                await one.until(lambda: message in one.rows("messages"), "what was written meanwhile")
                await agrees(site, one)
                await until_soon(lambda: get(server, "/readyz")[0] == 200, "the server is ready again")
                assert not one.closed
            assert "alert: The database does not answer" in "".join(server.output)
        finally:
            site.close()
