"""Fills a database with the demo."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection

import syncing
from claudia.demo import make_demo
from conversations.models import Message, Session


class Command(BaseCommand):
    help = "Makes a small demo: three people, two projects, agents, sessions, memories. Run again, it changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        with syncing.acting(origin="command seed_demo"):
            with connection.cursor() as cursor:
                # Two at once would both find nothing and make everything twice.
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('claudia seed_demo', 0))")
            demo = make_demo()
            people = list(demo.people.values())
            sessions = Session.objects.filter(user__in=people)
            messages = Message.objects.filter(session__in=sessions)
            self.stdout.write(
                f"The demo is there: {', '.join(sorted(user.email for user in people))};"
                f" {len(demo.projects)} projects, {len(demo.agents)} agents,"
                f" {sessions.count()} sessions, {messages.count()} messages."
            )
