"""Events and entries of the log as pages show them: by whom, from where, what changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.urls import reverse

from syncing import presenting
from syncing.actors import Actor
from syncing.declarations import Declaration, declarations
from syncing.histories import STAMPS, Entry, Row, RowHistory
from syncing.models import SyncClient, SyncEvent
from syncing.presenting import HIDDEN, Shown
from syncing.values import ColumnType

#: Which of a row's columns say nothing to a person who reads about a change.
UNTOLD = STAMPS | {"id"}
LOG = "admin:syncing_syncevent_changelist"


@dataclass(frozen=True, slots=True)
class Who:
    """By whom something was written, for people. name: empty where nobody said who it was."""

    name: str
    user_id: UUID | None
    client_id: UUID | None
    agent: str
    mutation_id: UUID | None
    origin: str

    @property
    def user_log(self) -> str:
        """The address of what the person wrote."""
        return log_address(user=self.user_id)

    @property
    def client_log(self) -> str:
        """The address of what was written by the client."""
        return log_address(client=self.client_id)


@dataclass(frozen=True, slots=True)
class Told:
    """One event for a list or a history. changes: what became of each column; columns: only their names."""

    event: int
    key: str
    op: str
    at: datetime
    version: int | None
    scope: str | None
    who: Who
    table: str = ""
    row_id: UUID | None = None
    columns: tuple[str, ...] = ()
    changes: tuple[Shown, ...] = ()

    @property
    def word(self) -> str:
        """What happened, in a word."""
        return SyncEvent.Op(self.op).label

    @property
    def address(self) -> str:
        """Of the event's page."""
        return reverse("admin:syncing_syncevent_change", args=[self.key])

    @property
    def table_log(self) -> str:
        """The address of what happened to the table's rows; empty for what is no synced table."""
        return log_address(table=self.table) if self.table in declarations() else ""

    @property
    def row_address(self) -> str:
        """Of the row's history."""
        return row_address(self.table, self.row_id) if self.row_id and self.table in declarations() else ""


def log_address(**asked: object) -> str:
    """The address of a search of the log."""
    return f"{reverse(LOG)}?{urlencode({name: str(value) for name, value in asked.items() if value is not None})}"


def row_address(table: str, row_id: object) -> str:
    """The address of a row's history; table: by its public name."""
    return reverse("admin:syncing_syncevent_row", args=[table, row_id])


def public_names() -> dict[str, str]:
    """Public names of tables, by those in the database."""
    return {declaration.db_table: declaration.table for declaration in declarations().values()}


class Cast:
    """Who wrote some events: their names, and what their clients are, by two queries for all of them."""

    def __init__(self, actors: Iterable[Actor]) -> None:
        listed = list(actors)
        users = {actor.user_id for actor in listed if actor.user_id}
        clients = {actor.client_id for actor in listed if actor.client_id}
        found = get_user_model()._default_manager.in_bulk(users) if users else {}
        self._names = {id_: getattr(user, "name", "") or str(user) for id_, user in found.items()}
        agents = SyncClient.objects.filter(client__in=clients).values_list("client", "user_agent") if clients else ()
        self._agents = dict(agents)

    def who(self, actor: Actor) -> Who:
        """One of them."""
        user, client = actor.user_id, actor.client_id
        name = self._names.get(user, f"somebody who is gone ({user})") if user else ""
        agent = agent_name(self._agents.get(client, "")) if client else ""
        return Who(name, user, client, agent, actor.mutation_id, actor.origin or "")


def actor_of(event: SyncEvent) -> Actor:
    """Who wrote an event."""
    return Actor(event.user_id, event.client_id, event.mutation_id, event.origin)


def key_of(event: int, row_id: UUID | None) -> str:
    """The key of an event's page: there is no index by number alone. `7@<row>`, or `7` for a reset of a table."""
    return f"{event}@{row_id}" if row_id else str(event)


def listed(events: Collection[SyncEvent]) -> list[Told]:
    """Events of a search, without values."""
    cast, names = Cast(map(actor_of, events)), public_names()
    return [
        Told(
            event=event.pk,
            key=key_of(event.pk, event.row_id),
            op=event.op,
            at=event.created_at,
            version=event.version,
            scope=event.scope or event.old_scope,
            who=cast.who(actor_of(event)),
            table=names.get(event.table_name, event.table_name),
            row_id=event.row_id,
            columns=tuple(name for name in getattr(event, "columns", None) or () if name not in UNTOLD),
        )
        for event in events
    ]


def told(
    declaration: Declaration, row_id: UUID, entries: Collection[Entry], hidden: Collection[str], whole: bool = False
) -> list[Told]:
    """Entries of a row's history, with what became of each column. whole: of inserts and deletes the row, too."""
    cast = Cast(entry.actor for entry in entries)
    return [
        Told(
            event=entry.event,
            key=key_of(entry.event, row_id),
            op=entry.op,
            at=entry.at,
            version=entry.version,
            scope=entry.scope,
            who=cast.who(entry.actor),
            table=declaration.table,
            row_id=row_id,
            changes=tuple(changes_of(declaration, entry, hidden)) if whole or entry.op == SyncEvent.Op.UPDATE else (),
        )
        for entry in entries
    ]


def changes_of(declaration: Declaration, entry: Entry, hidden: Collection[str]) -> list[Shown]:
    """What became of each column; of an insert and a delete, the row."""
    if entry.op == SyncEvent.Op.UPDATE:
        return [
            presenting.changed(name, type_of(declaration, name), *masked(name, hidden, change.before, change.after))
            for name, change in entry.changes.items()
        ]
    return shown_row(declaration, entry.after if entry.op == SyncEvent.Op.INSERT else entry.before, hidden)


def shown_row(declaration: Declaration, row: Mapping[str, Any] | Row, hidden: Collection[str]) -> list[Shown]:
    """A row, column by column."""
    return [
        presenting.value(name, type_of(declaration, name), *masked(name, hidden, present))
        for name, present in row.items()
    ]


def masked(column: str, hidden: Collection[str], *values: Any) -> tuple[Any, ...]:
    """The values, or what stands for those that the reader may not see."""
    return tuple(HIDDEN for _ in values) if column in hidden else values


def type_of(declaration: Declaration, column: str) -> ColumnType:
    """A column's type; of one that was declared once and is not any more, what shows anything."""
    return declaration.columns.get(column, ColumnType.JSON)


def row_page(request: HttpRequest, declaration: Declaration, row_id: object) -> str:
    """The address of the row's own page in the admin; empty where there is none, or not for this user."""
    model = declaration.model
    page = admin.site._registry.get(model)
    if page is None or not page.has_view_or_change_permission(request):
        return ""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row_id])


def agent_name(user_agent: str) -> str:
    """The browser and the system that a User-Agent names; its beginning where it is none of the usual ones."""
    browsers = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
    systems = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Mac OS": "macOS"}
    browser = next((name for mark, name in browsers.items() if mark in user_agent), "")
    system = next((name for mark, name in (systems | {"Linux": "Linux"}).items() if mark in user_agent), "")
    return " on ".join(filter(None, (browser, system))) or user_agent[:40]


def row_exists(past: RowHistory) -> bool:
    """Whether the row is there now."""
    model: Any = past.declaration.model
    return bool(model._base_manager.filter(pk=past.row_id).exists())
