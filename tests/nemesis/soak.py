"""`make soak`: runs of many seeds under all faults, each larger than a test's, until the time is over or one fails.

Each run has a seed of its own, which is told. It chooses the faults, the servers and what everybody does; when they do
it is the machine's. Every second seed takes a disaster, one after the other, so that a dozen have met them all. A seed
that failed may need several runs to fail again: with --seed only that one is run, until the time is over. Where there
is time for it a transaction is left open for minutes first, beside which nobody may be slow.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.site import Site
from tests.nemesis.campaign import Campaign, Fault
from tests.nemesis.cluster import Cluster, cluster_like, migrated
from tests.nemesis.disasters import FailOver, Forget, Prune, Restore, RollBack
from tests.nemesis.faults import (
    BreakNetwork,
    HoldTransaction,
    KillServer,
    LoseConnections,
    LosePokes,
    SlowReaders,
    StopPostgres,
    StormOfPokes,
)
from tests.nemesis.giant import update_many
from tests.nemesis.holding import hold
from tests.nemesis.manners import MANNERS, OtherRole

#: So long a transaction is left open, in seconds; the whole takes half as long again. Others may not be slower than so.
OPEN_FOR, FULL_SPEED = 120.0, 0.5
#: Of the cluster as a whole; a seed takes one of them at most, since each needs the cluster as it was. In turns.
DISASTERS: list[Callable[[Cluster], Fault]] = [
    lambda cluster: FailOver(cluster, lossy=False),
    lambda cluster: FailOver(cluster, lossy=True),
    RollBack,
    lambda cluster: Restore(cluster, elsewhere=False),
    lambda cluster: Restore(cluster, elsewhere=True),
    Forget,
]
#: All others; a seed takes some of them.
FAULTS: list[Callable[[Cluster], Fault]] = [
    lambda cluster: KillServer(),
    lambda cluster: LoseConnections(),
    StopPostgres,
    lambda cluster: BreakNetwork(),
    lambda cluster: LosePokes(),
    lambda cluster: StormOfPokes(),
    lambda cluster: HoldTransaction(),
    lambda cluster: Prune(),
    lambda cluster: SlowReaders(),
]


def campaign_of(seed: int, cluster: Cluster, folder: Path) -> Campaign:
    """What the seed chooses."""
    draw = random.Random(seed)
    faults = [make(cluster) for make in draw.sample(FAULTS, draw.choice([1, 2, 3]))]
    if any(isinstance(fault, LosePokes) for fault in faults):
        faults = [fault for fault in faults if not isinstance(fault, StormOfPokes)]
    for fault in faults:
        fault.strikes *= 2
    if seed % 2 == 0:
        faults = [fault for fault in faults if not isinstance(fault, StopPostgres | LoseConnections | Prune)]
        faults.append(DISASTERS[seed // 2 % len(DISASTERS)](cluster))
    with_manners = draw.random() < 0.3
    forgetful = any(isinstance(fault, Forget) for fault in faults)
    return Campaign(
        cluster.url,
        folder,
        seed,
        faults=[*faults, *([OtherRole()] if with_manners else [])],
        servers=draw.choice([1, 2, 2]),
        writers=draw.choice([8, 12, 16]),
        transactions=draw.choice([60, 100, 150]),
        clients_wanted=draw.choice([4, 8, 12]),
        manners=MANNERS if with_manners else Forget.MANNERS if forgetful else ((),),
        like=draw.choice([None, None, "thrifty"]),
        proxied=any(isinstance(fault, BreakNetwork) for fault in faults),
    )


async def run(seed: int, template: Path, folder: Path) -> list[str]:
    """One run of a seed: its violations."""
    began = time.monotonic()
    with cluster_like(template, **Forget.OPTIONS) as cluster:
        cluster.start()
        campaign = campaign_of(seed, cluster, folder)
        try:
            violations = await campaign.fight()
        except Exception as error:
            violations = ["the run itself failed:", *traceback.format_exception(error)]
    names = ", ".join(map(str, campaign.faults))
    servers = f"{campaign.servers} {campaign.like or 'ordinary'} server{'s' * (campaign.servers > 1)}"
    size = f"{campaign.work.committed} transactions by {campaign.writers} writers, {campaign.steps} steps shown"
    mark = "\033[31m✗\033[0m" if violations else "\033[32m✓\033[0m"
    say(f"  {mark} seed {seed}: {size}, {time.monotonic() - began:.0f} s ({names}; {servers})")
    return violations


async def held(template: Path, folder: Path) -> list[str]:
    """A transaction that is open for minutes: what is wrong beside it."""
    say(f"  Leaving a transaction open, which takes {1.5 * OPEN_FOR / 60:g} minutes …")
    with cluster_like(template) as cluster:
        async with Campaign(cluster.start().url, folder, seed=0) as campaign:
            measured = await hold(campaign, OPEN_FOR)
            violations = await campaign.verdict()
    say(
        f"  A transaction open for {measured.seconds:.0f} s: others are shown {measured.beside:.0f} changes a second"
        f" beside it, {measured.without:.0f} without it ({measured.ratio:.2f} times as many)"
    )
    if measured.ratio < FULL_SPEED:
        violations.append(f"beside an open transaction others have {measured.ratio:.2f} of their speed")
    return violations


async def giant(rows: int, template: Path, folder: Path) -> None:
    """One UPDATE of so many rows."""
    with cluster_like(template) as cluster:
        cluster.start()
        site = Site(cluster.url, folder)
        try:
            site.connect()
            measured = await update_many(site, site.serve(), rows)
        finally:
            site.close()
    say(f"  UPDATE of {rows} rows: the server grew by {measured.grown // 1024**2} MiB; others saw {measured.beside}")


def say(text: str) -> None:
    """A line for who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for so long new runs begin (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="only this one, again and again")
    parser.add_argument("--giant", type=int, metavar="ROWS", help="only one UPDATE of so many rows")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="claudia-soak-"))
    try:
        say("\nMaking a cluster …")
        template = migrated(folder)
        if options.giant:
            asyncio.run(giant(options.giant, template, folder))
            return 0
        return loop(options, template, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def loop(options: argparse.Namespace, template: Path, folder: Path) -> int:
    """Seed after seed until the time is over, or a violation is found."""
    began, runs = time.monotonic(), 0
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    say(f"Soaking for {options.minutes:g} minutes from seed {seed} on.\n")
    if enough_for_more(options) and (violations := asyncio.run(held(template, folder / "held"))):
        say("\n" + "\n  ".join(violations[:20]))
        return 1
    while (spent := time.monotonic() - began) < options.minutes * 60:
        if violations := asyncio.run(run(seed, template, folder / f"run{runs}")):
            say(f"\n{len(violations)} violations with seed {seed}:\n  " + "\n  ".join(violations[:40]))
            say(f"\nAgain, until it fails:  make soak MINUTES=10 SEED={seed}")
            return 1
        runs += 1
        if runs % 10 == 0:
            say(f"  {spent / 60:.1f} of {options.minutes:g} minutes, {runs} runs without a violation")
        seed += 0 if options.seed is not None else 1
    say(f"\n{runs} runs without a violation.")
    return 0


def enough_for_more(options: argparse.Namespace) -> bool:
    """Whether there is time for a transaction that is open for minutes, and for other runs."""
    return options.seed is None and options.minutes * 60 > 2 * OPEN_FOR


if __name__ == "__main__":
    sys.exit(main())
