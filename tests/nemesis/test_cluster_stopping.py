"""A server that is told to stop ends in time and in good order although its database hangs, or is gone."""

from __future__ import annotations

import asyncio
import re
import signal

import pytest

from tests.acceptance.measured import eventually
from tests.acceptance.mutations import insert
from tests.acceptance.people import Cast, client
from tests.acceptance.production import produce
from tests.acceptance.site import Site
from tests.nemesis.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
RESTART = 1012
OURS = (
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = 'claudia' AND pid <> ALL(%s)"
)


@pytest.mark.parametrize("how", ["hangs", "is gone"])
async def test_a_database_that_does_not_answer_does_not_keep_the_process(
    how: str, cluster: Cluster, own_site: Site
) -> None:
    server = await asyncio.to_thread(produce, own_site)
    cast = Cast.enter(own_site)
    frozen: list[int] = []
    wanted = insert("messages", session_id=cast.session, role="user", content="under way")
    async with client(server, cast.alice) as one:
        await one.subscribe(messages={"table": "messages", "where": {"session_id": cast.session}})
        with own_site.atomic():
            own_site.sql("SELECT FROM sessions WHERE id = %s FOR UPDATE", cast.session)
            await one.mutate(wanted)
            sql = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            eventually(lambda: own_site.sql(sql), "the mutation is under way")
            if how == "hangs":
                (own,) = own_site.sql("SELECT pg_backend_pid()")[0]
                frozen = [pid for (pid,) in own_site.sql(OURS, [own])]
                for pid in frozen:
                    cluster.freeze(pid)
        if how == "is gone":
            cluster.stop("immediate")
        server.process.send_signal(signal.SIGTERM)
        assert await one.close_code() == RESTART
    assert await asyncio.to_thread(server.process.wait, 30) == 0, "".join(server.output)
    server._thread.join(30)
    (figure,) = re.findall(r"the server has stopped.*?seconds\"?[=:] ?([\d.]+)", "".join(server.output))
    assert float(figure) < 10
    if how == "is gone":
        cluster.start()
        own_site.connect()
    else:
        for pid in frozen:
            cluster.thaw(pid)
    again = await asyncio.to_thread(produce, own_site)
    async with client(again, cast.alice, installation=one.installation) as other:
        (result,) = await other.results(wanted)
        assert result["status"] == "applied"
    assert own_site.sql("SELECT count(*) FROM messages WHERE session_id = %s", cast.session) == [(1,)]
