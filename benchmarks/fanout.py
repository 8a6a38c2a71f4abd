"""How many frames does a second of the server's CPU deliver, 1,000 clients on one shape, 300 bytes a frame?

Baseline: a stock Channels consumer on Daphne, told by `group_send` over the layer in memory, which is the cheapest.
Ours is measured whole, from the database's log to the sockets; the baseline only sends.
"""

from __future__ import annotations

import time

from benchmarks.load import Crowd
from benchmarks.report import Report
from benchmarks.stage import answer, cpu_seconds, site, stock_server
from benchmarks.writing import Writer, updates

CLIENTS = 1000
ROUNDS = 3
CHANGES, RATE = 200, 40
BROADCASTS = 5
BYTES = 300


def received(crowd: Crowd, expected: int) -> int:
    """The frames that the crowd got, once it has got as many as were sent; fails if some never come."""
    frames = 0
    for _ in range(100):
        frames += crowd.take().frames
        if frames >= expected:
            return frames
        time.sleep(0.1)
    raise AssertionError(f"{frames} frames arrived, not {expected}")


def main() -> bool:
    """Prints and keeps the report; whether all limits hold."""
    report = Report(
        "fanout",
        "How many frames does a second of the server's CPU deliver to 1,000 clients?",
        {"clients": CLIENTS, "changes": CHANGES, "changes a second": RATE, "bytes a frame": BYTES},
    )
    ours, baseline = [], []
    with site() as place, stock_server() as (stock_url, stock):
        server = place.serve()
        person = place.person("alice")
        subscription = [{"id": "a", "table": "agents", "columns": ["description"]}]
        with (
            Crowd(server.url, [person.token], subscription, clients=CLIENTS) as crowd,
            Crowd(stock_url, [person.token], subscription, clients=CLIENTS) as crowd_of_stock,
            Writer(place.database_url, updates(place, person, 64, "x" * 60), rate=RATE) as writer,
        ):
            crowd.open()
            crowd_of_stock.open()
            for counted in [False] + [True] * ROUNDS:
                crowd.take()
                crowd_of_stock.take()
                cpu = cpu_seconds(server)
                writer.write(CHANGES if counted else RATE)
                frames = received(crowd, CLIENTS * (CHANGES if counted else RATE) * 9 // 10)
                if counted:
                    ours.append(frames / (cpu_seconds(server) - cpu))
                cpu = cpu_seconds(stock.pid)
                assert stock.stdin is not None
                print(BROADCASTS if counted else 1, BYTES, file=stock.stdin, flush=True)
                answer(stock, "done")
                frames = received(crowd_of_stock, CLIENTS * (BROADCASTS if counted else 1))
                if counted:
                    baseline.append(frames / (cpu_seconds(stock.pid) - cpu))
    report.compare(
        "frames per CPU-second", unit="", ours=ours, baseline=baseline, baseline_name="group_send", at_least=30
    )
    return report.finish()


if __name__ == "__main__":
    main()
