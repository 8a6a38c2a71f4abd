"""All benchmarks, one after the other: `python -m benchmarks`, or `make bench`. Names on the command line choose some.

Two run only when they are named: `processes` and `pruning`, of four minutes each.

Exit status 1 if a limit does not hold, 2 if a program failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from rich.console import Console

from benchmarks import figures
from benchmarks.plots import draw
from benchmarks.stage import quiet

#: In the order in which a change travels. Seconds that each takes, about, so that one knows how long is left.
PROGRAMS = {
    "capture_cost": 60,
    "capture_throughput": 110,
    "latency": 190,
    "fanout": 60,
    "shapes": 60,
    "snapshots": 50,
    "standby": 60,
    "herd": 80,
    "compression": 30,
    "memory": 60,
    "mutations": 90,
    "processes": 240,
    "recording": 15,
    "pruning": 240,
    "quiet": 400,
}
#: Only when they are named: what operators ask once takes longer than the rest of a quarter of an hour.
NAMED_ONLY = ("processes", "pruning")
#: It only waits, and so does it beside the others.
BESIDE = "quiet"


def main() -> int:
    """Runs them with a line of progress each, then draws the plots."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(PROGRAMS)}")
    names = parser.parse_args().names or [name for name in PROGRAMS if name not in NAMED_ONLY]
    if unknown := [name for name in names if name not in PROGRAMS]:
        parser.error(f"there is no benchmark {unknown[0]!r}: one of {', '.join(PROGRAMS)}")
    console = Console()
    quiet()
    began = time.monotonic()
    beside = start(BESIDE) if BESIDE in names else None
    outcomes = {}
    for at, name in enumerate(names):
        left = sum(PROGRAMS[later] for later in names[at:] if later != BESIDE)
        console.rule(f"[bold]{name}[/bold], {at + 1} of {len(names)}, about {left // 60 + 1} min left", align="left")
        outcomes[name] = finished(beside if name == BESIDE and beside else start(name))
    draw()
    figures.write()
    minutes = (time.monotonic() - began) / 60
    console.rule(f"{len(names)} benchmarks in {minutes:.0f} minutes; see docs/benchmarks.md", align="left")
    for outcome, word in ((1, "missed a limit"), (2, "failed")):
        if missed := [name for name, code in outcomes.items() if code == outcome]:
            console.print(f"[red]{word}: {', '.join(missed)}[/red]")
    return max(outcomes.values())


def start(name: str) -> subprocess.Popen[str]:
    """One program, in a process of its own."""
    command = [sys.executable, "-c", f"import sys; from benchmarks.{name} import main; sys.exit(0 if main() else 1)"]
    console = Console()
    colour = {"FORCE_COLOR": "1"} if console.is_terminal else {}
    env = os.environ | {"COLUMNS": str(console.width)} | colour
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def finished(process: subprocess.Popen[str]) -> int:
    """Waits for it, and shows what it printed; 0 if all limits held, 1 if one did not, 2 if it failed."""
    output, _ = process.communicate()
    sys.stdout.write(output)
    sys.stdout.flush()
    failed = process.returncode not in (0, 1) or "Traceback (most recent call last)" in output
    return 2 if failed else process.returncode


if __name__ == "__main__":
    sys.exit(main())
