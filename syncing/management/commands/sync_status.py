"""`sync_status [--watch] [--every 2] [--json]`: how is all? Once, or on a screen that one may leave open."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from rich.console import Console
from rich.live import Live

from syncing import monitor
from syncing.interruptions import interruption
from syncing.reports import status_report
from syncing.terminal import WIDTH, Course, Screen


def seconds(text: str) -> float:
    """A pause from half a second to an hour."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0.5 <= value <= 3600:
        raise ArgumentTypeError(f"{text!r} is no number of seconds from 0.5 to 3600")
    return value


class Command(BaseCommand):
    help = (
        "Show whether changes are delivered, how fast and to how many, and what is wrong, over all server processes."
        " Each look sends a heartbeat through the log."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--watch", action="store_true", help="go on looking until Ctrl-C")
        parser.add_argument("--every", type=seconds, metavar="SECONDS", help="between two looks (MONITORING_INTERVAL)")
        parser.add_argument("--json", action="store_true", help="as JSON; with --watch an object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        every = options["every"] or settings.MONITORING_INTERVAL
        try:
            if options["json"]:
                self._json(every if options["watch"] else None)
            elif options["watch"]:
                self._watch(every)
            else:
                self._console().print(_screen(Course()))
        except BrokenPipeError:
            # Whoever read has seen enough; nothing is left to be flushed at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _json(self, every: float | None) -> None:
        with interruption() as asked_to_stop:
            while True:
                report = status_report(monitor.status())
                self.stdout.write(json.dumps(report, indent=2 if every is None else None))
                self.stdout.flush()
                if every is None or asked_to_stop.wait(every):
                    return

    def _watch(self, every: float) -> None:
        console, course = self._console(), Course()
        with interruption() as asked_to_stop:
            if not console.is_terminal:  # a file, a pipe: one picture after the other
                while True:
                    console.print(_screen(course, every))
                    console.file.flush()
                    if asked_to_stop.wait(every):
                        return
            # Drawn by us, when there is something new, and in one write: nothing flickers.
            with Live(_screen(course, every), console=console, screen=True, auto_refresh=False) as live:
                while not asked_to_stop.wait(every):
                    live.update(_screen(course, every), refresh=True)

    def _console(self) -> Console:
        stream: Any = getattr(self.stdout, "_out", self.stdout)
        return Console(file=stream, width=None if stream.isatty() else WIDTH, highlight=False)


def _screen(course: Course, every: float | None = None) -> Screen:
    status = monitor.status()
    course.add(status)
    return Screen(status, course, every=every)
