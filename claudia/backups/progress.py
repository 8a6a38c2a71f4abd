"""What a person is told who waits: a bar on a terminal, else a line for each part of the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

#: Seconds between two lines about the same part where there is no terminal.
EVERY = 30.0
#: Tells how much of the present part is done, from 0 to 1; None where nobody knows.
Reached = Callable[[float | None, str], None]


class Told(Protocol):
    """Whoever is told."""

    def part(self, what: str) -> Any:
        """A context in which one part of the work is done; its value is called with how far it is, and details."""

    def say(self, text: str) -> None:
        """A line that stays."""


class ToTerminal:
    """A bar that is gone when the part is done, and a line that stays."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def part(self, what: str) -> Iterator[Reached]:
        """See Told."""
        began = time.monotonic()
        columns = (
            TextColumn("  {task.description}"), BarColumn(24), TaskProgressColumn(),
            TextColumn("[dim]{task.fields[detail]}"), TimeElapsedColumn(),
        )  # fmt: skip
        with Progress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(what, total=None, detail="")

            def reached(share: float | None, detail: str = "") -> None:
                total = None if share is None else 1.0
                bars.update(task, total=total, completed=min(1.0, share or 0.0), detail=detail)

            yield reached
        self._console.print(f"  [green]✓[/green] {what} [dim]{time.monotonic() - began:.1f} s[/dim]")

    def say(self, text: str) -> None:
        """See Told."""
        self._console.print(text, soft_wrap=True)


class ToLines:
    """A line when a part is done, and another one every half a minute until then."""

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write

    @contextmanager
    def part(self, what: str) -> Iterator[Reached]:
        """See Told."""
        began = told = time.monotonic()

        def reached(share: float | None, detail: str = "") -> None:
            nonlocal told
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                percent = "" if share is None else f" {100 * min(1.0, share):.0f} %"
                self._write(f"{what} …{percent} {detail}".rstrip())

        yield reached
        self._write(f"{what}: {time.monotonic() - began:.1f} s")

    def say(self, text: str) -> None:
        """See Told."""
        self._write(text)


def told_to(stream: Any, write: Callable[[str], Any]) -> Told:
    """By what the stream is."""
    return ToTerminal(Console(file=stream, highlight=False)) if stream.isatty() else ToLines(write)
