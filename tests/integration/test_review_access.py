"""Who may look at conflicts, decide them, and read what people wrote in them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from memory.models import Memory
from syncing.models import PersonalReading, SyncEvent
from tests.cast import Cast
from tests.factories import MemoryFactory, UserFactory
from tests.reviews import decide, disputed, look, reloaded, url_of
from tests.staff import CONFLICTS, member, page, signed_in
from tests.writing import Device, conflict_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    return signed_in(member("support", name="Sue"))


def test_looking_changes_nothing(people: Cast, bob: Device, staff: Client) -> None:
    _, kept = disputed(people, bob)
    before = SyncEvent.objects.count()
    for url in (CONFLICTS, url_of(kept), f"{CONFLICTS}{kept.pk}/state/", f"{CONFLICTS}many/?action=take"):
        staff.get(url, {"choice_title": "client", "action": "take", "conflict": str(kept.pk), "confirmed": "1"})
    assert SyncEvent.objects.count() == before
    assert reloaded(kept).status == "open"


@pytest.mark.parametrize(
    ("group", "looks", "decides"),
    [("viewer", 200, 403), ("support", 200, 302), ("operator", 200, 302), (None, 403, 403), ("ordinary", 302, 302)],
)
def test_each_page_and_each_decision_asks_who_one_is(
    group: str | None, looks: int, decides: int, people: Cast, bob: Device, staff: Client
) -> None:
    row, kept = disputed(people, bob)
    seen = look(staff, kept)
    client = signed_in(UserFactory() if group == "ordinary" else member(group))
    for url in (CONFLICTS, url_of(kept), f"{CONFLICTS}{kept.pk}/state/"):
        assert client.get(url).status_code == looks, url
    assert decide(client, kept, seen, title="client").status_code == decides
    row.refresh_from_db()
    may = group in ("support", "operator")
    assert row.title == ("the client" if may else "the server")
    assert reloaded(kept).status == ("resolved" if may else "open")


def test_who_may_only_look_is_offered_nothing_to_send(people: Cast, bob: Device) -> None:
    _, kept = disputed(people, bob)
    text = page(signed_in(member("viewer")), url_of(kept))
    assert 'type="radio"' not in text
    assert "takes the permission" in text


def test_who_may_not_read_what_people_wrote_decides_without_reading(people: Cast, bob: Device) -> None:
    memory = MemoryFactory(project=people.project, summary="a secret base")
    memory.refresh_from_db()
    Memory.objects.filter(pk=memory.pk).update(summary="a secret server")
    kept = conflict_of(bob.update(memory, {"summary": "a secret client"}, strategy="manual"))
    user = member("viewer")
    user.user_permissions.add(Permission.objects.get(codename="review_conflicts"))
    client = signed_in(user)
    text = page(client, url_of(kept))
    assert "secret" not in text
    assert "masked" in text
    assert 'value="edit"' not in text
    seen = look(client, kept)
    response = decide(client, kept, seen, summary="edit", value_summary="a guess")
    assert response.status_code == 422
    assert "secret" not in response.content.decode()
    many = client.post(f"{CONFLICTS}many/", {"action": "take", "conflict": str(kept.pk)})
    assert "secret" not in many.content.decode()
    assert not PersonalReading.objects.exists()
    assert decide(client, kept, seen, summary="client").status_code == 302
    memory.refresh_from_db()
    assert memory.summary == "a secret client"
    assert "secret" not in page(client, url_of(kept))


def test_reading_what_people_wrote_in_a_conflict_is_kept(people: Cast, bob: Device, staff: Client) -> None:
    memory = MemoryFactory(project=people.project, summary="base")
    memory.refresh_from_db()
    Memory.objects.filter(pk=memory.pk).update(summary="server")
    kept = conflict_of(bob.update(memory, {"summary": "client"}, strategy="manual"))
    page(staff, url_of(kept))
    (reading,) = PersonalReading.objects.all()
    assert (reading.table_name, reading.page, reading.row_ids) == ("memory", "conflict", [memory.pk])


def test_a_conflict_that_is_not_there_leads_back_to_the_queue(staff: Client) -> None:
    for key in ("01890000-0000-7000-8000-000000000001", "x"):
        response = staff.get(f"{CONFLICTS}{key}/change/", follow=True)
        assert response.redirect_chain == [(CONFLICTS, 302)]
    assert staff.get(f"{CONFLICTS}01890000-0000-7000-8000-000000000001/state/").status_code == 404
