"""The baseline of `fanout`: a stock Channels consumer on Daphne whose clients are told by `group_send`.

A program of its own: `python -m benchmarks.stock PORT`. It answers as much of the protocol as a crowd needs to be
ready, and sends as many messages of so many bytes as a line on its standard input says.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer

GROUP = "everybody"
EMPTY = json.dumps({"type": "changes", "cursor": "0.0", "parts": []})


class StockConsumer(AsyncWebsocketConsumer):
    """As the Channels tutorial has it."""

    async def connect(self) -> None:
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept("claudia.sync.v1")

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data and json.loads(text_data)["type"] == "subscribe":
            await self.send(text_data=EMPTY)

    async def push(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


async def broadcast(first: int, messages: int, size: int) -> None:
    """Each message to everybody, when everybody has the one before."""
    layer = get_channel_layer()
    for number in range(first, first + messages):
        text = f'{{"type":"changes","pad":"#{number}# '
        await layer.group_send(GROUP, {"type": "push", "text": text + "x" * (size - len(text) - 2) + '"}'})
        while any(queue.qsize() for queue in layer.channels.values()):  # noqa: ASYNC110 it tells nobody
            await asyncio.sleep(0.001)


def main(port: int) -> None:
    """Serves until standard input ends."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "claudia.settings")
    import django

    django.setup()
    from daphne.server import Server
    from twisted.internet import reactor

    running: Any = reactor
    sent = 0

    def read() -> None:
        nonlocal sent
        line = sys.stdin.readline()
        if not line:
            running.stop()
            return
        messages, size = map(int, line.split())
        task = asyncio.ensure_future(broadcast(sent, messages, size))
        task.add_done_callback(lambda done: print("failed" if done.exception() else "done", flush=True))
        sent += messages

    def ready() -> None:
        asyncio.get_event_loop().add_reader(sys.stdin, read)
        print("ready", flush=True)

    endpoint = f"tcp:port={port}:interface=127.0.0.1:backlog=4096"
    Server(StockConsumer.as_asgi(), endpoints=[endpoint], ready_callable=ready, signal_handlers=False).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
