"""The review of conflicts by staff: the queue, what a page shows, and what becomes of what is decided."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.utils import timezone

from conversations.models import Message, Session
from memory.models import Memory
from syncing.models import SyncConflict, SyncEvent
from tests.cast import Cast
from tests.factories import MemoryFactory, SessionFactory
from tests.factories.syncing import SyncConflictFactory
from tests.reviews import decide, disputed, look, reloaded, url_of
from tests.staff import CONFLICTS, main_of, member, page, signed_in, words
from tests.writing import Device, conflict_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    return signed_in(member("support", name="Sue"))


# -- the queue ---------------------------------------------------------------------------------------------------------


def test_the_queue_begins_with_the_oldest_and_is_asked_by_table_and_for_ones_own(staff: Client) -> None:
    me = staff.get(CONFLICTS).wsgi_request.user
    second = SyncConflictFactory(created_at=timezone.now())
    first = SyncConflictFactory(created_at=timezone.now() - timezone.timedelta(hours=1))
    mine = SyncConflictFactory(table_name="agents", claimed_by=me, created_at=timezone.now())
    decided = SyncConflictFactory(status="resolved", resolution="remote_wins", resolved_at=timezone.now())

    def listed(**query: str) -> list[SyncConflict]:
        return [one for one, _, _ in staff.get(CONFLICTS, query).context["conflicts"]]

    assert listed() == [first, second, mine]
    assert listed(table="agents") == [mine]
    assert listed(mine="1") == [mine]
    assert listed(mine="1", table="memory") == []
    assert listed(decided="1") == [decided]
    assert listed(decided="1", mine="1") == []
    assert listed(table="nonsense") == listed()


def test_the_queue_goes_on_on_the_next_page(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = timezone.now()
    wanted = sorted((SyncConflictFactory(created_at=moment) for _ in range(5)), key=lambda one: one.pk)
    monkeypatch.setattr("syncing.review_queue.Queue.page.__defaults__", (None, 2))
    seen, query = [], {}
    while True:
        context = staff.get(CONFLICTS, query).context
        seen += [one for one, _, _ in context["conflicts"]]
        if context["after"] is None:
            break
        query = {"after": str(context["after"])}
    assert seen == wanted
    assert staff.get(CONFLICTS, {"after": "nonsense"}).status_code == 200


@pytest.mark.parametrize("query", [{}, {"mine": "1"}, {"decided": "1"}, {"table": "agents"}])
def test_an_empty_queue_says_what_it_is_and_where_to_go(query: dict[str, str], staff: Client) -> None:
    assert re.search(r'class="staff-empty">.*<a class="staff-button"', page(staff, CONFLICTS, **query), re.DOTALL)


# -- what a page shows -------------------------------------------------------------------------------------------------


def test_only_what_is_in_dispute_is_asked_and_each_side_is_told_by_what_it_changed(
    people: Cast, bob: Device, staff: Client
) -> None:
    _, kept = disputed(people, bob, description="another one")
    text = page(staff, url_of(kept))
    assert re.findall(r'data-question="(\w+)"', text) == ["title"]
    assert "<span>the </span><del>base</del><ins>server</ins>" in text
    assert "<span>the </span><del>base</del><ins>client</ins>" in text
    assert "Bob wanted to change a row of sessions" in words(text)
    merging = text[text.index("<details") :]
    assert "description" in merging
    assert "another" in merging
    assert '<details class="card settling">' in text


def test_the_page_shows_the_row_as_it_is_and_not_as_it_was_when_the_conflict_came(
    people: Cast, bob: Device, staff: Client
) -> None:
    row, kept = disputed(people, bob)
    before = look(staff, kept)
    Session.objects.filter(pk=row.pk).update(title="the newest")
    text = page(staff, url_of(kept))
    assert "<ins>newest</ins>" in text
    assert "<ins>server</ins>" not in text
    state = staff.get(f"{CONFLICTS}{kept.pk}/state/").json()
    assert state["status"] == "open"
    assert state["look"] == look(staff, kept) != before
    assert reloaded(kept).sync_version == kept.sync_version, "looking writes nothing"


def test_columns_that_the_conflict_is_not_about_do_not_make_the_page_move(
    people: Cast, bob: Device, staff: Client
) -> None:
    row, kept = disputed(people, bob)
    before = look(staff, kept)
    Message.objects.create(session=row, role="user", content="counted")
    assert look(staff, kept) == before


def test_a_page_leads_to_its_neighbours_in_the_queue(staff: Client) -> None:
    one, two, three = (SyncConflictFactory(created_at=timezone.now()) for _ in range(3))
    other = SyncConflictFactory(table_name="agents", created_at=timezone.now())
    context = staff.get(url_of(two)).context
    assert (context["previous"], context["next"]) == (one, three)
    assert staff.get(url_of(three)).context["next"] == other
    assert staff.get(url_of(three), {"table": "memory"}).context["next"] is None


# -- what is decided ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "title", "resolution"),
    [
        ({"title": "server"}, "the server", "remote_wins"),
        ({"title": "client"}, "the client", "local_wins"),
        ({"title": "edit", "value_title": " both of them "}, " both of them ", "manual"),
    ],
)
def test_each_choice_about_a_column(
    choices: dict[str, str], title: str, resolution: str, people: Cast, bob: Device, staff: Client
) -> None:
    row, kept = disputed(people, bob)
    response = decide(staff, kept, reason=" it reads better ", **choices)
    assert response.status_code == 302
    row.refresh_from_db()
    assert row.title == title
    kept = reloaded(kept)
    assert (kept.status, kept.resolution, kept.reason) == ("resolved", resolution, "it reads better")
    assert kept.choices == {"title": choices["title"]}
    assert kept.resolved_by is not None
    assert kept.resolved_by.name == "Sue"
    assert kept.resolved_at is not None
    if title != "the server":
        written = SyncEvent.objects.filter(row_id=row.pk).latest("id")
        assert (written.user_id, written.origin) == (kept.resolved_by.pk, "admin review")
    text = words(page(staff, url_of(kept)))
    assert "By Sue" in text
    assert "it reads better" in text


def test_columns_are_decided_one_by_one_and_what_merges_is_written_along(
    people: Cast, bob: Device, staff: Client
) -> None:
    row = SessionFactory(user=people.alice, project=people.project, title="t", description="d", status="active")
    row.refresh_from_db()
    Session.objects.filter(pk=row.pk).update(title="theirs", status="paused")
    kept = conflict_of(bob.update(row, {"title": "mine", "status": "completed", "description": "of the client"}))
    assert decide(staff, kept, title="server", status="client").status_code == 302
    row.refresh_from_db()
    assert (row.title, row.status, row.description) == ("theirs", "completed", "of the client")
    assert reloaded(kept).choices == {"title": "server", "status": "client"}


def test_a_value_that_is_edited_is_checked_as_the_model_has_it(people: Cast, bob: Device, staff: Client) -> None:
    memory = MemoryFactory(project=people.project, content={"a": 1}, importance=1, tags=["x"])
    memory.refresh_from_db()
    Memory.objects.filter(pk=memory.pk).update(content={"a": 2}, importance=2, type="agent_learning")
    wanted = {"content": {"a": 3}, "importance": 3, "type": "project_state"}
    kept = conflict_of(bob.update(memory, wanted, strategy="manual"))
    edits = {"content": "edit", "importance": "edit", "type": "client"}
    for column, wrong, message in (
        ("content", "{", "not JSON"),
        ("content", "[1]", "is not of type"),
        ("importance", "11", "less than or equal to 10"),
        ("importance", "many", "whole number"),
    ):
        values = {"value_content": '{"a": 4}', "value_importance": "4", f"value_{column}": wrong}
        response = decide(staff, kept, **edits, **values)
        assert response.status_code == 422
        text = main_of(response)
        assert message in text, (column, wrong)
        assert text.count("checked") == 3, "what was chosen stays chosen"
    assert reloaded(kept).status == "open"
    right = {"value_content": '{"a": 1.10, "n": 123456789012345678}', "value_importance": "9"}
    assert decide(staff, kept, **edits, **right).status_code == 302
    memory.refresh_from_db()
    assert (memory.importance, memory.type) == (9, "project_state")
    logged = SyncEvent.objects.filter(row_id=memory.pk).latest("id").after
    assert logged is not None
    assert "1.10" in logged
    assert "123456789012345678" in logged


def test_what_is_wrong_with_a_value_that_nobody_chose_does_not_matter(people: Cast, bob: Device, staff: Client) -> None:
    row, kept = disputed(people, bob)
    assert decide(staff, kept, title="client", value_title="x" * 501).status_code == 302
    row.refresh_from_db()
    assert row.title == "the client"


def test_every_question_takes_an_answer(people: Cast, bob: Device, staff: Client) -> None:
    _, kept = disputed(people, bob)
    response = decide(staff, kept)
    assert response.status_code == 422
    assert "Choose whose value is taken" in words(main_of(response))
    assert decide(staff, kept, title="everybody").status_code == 422
    assert reloaded(kept).status == "open"


def test_a_decision_leads_to_the_next_one_of_the_queue(people: Cast, bob: Device, staff: Client) -> None:
    _, first = disputed(people, bob)
    _, second = disputed(people, bob)
    data = {"look": look(staff, first), "choice_title": "server"}
    response = staff.post(f"{url_of(first)}?table=sessions", data)
    assert response["Location"] == f"{url_of(second)}?table=sessions"
    response = staff.post(url_of(second), {"look": look(staff, second), "choice_title": "server"})
    assert response["Location"].startswith(CONFLICTS)


# -- rows as a whole ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "there"), [("server", True), ("client", False)])
def test_a_row_that_a_client_wanted_to_delete(
    choice: str, there: bool, people: Cast, bob: Device, staff: Client
) -> None:
    row = SessionFactory(user=people.alice, project=people.project, title="base")
    row.refresh_from_db()
    Session.objects.filter(pk=row.pk).update(title="edited")
    kept = conflict_of(bob.delete(row))
    seen = look(staff, kept)
    assert "Delete the row" in page(staff, url_of(kept))
    Session.objects.filter(pk=row.pk).update(description="edited, too")
    assert decide(staff, kept, seen, row="client").status_code == 409, "a delete is of the whole row"
    assert decide(staff, kept, row=choice).status_code == 302
    assert Session.objects.filter(pk=row.pk).exists() is there
    assert reloaded(kept).choices == {"row": choice}


@pytest.mark.parametrize(
    ("choices", "title"),
    [
        ({"row": "server"}, None),
        ({"row": "client", "title": "client"}, "of the client"),
        ({"row": "client"}, "of the client"),
        ({"row": "client", "title": "edit", "value_title": "of both"}, "of both"),
    ],
)
def test_a_row_that_was_deleted_meanwhile(
    choices: dict[str, str], title: str | None, people: Cast, bob: Device, staff: Client
) -> None:
    row = SessionFactory(user=people.alice, project=people.project, title="base", description="kept by the log")
    row.refresh_from_db()
    pk, base = row.pk, row.sync_version
    Session.objects.get(pk=pk).delete()
    row.pk = row.id = pk
    kept = conflict_of(bob.update(row, {"title": "of the client"}, base=base))
    assert "no such row" in words(page(staff, url_of(kept)))
    assert decide(staff, kept, **choices).status_code == 302
    again = Session.objects.filter(pk=pk).first()
    assert (again and (again.title, again.description)) == (title and (title, "kept by the log"))


def test_a_row_whose_reference_is_gone_is_made_with_another(people: Cast, bob: Device, staff: Client) -> None:
    gone = SessionFactory(user=people.alice, project=people.project)
    pk = gone.pk
    gone.delete()
    answer = bob.insert("messages", {"session_id": str(pk), "role": "user", "content": "written offline"})
    kept = conflict_of(answer)
    assert decide(staff, kept, row="client").status_code == 422, "it would point at nothing"
    other = SessionFactory(user=people.alice, project=people.project)
    edit = {"row": "client", "session_id": "edit", "value_session_id": str(other.pk)}
    assert decide(staff, kept, **edit).status_code == 302
    assert Message.objects.get(pk=answer.row_id).session == other


# -- a row that moves, and a reviewer who is faster --------------------------------------------------------------------


def test_a_decision_about_a_row_that_moved_on_writes_nothing_and_keeps_what_was_typed(
    people: Cast, bob: Device, staff: Client
) -> None:
    row, kept = disputed(people, bob)
    seen = look(staff, kept)
    Session.objects.filter(pk=row.pk).update(title="the newest")
    response = decide(staff, kept, seen, title="edit", value_title="what I typed", reason="why I did")
    assert response.status_code == 409
    text = main_of(response)
    assert "The row moved on" in response.content.decode()
    assert "<ins>newest</ins>" in text
    assert "what I typed" in text
    assert "why I did" in text
    row.refresh_from_db()
    assert row.title == "the newest"
    assert reloaded(kept).status == "open"
    new_look = re.search(r'name="look" value="(\w+)"', text)
    assert new_look
    assert decide(staff, kept, new_look[1], title="client").status_code == 302
    row.refresh_from_db()
    assert row.title == "the client"
    assert reloaded(kept).remote == {"title": "the newest"}, "what was decided about is what is kept"


def test_who_is_too_late_is_told_who_decided_and_what(people: Cast, bob: Device, staff: Client) -> None:
    row, kept = disputed(people, bob)
    late = signed_in(member("operator"))
    seen = look(late, kept)
    decide(staff, kept, title="server", reason="it is newer")
    response = decide(late, kept, seen, title="client")
    assert response.status_code == 409
    assert "Sue" in response.content.decode()
    text = words(main_of(response))
    assert "it is newer" in text
    row.refresh_from_db()
    assert row.title == "the server"
    assert reloaded(kept).resolved_by is not None
    assert late.get(f"{CONFLICTS}{kept.pk}/state/").json()["status"] == "resolved"
