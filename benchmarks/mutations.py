"""How many mutations a second are accepted, and how soon does another client see one?

Baseline of the first: the same writes by `save()` of Django's ORM, one after the other in one process, beside the same
server and with the same clients connected: no receipts, no access, no conflicts, nobody told how it ended. Of both each
write is a durable transaction of its own. Rounds take turns.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from typing import Any, Self

from websockets.asyncio.client import connect

from benchmarks.report import Report, percentile
from benchmarks.stage import cpu_seconds, quiet, site
from syncing.identity import uuid7
from tests.acceptance.site import ServerProcess, Site

ROUNDS = 3
#: Writes of each kind in a round, by all clients together.
WRITES = 1_000
#: Mutations in a frame, and frames of a client that wait for their results.
IN_FRAME, FRAMES = 20, 4
LATENCY_SECONDS, RATE = 8, 20
#: The limits of the server are not what is measured.
UNLIMITED = {"SYNC_MUTATIONS_PER_SECOND": "100000", "SYNC_FRAMES_PER_SECOND": "1000"}
TEXT = "lorem ipsum dolor " * 5
Mutation = dict[str, Any]


class Browser:
    """A client that writes messages into a session of its own, and follows them."""

    def __init__(self, url: str, token: str, session: str) -> None:
        self.url = url
        self.token = token
        self.session = session
        self.results: dict[str, Mutation] = {}
        self.arrivals: dict[str, int] = {}
        self._changed = asyncio.Event()

    async def open(self) -> Self:
        """Connects; returns when what it follows is ready."""
        self.socket = await connect(
            self.url,
            subprotocols=["claudia.sync.v1"],
            compression=None,
            max_size=None,
            proxy=None,
        )
        self.ready = False
        self._reader = asyncio.create_task(self._read())
        await self.say(type="hello", client=str(uuid7()), token=self.token)
        followed = {"id": "m", "table": "messages", "where": {"session_id": self.session}}
        await self.say(type="subscribe", subscriptions=[followed])
        await self.until(lambda: self.ready)
        return self

    async def close(self) -> None:
        """Ends the connection."""
        await self.socket.close()
        await self._reader

    async def say(self, **frame: Any) -> None:
        """Sends a frame."""
        await self.socket.send(json.dumps(frame))

    async def _read(self) -> None:
        async for text in self.socket:
            frame = json.loads(text)
            match frame["type"]:
                case "result":
                    self.results[frame["id"]] = frame
                case "changes":
                    now = time.monotonic_ns()
                    self.arrivals |= {change["id"]: now for part in frame["parts"] for change in part["changes"]}
                    self.ready = self.ready or bool(frame.get("ready"))
                case "error":
                    raise AssertionError(frame)
            self._changed.set()

    async def until(self, condition: Any) -> None:
        """Returns when the condition holds, which is asked after each frame."""
        while not condition():
            if self._reader.done():
                await self._reader
                raise AssertionError("the server hung up")
            self._changed.clear()
            await self._changed.wait()

    async def write(self, mutations: Sequence[Mutation]) -> None:
        """Sends them, a few frames ahead of the results; fails unless all are applied."""
        self.results.clear()
        for at in range(0, len(mutations), IN_FRAME):
            await self.until(lambda at=at: len(self.results) >= at - IN_FRAME * (FRAMES - 1))
            await self.say(type="mutate", mutations=mutations[at : at + IN_FRAME])
        await self.until(lambda: len(self.results) == len(mutations))
        wrong = [result for result in self.results.values() if result["status"] != "applied"]
        assert not wrong, f"not applied: {wrong[:3]}"

    def inserts(self, number: int) -> list[Mutation]:
        """So many new messages."""
        values = {"session_id": self.session, "role": "user", "content": TEXT}
        return [
            {"id": str(uuid7()), "table": "messages", "op": "insert", "row": str(uuid7()), "values": values}
            for _ in range(number)
        ]

    def updates(self, inserted: Sequence[Mutation]) -> list[Mutation]:
        """An update of each message that was inserted, and answered."""
        versions = {one["row"]: self.results[one["id"]]["version"] for one in inserted}
        return [
            {"id": str(uuid7()), "table": "messages", "op": "update", "row": row, "base": base,
             "values": {"content": TEXT.upper()}}
            for row, base in versions.items()
        ]  # fmt: skip


async def timed(browsers: Sequence[Browser], mutations: Sequence[Sequence[Mutation]]) -> float:
    """Seconds until the last of them has its result."""
    begun = time.perf_counter()
    await asyncio.gather(*(one.write(some) for one, some in zip(browsers, mutations, strict=True)))
    return time.perf_counter() - begun


async def drive(pipe: Any, url: str, people: Sequence[tuple[str, str]]) -> None:
    """Inserts and updates whenever it is asked: writes a second of each."""
    browsers = [await Browser(url, token, session).open() for token, session in people]
    pipe.send("ready")
    while await asyncio.to_thread(pipe.recv):
        inserts = [one.inserts(WRITES // len(browsers)) for one in browsers]
        inserted = await timed(browsers, inserts)
        updates = [one.updates(some) for one, some in zip(browsers, inserts, strict=True)]
        pipe.send((WRITES / inserted, WRITES / await timed(browsers, updates)))
    for one in browsers:
        await one.close()


async def watch(pipe: Any, url: str, people: Sequence[tuple[str, str]]) -> None:
    """One client writes at an even rate, another sees it: milliseconds from sending to seeing, of each message."""
    (token, session), (other, _) = people
    writer, reader = await Browser(url, token, session).open(), await Browser(url, other, session).open()
    pipe.send("ready")
    while await asyncio.to_thread(pipe.recv):
        mutations = writer.inserts(LATENCY_SECONDS * RATE)
        sent: dict[str, int] = {}
        begun = time.monotonic()
        for at, mutation in enumerate(mutations):
            await asyncio.sleep(begun + at / RATE - time.monotonic())
            sent[mutation["row"]] = time.monotonic_ns()
            await writer.say(type="mutate", mutations=[mutation])
        await reader.until(lambda sent=sent: sent.keys() <= reader.arrivals.keys())
        pipe.send([(reader.arrivals[row] - at) / 1e6 for row, at in sent.items()])
    await writer.close()
    await reader.close()


async def save(pipe: Any, url: str, people: Sequence[tuple[str, str]]) -> None:
    """The baseline: the same inserts and updates by the ORM."""
    os.environ |= {"DJANGO_SETTINGS_MODULE": "claudia.settings", "DATABASE_URL": url}
    pipe.send("ready")
    await asyncio.to_thread(_save, pipe, [session for _, session in people])


def _save(pipe: Any, sessions: Sequence[str]) -> None:
    import django

    django.setup()
    from conversations.models import Message

    while pipe.recv():
        rows = [Message(session_id=sessions[n % len(sessions)], role="user", content=TEXT) for n in range(WRITES)]
        seconds = []
        for content in (TEXT, TEXT.upper()):
            begun = time.perf_counter()
            for row in rows:
                row.content = content
                row.save()
            seconds.append(time.perf_counter() - begun)
        pipe.send(tuple(WRITES / spent for spent in seconds))


def _run(what: Any, *arguments: Any) -> None:
    asyncio.run(what(*arguments))


class Other:
    """One of the above, in a process of its own; use it in a `with`."""

    def __init__(self, what: Any, url: str, people: Sequence[tuple[str, str]]) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        arguments = (what, theirs, url, list(people))
        self._process = multiprocessing.get_context("spawn").Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that its death is noticed

    def __enter__(self) -> Self:
        self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(False)
        self._process.join(20)
        self._process.kill()

    def ask(self) -> Any:
        """A round."""
        self._pipe.send(True)
        return self._pipe.recv()


def throughput(place: Site, server: ServerProcess, clients: int, report: Report) -> None:
    """Rows of the report: inserts and updates by so many clients."""
    people = []
    for _ in range(clients):
        person = place.person("writer")
        people.append((person.token, place.session(person)))
    ours, baseline, cpu = [], [], 0.0
    with Other(drive, server.url, people) as browsers, Other(save, place.database_url, people) as orm:
        browsers.ask(), orm.ask()  # to warm up
        for _ in range(ROUNDS):
            before = cpu_seconds(server)
            ours.append(browsers.ask())
            cpu += cpu_seconds(server) - before
            baseline.append(orm.ask())
    for at, kind in enumerate(("inserts", "updates")):
        report.compare(
            f"{kind}, {clients} client{'s' * (clients > 1)}",
            unit="/s",
            ours=[one[at] for one in ours],
            baseline=[one[at] for one in baseline],
            baseline_name="save() in one process",
            at_least=0.6,
        )
    report.note(f"{clients} clients: {1000 * cpu / ROUNDS / WRITES / 2:.2f} ms of the server's processor a mutation")


def latency(place: Site, server: ServerProcess, report: Report) -> None:
    """A row of the report: from sending a mutation on one client to seeing it on another."""
    alice = place.person("alice")
    session = place.session(alice)
    with Other(watch, server.url, [(alice.token, session), (place.token(alice.id), session)]) as both:
        both.ask()  # to warm up
        rounds = [both.ask() for _ in range(ROUNDS)]
    name = f"sent on one client, seen on another, {RATE}/s"
    report.limit(f"{name}: p50", unit="ms", values=[percentile(one, 0.5) for one in rounds], at_most=12)
    report.limit(f"{name}: p99", unit="ms", values=[percentile(one, 0.99) for one in rounds])


def main() -> bool:
    """Prints and keeps the report; whether all limits held."""
    quiet()
    conditions = {"rounds": ROUNDS, "writes": WRITES, "mutations in a frame": IN_FRAME, **UNLIMITED}
    report = Report("mutations", "How many mutations a second, and how soon does another client see one?", conditions)
    with site() as place:
        server = place.serve(**UNLIMITED)
        for clients in (1, 50):
            throughput(place, server, clients, report)
        latency(place, server, report)
        assert not server.complaints(), server.complaints()
    return report.finish()


if __name__ == "__main__":
    main()
