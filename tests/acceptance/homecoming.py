"""Devices that come back from being offline, all at once, over a network and to a server that break meanwhile."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import Any

from tests.acceptance.devices import Cut, Device
from tests.acceptance.edits import KEPT
from tests.acceptance.people import Cast
from tests.acceptance.site import ServerProcess, Site

#: Columns by table that SQL and the protocol spell alike.
SHOWN = {
    "sessions": ["title", "description", "context", "total_messages"],
    "messages": ["content", "session_id", "sequence_number"],
    "memory": ["key", "summary", "content", "tags", "importance"],
    "collaborators": ["user_id", "role"],
    "sync_conflicts": ["row_id", "type", "status", "fields", "local"],
}


def stage(site: Site, cast: Cast) -> None:
    """Rows to quarrel about."""
    for n in range(2):
        site.insert(
            "sessions", user_id=cast.alice.id, project_id=cast.project, title=f"session{n}",
            description=" ".join(KEPT), context='{"shared": "kept", "own": {}}',
        )  # fmt: skip
        site.insert(
            "memory", key=f"memory{n}", type="project_state", project_id=cast.project, summary=" ".join(KEPT),
            content='{"shared": "kept", "own": {}}', tags=KEPT[:4],
        )  # fmt: skip


async def come_back(
    devices: list[Device], servers: list[ServerProcess], frail: ServerProcess, chance: random.Random
) -> None:
    """All devices reconnect at once, as far as the network lets them; somewhere in between a server is killed."""
    deadly = chance.randint(1, sum(len(device.waiting) for device in devices) // 2)
    answers = 0
    dying: list[asyncio.Task[Any]] = []

    def answered() -> None:
        nonlocal answers
        answers += 1
        if answers == deadly:
            frail.process.send_signal(signal.SIGKILL)
            dying.append(asyncio.create_task(asyncio.to_thread(restart, frail)))

    async def one(device: Device) -> None:
        device.on_answer = answered
        for _ in range(device.chance.randint(0, 3)):
            near, far = device.chance.sample(servers, 2)
            cut_after = device.chance.choice([None, device.chance.randint(1, 25)])
            beside = device.chance.choice([None, far])
            try:
                await device.meet(near, cut_after=cut_after, doubled=device.chance.random() < 0.3, beside=beside)
            except Cut:
                continue
            break

    await asyncio.gather(*map(one, chance.sample(devices, len(devices))))
    for task in dying:
        await task


def restart(server: ServerProcess) -> None:
    """After it was killed."""
    server.stop(signal.SIGKILL)
    server.start()


def differing(site: Site, device: Device) -> dict[str, Any]:
    """What the device shows otherwise than SQL does, of all that its person may see."""
    wrong = {}
    for table, columns in SHOWN.items():
        names = ["id", "sync_version", *columns]
        text = f"SELECT to_jsonb(t) FROM {table} t WHERE scope = ANY(%s)"
        stored = {row["id"]: [row[name] for name in names] for (row,) in site.sql(text, list(device.replica.scopes))}
        rows = device.replica.rows(table.removeprefix("sync_"))
        shown = {id_: [row[name] for name in names] for id_, row in rows.items()}
        if shown != stored:
            wrong[table] = {id_: (shown.get(id_), stored.get(id_)) for id_ in {*shown, *stored}}
    return wrong
