"""Access: grants moved on by events are the grants that a query would read, at every step."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from syncing.access import Access, AccessTable, access_of_rows, granting_tables
from syncing.declarations import declarations
from syncing.log import Event
from syncing.matching import RowEvent
from syncing.values import ColumnType

USERS = ["u1", "u2", "u3"]
TRACKED = ["u1", "u2"]
#: Granting tables and the column of each that names a user.
GRANTING = {declaration.db_table: grant.user for declaration in declarations().values() for grant in declaration.grants}
#: (table, row id) → (user, scope)
World = dict[tuple[str, str], tuple[str, str]]


def change(was: tuple[str, str] | None, now: tuple[str, str] | None, table: str, row_id: str) -> RowEvent:
    """The event of a granting row that named `was` = (user, scope) and now names `now`."""
    column = GRANTING[table]
    op = "I" if was is None else "D" if now is None else "U"
    after, before = (json.dumps({column: one[0]}) if one else None for one in (now, was))
    keys = None
    if was and now and was == now:
        after, before, keys = "{}", "{}", after
    event = Event(
        0, table, op, row_id, 1, now[1] if now else None, was[1] if was else None, after, before, keys, 0.0
    )  # fmt: skip
    return RowEvent(event, {column: ColumnType.UUID})


def scopes_read(world: World, user: str) -> frozenset[str]:
    """What a query would say."""
    return frozenset({"public", f"u:{user}", *(scope for one, scope in world.values() if one == user)})


def grants(world: World, users: list[str]) -> Mapping[str, Access]:
    rows = [
        (table, row_id, GRANTING[table], user, scope)
        for (table, row_id), (user, scope) in world.items()
        if user in users
    ]
    return access_of_rows(users, rows)


PLACES = st.tuples(st.sampled_from(sorted(GRANTING)), st.sampled_from(["r1", "r2", "r3"]))
ROWS = st.tuples(st.sampled_from(USERS), st.sampled_from(["p:1", "p:2"]))
BATCHES = st.lists(st.lists(st.tuples(PLACES, st.none() | ROWS), max_size=5), max_size=6)


def log_of(world: World, batch: list[tuple[tuple[str, str], tuple[str, str] | None]]) -> list[RowEvent]:
    """Applies the batch to the world; gives what is logged of it."""
    log = []
    for place, now in batch:
        was = world.get(place)
        if was is None and now is None:
            continue
        log.append(change(was, now, *place))
        if now is None:
            del world[place]
        else:
            world[place] = now
    return log


@given(batches=BATCHES, before=st.dictionaries(PLACES, ROWS))
def test_grants_moved_by_events_are_the_grants_that_a_query_reads(batches: list, before: World) -> None:
    world = dict(before)
    table = AccessTable()
    for access in grants(world, TRACKED).values():
        table.track(access, [])
    for batch in batches:
        old = {user: scopes_read(world, user) for user in TRACKED}
        told = table.move(log_of(world, batch))
        new = {user: scopes_read(world, user) for user in TRACKED}
        assert {user: table.scopes(user) for user in TRACKED} == new
        # Only the ends of a batch count.
        assert told == {user: (old[user], new[user]) for user in TRACKED if old[user] != new[user]}


@given(batches=BATCHES, before=st.dictionaries(PLACES, ROWS), late=st.integers(0, 6))
def test_who_is_tracked_late_is_brought_forward_by_what_happened_since(batches: list, before: World, late: int) -> None:
    world = dict(before)
    table = AccessTable()
    read: Mapping[str, Access] = {}
    since: list[RowEvent] = []
    for at, batch in enumerate([*batches, []]):
        if at == min(late, len(batches)):
            read = grants(world, ["u1"])
        log = log_of(world, batch)
        table.move(log)
        if read:
            since.extend(log)
    table.track(read["u1"], since)
    assert table.scopes("u1") == scopes_read(world, "u1")


def test_a_scope_that_two_rows_give_is_held_until_both_are_gone() -> None:
    first, second = (("collaborators", row) for row in ("r1", "r2"))
    world: World = {first: ("u1", "p:1"), second: ("u1", "p:1")}
    table = AccessTable()
    table.track(grants(world, ["u1"])["u1"], [])
    assert table.move(log_of(world, [(first, None)])) == {}
    assert "p:1" in table.scopes("u1")
    before, after = table.move(log_of(world, [(second, None)]))["u1"]
    assert before - after == {"p:1"}


def test_everyone_reads_what_is_public_and_their_own() -> None:
    assert Access("u1").scopes == {"public", "u:u1"}


def test_a_user_who_is_forgotten_is_not_told_of() -> None:
    table = AccessTable()
    table.track(Access("u1"), [])
    assert "u1" in table
    table.forget("u1")
    assert "u1" not in table
    assert table.move([change(None, ("u1", "p:1"), "collaborators", "r1")]) == {}
    table.track(Access("u1"), [])
    table.forget_all()
    assert "u1" not in table


def test_projects_and_collaborators_grant() -> None:
    assert granting_tables() == {"projects", "collaborators"} == set(GRANTING)
