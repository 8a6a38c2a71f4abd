"""Many conflicts at once: taken on and given back; decided after a preview, each by itself."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from conversations.models import Session
from syncing.models import SyncConflict
from tests.cast import Cast
from tests.factories import SessionFactory
from tests.factories.syncing import SyncConflictFactory
from tests.reviews import disputed
from tests.staff import CONFLICTS, main_of, member, signed_in, words
from tests.writing import Device, conflict_of

pytestmark = pytest.mark.django_db
MANY = f"{CONFLICTS}many/"


@pytest.fixture
def staff() -> Client:
    return signed_in(member("support", name="Sue"))


def previewed(client: Client, action: str, *conflicts: SyncConflict) -> tuple[str, dict[str, Any]]:
    """The page that shows what would be done, and what its button sends."""
    response = client.post(MANY, {"action": action, "conflict": [str(one.pk) for one in conflicts]})
    assert response.status_code == 200
    text = main_of(response)
    inputs = re.findall(r"<input type=\"hidden\"\s+name=\"(\w[\w-]*)\"\s+value=\"([^\"]*)\"", text)
    data: dict[str, Any] = {name: value for name, value in inputs if name not in ("conflict", "csrfmiddlewaretoken")}
    data["conflict"] = [value for name, value in inputs if name == "conflict"]
    return text, data


def states(*conflicts: SyncConflict) -> list[str]:
    return [SyncConflict.objects.get(pk=one.pk).status for one in conflicts]


@pytest.mark.parametrize(("action", "title"), [("keep", "the server"), ("take", "the client")])
def test_many_are_decided_after_a_preview_that_writes_nothing(
    action: str, title: str, people: Cast, bob: Device, staff: Client
) -> None:
    pairs = [disputed(people, bob) for _ in range(3)]
    conflicts = [kept for _, kept in pairs]
    text, data = previewed(staff, action, *conflicts[:2])
    assert states(*conflicts) == ["open"] * 3
    if action == "take":
        assert text.count("<del>server</del><ins>client</ins>") == 2
    assert staff.post(MANY, {**data, "reason": "all alike"}).status_code == 302
    assert states(*conflicts) == ["resolved", "resolved", "open"]
    assert [Session.objects.get(pk=row.pk).title for row, _ in pairs] == [title, title, "the server"]
    kept = SyncConflict.objects.get(pk=conflicts[0].pk)
    assert kept.reason == "all alike"
    assert kept.choices == {"title": "server" if action == "keep" else "client"}
    assert kept.resolved_by is not None
    assert kept.resolved_by.name == "Sue"


def test_keeping_the_servers_rows_writes_not_even_what_would_merge(people: Cast, bob: Device, staff: Client) -> None:
    row, kept = disputed(people, bob, description="of the client")
    _, data = previewed(staff, "keep", kept)
    staff.post(MANY, data)
    row.refresh_from_db()
    assert (row.title, row.description) == ("the server", "as it was")
    assert states(kept) == ["resolved"]


def test_taking_the_clients_writes_merges_the_rest_deletes_and_makes_rows(
    people: Cast, bob: Device, staff: Client
) -> None:
    merged, first = disputed(people, bob, description="of the client")
    deleted, gone = (SessionFactory(user=people.alice, project=people.project, title="base") for _ in range(2))
    for row in (deleted, gone):
        row.refresh_from_db()
    Session.objects.filter(pk=deleted.pk).update(title="edited")
    second = conflict_of(bob.delete(deleted))
    pk, base = gone.pk, gone.sync_version
    Session.objects.get(pk=pk).delete()
    third = conflict_of(bob.update(gone, {"title": "back"}, base=base))
    text, data = previewed(staff, "take", first, second, third)
    assert "The row is deleted, with all that hangs on it" in text
    assert "The row is made" in text
    staff.post(MANY, data)
    assert states(first, second, third) == ["resolved"] * 3
    merged.refresh_from_db()
    assert (merged.title, merged.description) == ("the client", "of the client")
    assert not Session.objects.filter(pk=deleted.pk).exists()
    assert Session.objects.get(pk=pk).title == "back"


def test_those_that_move_on_or_are_decided_by_others_are_left_and_told(
    people: Cast, bob: Device, staff: Client
) -> None:
    pairs = [disputed(people, bob) for _ in range(3)]
    _, data = previewed(staff, "take", *(kept for _, kept in pairs))
    Session.objects.filter(pk=pairs[1][0].pk).update(title="the newest")
    other = signed_in(member("operator"))
    _, theirs = previewed(other, "keep", pairs[2][1])
    other.post(MANY, theirs)
    response = staff.post(MANY, data, follow=True)
    told = words(response.content.decode())
    assert "1 decided." in told
    assert "1 still open: their rows moved on" in told
    assert "1 had been decided by somebody else" in told
    assert [Session.objects.get(pk=row.pk).title for row, _ in pairs] == ["the client", "the newest", "the server"]


def test_one_that_cannot_be_decided_stops_no_other(people: Cast, bob: Device, staff: Client) -> None:
    gone = SessionFactory(user=people.alice, project=people.project)
    pk = str(gone.pk)
    gone.delete()
    stuck = conflict_of(bob.insert("messages", {"session_id": pk, "role": "user", "content": "offline"}))
    row, kept = disputed(people, bob)
    _, data = previewed(staff, "take", stuck, kept)
    response = staff.post(MANY, data, follow=True)
    assert "could not be decided" in response.content.decode()
    assert states(stuck, kept) == ["open", "resolved"]
    row.refresh_from_db()
    assert row.title == "the client"


def test_conflicts_are_taken_on_and_given_back(staff: Client) -> None:
    one, two = SyncConflictFactory(), SyncConflictFactory()
    version = one.sync_version
    staff.post(MANY, {"action": "claim", "conflict": [str(one.pk)]})
    other = signed_in(member("operator"))
    assert "Sue is on it" in other.get(CONFLICTS).content.decode()
    other.post(MANY, {"action": "release", "conflict": [str(one.pk)]})
    claimed = SyncConflict.objects.get(pk=one.pk)
    assert claimed.claimed_by is not None
    assert claimed.claimed_by.name == "Sue", "nobody gives back what is another's"
    assert claimed.sync_version == version, "browsers need not hear of it"
    response = staff.post(MANY, {"action": "release", "conflict": [str(one.pk)], "stay": "1"})
    assert response["Location"].startswith(f"{CONFLICTS}{one.pk}/change/")
    assert SyncConflict.objects.filter(claimed_by=None).count() == 2
    assert two.claimed_by is None


@pytest.mark.parametrize("data", [{}, {"action": "take"}, {"action": "burn", "conflict": ["x"]}, {"conflict": ["x"]}])
def test_what_makes_no_sense_changes_nothing(data: dict[str, Any], staff: Client) -> None:
    kept = SyncConflictFactory()
    response = staff.post(MANY, data)
    assert response.status_code == 302
    assert states(kept) == ["open"]


@pytest.mark.parametrize("action", ["claim", "release", "keep", "take"])
def test_it_takes_the_permission_to_review(action: str, people: Cast, bob: Device, staff: Client) -> None:
    row, kept = disputed(people, bob)
    _, data = previewed(staff, "take", kept)
    for client in (signed_in(member("viewer")), signed_in(member())):
        assert client.post(MANY, {**data, "action": action}).status_code == 403
        assert client.post(MANY, {"action": action, "conflict": [str(kept.pk)]}).status_code == 403
    row.refresh_from_db()
    assert row.title == "the server"
    assert states(kept) == ["open"]
