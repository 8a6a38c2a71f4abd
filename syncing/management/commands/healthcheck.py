"""`healthcheck [--json]`: is all well? Exit code 0 if so, 1 for warnings, 2 if something is critical."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from syncing import monitor
from syncing.issues import Health
from syncing.reports import health_report

EXIT = {"healthy": 0, "warning": 1, "critical": 2}


class Command(BaseCommand):
    help = (
        "Send a heartbeat through the log to every server process, and look at all that can hold up delivery. Exit"
        " code 0: healthy, 1: warnings, 2: critical."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the whole report as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        health = monitor.health()
        if options["json"]:
            self.stdout.write(json.dumps(health_report(health), indent=2))
        else:
            self._tell(health)
        self.stdout.flush()
        if health.issues:
            sys.exit(EXIT[health.status])

    def _tell(self, health: Health) -> None:
        paint = {"healthy": self.style.SUCCESS, "warning": self.style.WARNING, "critical": self.style.ERROR}
        self.stdout.write(f"{paint[health.status](health.status)}, {health.score} of 100")
        for part, one in health.parts.items():
            self.stdout.write(f"  {part:<10} {paint[one.status](one.status)}")
        for issue in health.issues:
            self.stdout.write(f"\n{paint[issue.severity](issue.severity)}: {issue.message}")
            if issue.detail:
                self.stdout.write(f"  {issue.detail}")
            self.stdout.write(f"  {issue.recommendation}")
