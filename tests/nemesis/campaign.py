"""A run: real servers on a database of their own, writers, clients that come and go, faults; then the judgement."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.acceptance.site import Person, ServerProcess, Site
from tests.nemesis.audit import Truth, install
from tests.nemesis.judge import converged, judge, leaked_locks
from tests.nemesis.proxy import Proxy
from tests.nemesis.recorder import Installation
from tests.nemesis.stage import Stage
from tests.nemesis.wishes import WISHES
from tests.nemesis.writers import Writers

#: How long what must come may take, in seconds; nothing is judged by time but that it comes at all.
PATIENCE = 40.0
#: If less was shown, nothing was proven.
FEW_STEPS = 60


class Fault(Protocol):
    """Something that goes wrong at moments of the seed's choice. strikes: how often."""

    strikes: int

    async def begin(self, campaign: Campaign) -> None:
        """Before anybody writes."""

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        """Once. Whatever it breaks may stay broken until `heal`."""

    async def heal(self, campaign: Campaign) -> None:
        """When all faults have struck, and all is written that must be: what is broken is mended."""

    async def close(self) -> None:
        """At the very end, whatever came of it."""


class Ordinary:
    """A fault's base: nothing to prepare, nothing to mend. As text: what it is called in a report."""

    strikes = 2

    def __str__(self) -> str:
        return type(self).__name__

    async def begin(self, campaign: Campaign) -> None:
        pass

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        pass

    async def heal(self, campaign: Campaign) -> None:
        pass

    async def close(self) -> None:
        pass


class Comings(Ordinary):
    """What clients do by themselves: they go and come, read slowly, subscribe, move to another server."""

    strikes = 25

    async def strike(self, campaign: Campaign, draw: random.Random) -> None:
        one = draw.choice(campaign.clients)
        name, wish = draw.choice([item for item in WISHES.items() if item[0] != "users"])
        match draw.randrange(8):
            case 0:
                one.cut()
            case 1:
                one.leave()
            case 2 | 3:
                one.come()
                one.read_on()
            case 4:
                one.stall()
            case 5:
                await one.unsubscribe(name)
            case 6:
                await one.subscribe(name, wish)
            case 7:
                one.address += 1
                one.cut()

    async def heal(self, campaign: Campaign) -> None:
        for one in campaign.clients:
            one.read_on()
            one.come()


@dataclass
class Campaign:
    """One run on a migrated database. `fight()` gives the violations; what it needed is in the attributes after.

    steps_wanted: the writers go on until the clients have shown so many together, and all faults have struck.
    like: the server's program, if it is not `manage.py serve` (a file in this folder). variables: of its environment.
    pooled_url: of a pooler, for servers and writers; who judges comes directly.
    before: what was true before the database's history was cut, as often as it was.
    """

    database_url: str
    folder: Path
    seed: int
    faults: Sequence[Fault] = ()
    servers: int = 1
    writers: int = 8
    transactions: int = 30
    clients_wanted: int = 5
    steps_wanted: int = FEW_STEPS
    manners: Sequence[Sequence[str]] = ((),)
    proxied: bool = False
    pooled_url: str | None = None
    like: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    clients: list[Installation] = field(default_factory=list)
    proxies: list[Proxy] = field(default_factory=list)
    slow: list[Proxy] = field(default_factory=list)
    before: list[Truth] = field(default_factory=list)

    async def fight(self) -> list[str]:
        """The violations; none if all is well."""
        async with self:
            await self._enter_clients()
            await self._write()
            return await self.verdict()

    async def __aenter__(self) -> Campaign:
        """The database is set, the servers run; nobody is there yet."""
        self.draw = random.Random(self.seed)
        self.progress = asyncio.Condition()
        self.committed = 0
        self.struck = False
        self.loop = asyncio.get_running_loop()
        self.site = Site(self.database_url, self.folder, served_url=self.pooled_url)
        try:
            await asyncio.to_thread(self._build)
            if self.proxied:
                self.proxies = [await Proxy(server.url).open() for server in self.site.servers]
            for fault in self.faults:
                await fault.begin(self)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends everything that it started."""
        for one in self.clients:
            await one.stop()
        for proxy in (*self.proxies, *self.slow):
            await proxy.close()
        await asyncio.to_thread(self.site.close)
        for fault in self.faults:
            await fault.close()

    async def verdict(self, patience: float = PATIENCE) -> list[str]:
        """When all is quiet: a last transaction, for which all are waited for; then everything is judged."""
        late = await self._settle(patience)
        for one in self.clients:
            await one.stop()
        return await asyncio.to_thread(self._judge, late)

    # -- building ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.site.connect()
        install(self.site.db)
        self.stage = Stage.set(self.site)
        for _ in range(self.servers):
            serve(self.site, like=self.like, **self.variables)
        self.work = Writers(
            self.pooled_url or self.database_url, self.stage, self.seed, self.writers, self.transactions, self.manners,
            on_commit=self._committed, enough=self._enough,
            options={"prepare_threshold": None} if self.pooled_url else {},
        )  # fmt: skip

    def addresses(self) -> list[str]:
        """Where clients may connect to."""
        return [there.url for there in self.proxies or self.site.servers]

    async def _enter_clients(self) -> None:
        names = [name for name in WISHES if name != "users"]
        for n in range(self.clients_wanted):
            chosen = self.draw.sample(names, 5) if n else ["sessions", "messages", "memory"]
            await self.enter(self.stage.people[n % len(self.stage.people)], *chosen, ready=False)
        await self.until(lambda: all(one.ready for one in self.clients), "all clients show something")

    async def enter_slow(self, person: Person, *wishes: str, pace: float) -> Installation:
        """One client more, who gets so many bytes a second until the writers are done; then all that is there."""
        proxy = await Proxy(self.site.servers[0].url).open()
        self.slow.append(proxy)
        one = await self.enter(person, *wishes, addresses=lambda: [proxy.url])
        proxy.pace = pace
        one.cut()  # it comes again by a slow connection
        return one

    def hurry(self) -> None:
        """Nobody is slow any more."""
        for proxy in self.slow:
            proxy.pace = None

    async def enter(
        self,
        person: Person,
        *wishes: str,
        address: int | None = None,
        addresses: Callable[[], list[str]] | None = None,
        ready: bool = True,
        like: type[Installation] = Installation,
        **options: Any,
    ) -> Installation:
        """One client more, which follows `users` and what is named. ready: waits until it shows all."""
        name = f"client {len(self.clients)}"
        one = like(name, person, {name: WISHES[name] for name in ("users", *wishes)}, addresses or self.addresses)
        one.address = len(self.clients) if address is None else address
        self.clients.append(one.start(**options))
        if ready:
            await self.until(lambda: self._stays(one).ready, f"{name} shows something")
        return one

    @staticmethod
    def _stays(one: Installation) -> Installation:
        """Whatever `Comings` wanted of it before it was there at all."""
        one.come()
        one.read_on()
        return one

    # -- fighting ----------------------------------------------------------------------------------------------------

    def _committed(self, committed: int) -> None:
        """In a writer's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run was given up
            asyncio.run_coroutine_threadsafe(self._tell_progress(committed), self.loop)

    async def _tell_progress(self, committed: int) -> None:
        async with self.progress:
            self.committed = max(self.committed, committed)
            self.progress.notify_all()

    async def reached(self, committed: int) -> None:
        """Returns when the writers have got so far, or are done."""
        async with self.progress:
            await self.progress.wait_for(lambda: self.committed >= committed or self.work.over)

    def _enough(self) -> bool:
        """In a writer's thread: each fault met writers while it lasted, and the clients have shown something."""
        return self.struck and self.steps >= self.steps_wanted

    async def _write(self) -> None:
        self.work.start()
        try:
            async with asyncio.timeout(PATIENCE + self.work.total / 10):
                async with asyncio.TaskGroup() as strikes:
                    for fault in (Comings(), *self.faults):
                        strikes.create_task(self._strike(fault, random.Random(self.draw.random())))
                await self.reached(self.work.total)
                for fault in (*self.faults, Comings()):
                    await fault.heal(self)
                self.struck = True  # from here on nothing keeps anybody from seeing something
                await asyncio.to_thread(self.work.join, PATIENCE + self.work.total / 10)
        except TimeoutError as error:
            done = f"{self.work.committed} of {self.work.total} transactions, {self.steps} steps shown"
            raise AssertionError(f"{done}; what the writers met last: {self.work.failures[-5:]}") from error
        finally:
            self.work.halt()

    async def _strike(self, fault: Fault, draw: random.Random) -> None:
        last = int(self.work.total * 0.9)
        for moment in sorted(draw.randrange(last) for _ in range(fault.strikes)):
            await self.reached(moment)
            await fault.strike(self, draw)

    # -- ending ------------------------------------------------------------------------------------------------------

    async def _settle(self, patience: float) -> list[str]:
        """A last transaction, which concerns everybody; waits until all show it. Who does not is told."""
        rows = await asyncio.to_thread(
            self.again,
            "UPDATE public.users SET name = name || '.'"
            " RETURNING id::text, sync_version, pg_current_xact_id()::text::bigint",
        )
        versions = {user: version for user, version, _ in rows}
        self.last = int(rows[0][2])

        def arrived() -> bool:
            return all(self._shows(one, versions[one.person.id]) for one in self.clients)

        try:
            await self.until(arrived, "all clients show the end", patience)
        except AssertionError:
            return [
                f"{one.recording.name}: has not come to the end; closed before with {one.closes[-5:]}"
                for one in self.clients
                if not self._shows(one, versions[one.person.id])
            ]
        return []

    @staticmethod
    def _shows(one: Installation, version: int) -> bool:
        me = one.replica.rows("users").get(one.person.id) if one.ready else None
        return bool(me and me["sync_version"] >= version)

    def _judge(self, late: list[str]) -> list[str]:
        truth = self.truth = Truth.read(self.site.db)
        recordings = [one.recording for one in self.clients]
        found = [*late, *judge([*self.before, truth], recordings), *leaked_locks(self.site.db)]
        return found or converged(truth, recordings, self.last)

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Polls: what is waited for lies in several clients, and some of them may not be connected."""
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                said = [line for server in self.site.servers for line in server.output[-4:]]
                raise AssertionError(f"waited in vain: {what}; the servers say:\n{''.join(said)}")
            await asyncio.sleep(0.01)

    def again(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """A statement on the site's connection, which is made anew if a fault has taken it, or PostgreSQL itself."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.site.sql(sql, *values)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)  # a server that starts: there is nothing to wait for
                with contextlib.suppress(psycopg.OperationalError):
                    self.site.connect()

    async def shown_without(self, server: ServerProcess) -> None:
        """Returns when a client of another server than this has shown something more."""
        at = self.site.servers.index(server)
        others = [one for one in self.clients if one.address % len(self.site.servers) != at and one.connection]
        before = {one: len(one.recording.shown) for one in others}
        await self.until(
            lambda: self.work.over or any(len(one.recording.shown) > n for one, n in before.items()),
            "a step of another server",
        )

    @property
    def steps(self) -> int:
        """That all clients recorded together."""
        return sum(len(one.recording.shown) for one in self.clients)


def serve(site: Site, *, like: str | None = None, **variables: str) -> ServerProcess:
    """One server more, maybe by a program of this folder."""
    if like is None:
        return site.serve(**variables)
    options = {"SECRET_KEY": "of-all-servers-of-this-site-" + "k" * 40, "LOG_LEVEL": "INFO"} | variables
    folder = site.folder / f"server{len(site.servers)}"
    server = ServerProcess(site.served_url or site.database_url, folder, like=f"../nemesis/{like}", **options)
    site.servers.append(server)
    return server.start()


async def holds(campaign: Campaign) -> None:
    """Fights, and fails with what is wrong. A run in which little happened, fewer steps than wanted, is no proof."""
    violations = await campaign.fight()
    assert not violations, told(violations, campaign.seed)
    assert campaign.steps >= campaign.steps_wanted, f"{campaign.steps} steps of {campaign.work.committed} transactions"
    assert campaign.work.committed >= campaign.work.total


def told(violations: Sequence[str], seed: int) -> str:
    """What a failing test says. What everybody does is the seed's; when is the machine's: it may take some runs."""
    return "\n".join([f"{len(violations)} violations with seed {seed}:", *violations[:8]])
