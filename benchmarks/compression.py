"""How many bytes does a busy session cost on the wire, compressed?

A user and an agent at work: messages of prose (this project's own documents), calls of tools and their results, in
transactions of one to five rows. Baseline: the same frames to a client that takes no compression.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import Counts, Crowd
from benchmarks.report import Report
from benchmarks.stage import site
from tests.acceptance.server import ROOT
from tests.acceptance.site import Person, Site

ROUNDS = 3
TRANSACTIONS = 100


def prose() -> Iterator[str]:
    """Paragraphs of the documents, over and over."""
    texts = [Path(path).read_text() for path in sorted((ROOT / "docs").glob("*.md"))]
    paragraphs = [text for page in texts for text in re.split(r"\n\n+", page) if 100 < len(text) < 1500]
    while True:
        yield from paragraphs


def work(place: Site, session: str, chance: random.Random, texts: Iterator[str]) -> None:
    """One transaction of the agent."""
    with place.atomic():
        for _ in range(chance.randint(1, 5)):
            role = chance.choice(["user", "assistant", "assistant", "tool"])
            call = {
                "id": f"call_{chance.getrandbits(64):x}",
                "name": "read_file",
                "arguments": {"path": "docs/design.md"},
            }
            place.insert(
                "messages",
                session_id=session,
                role=role,
                content=next(texts),
                tokens=chance.randint(20, 900),
                model="a-model-of-some-size",
                tool_calls=json.dumps([call] if role == "assistant" else []),
            )


def taken(crowd: Crowd) -> Counts:
    """What it received since it was asked last."""
    time.sleep(0.5)
    return crowd.take()


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    report = Report(
        "compression", "How many bytes does a busy session cost on the wire?", {"transactions": TRANSACTIONS}
    )
    chance, texts = random.Random(5), prose()
    compressed, plain, snapshot, plain_snapshot = [], [], [], []
    with site() as place:
        person: Person = place.person("alice")
        session = place.session(person, title="Busy")
        server = place.serve()
        shapes = [{"id": "m", "table": "messages"}, {"id": "s", "table": "sessions"}]
        with (
            Crowd(server.url, [person.token], shapes, clients=1, compressed=True) as small,
            Crowd(server.url, [person.token], shapes, clients=1) as large,
        ):
            for at in range(ROUNDS):
                for crowd, sizes in ((small, snapshot), (large, plain_snapshot)):
                    crowd.take()
                    crowd.open()
                    if at:
                        sizes.append(taken(crowd).bytes / 1000)
                for crowd in (small, large):
                    taken(crowd)
                for _ in range(TRANSACTIONS):
                    work(place, session, chance, texts)
                got, expected = taken(small), taken(large)
                if got.frames != expected.frames:
                    raise AssertionError(f"{got.frames} compressed frames, but {expected.frames} plain ones")
                compressed.append(got.bytes / 1000)
                plain.append(expected.bytes / 1000)
                small.close()
                large.close()
    report.compare(
        "bytes of live changes", unit="KB", ours=compressed, baseline=plain, baseline_name="uncompressed", at_most=0.4
    )
    report.compare(
        "bytes of snapshots",
        unit="KB",
        ours=snapshot,
        baseline=plain_snapshot,
        baseline_name="uncompressed",
        at_most=0.4,
    )
    return report.finish()


if __name__ == "__main__":
    main()
