"""More clients than files that a process is usually given."""

from __future__ import annotations

import asyncio
import resource

import psutil
import pytest

from tests.acceptance.people import Cast, client
from tests.acceptance.site import Site

FEW = 256


@pytest.mark.slow
async def test_a_server_takes_more_clients_than_its_soft_limit_of_files(site: Site, cast: Cast) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))  # what is started now inherits it
    try:
        server = await asyncio.to_thread(site.serve)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE)[0] > FEW
    many = [client(server, cast.alice) for _ in range(FEW + 50)]
    try:
        for one in many:
            await one.open()
            await one.hello()
        for one in many:
            await one.ping()
    finally:
        for one in many:
            if hasattr(one, "socket"):
                one.cut()
    await asyncio.to_thread(server.stop)
    assert server.complaints() == []
