"""The log in the admin: what is found, what an event and a history tell, how a row was, and who may see it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

import syncing
from memory.models import Memory
from syncing import log_admin
from syncing.models import PersonalReading, SyncEvent
from tests.factories import AgentFactory, MemoryFactory, MessageFactory, SessionFactory, UserFactory
from tests.staff import LOG, member, page, signed_in, words

pytestmark = pytest.mark.django_db


@pytest.fixture
def support() -> Client:
    return signed_in(member("support"))


@pytest.fixture
def viewer() -> Client:
    return signed_in(member("viewer"))


def history_of(row: Memory) -> str:
    return f"{LOG}row/{row._meta.db_table}/{row.pk}/"


def event_of(row: object, op: str = "U") -> str:
    event = SyncEvent.objects.filter(row_id=row, op=op).latest("id")
    return f"{LOG}{event.pk}@{event.row_id}/change/"


# -- the list ----------------------------------------------------------------------------------------------------------


def test_the_log_says_who_did_what_to_which_row_and_from_where(support: Client) -> None:
    alice = UserFactory(name="Alice")
    with syncing.acting(user=alice, origin="psql"):
        session = SessionFactory(title="first")
        session.title = "second"
        session.save()
    text = page(support, LOG, row=str(session.pk))
    assert text.count(f"/row/sessions/{session.pk}/") == 3  # two events, and the way to the history
    assert re.search(r"update sessions Alice psql [0-9a-f-]{36} title", words(text))
    assert "insert sessions Alice psql" in words(text)


def test_it_is_filtered_by_each_thing_and_by_all_together(support: Client) -> None:
    alice, bob = UserFactory(), UserFactory()
    client = "01890000-0000-7000-8000-00000000000a"
    with syncing.acting(user=alice, client=client):
        hers = AgentFactory()
    with syncing.acting(user=bob):
        his = AgentFactory()
    hers.refresh_from_db()
    hers.name = "renamed"
    hers.save()
    xid = SyncEvent.objects.filter(row_id=hers.pk).latest("id").xid

    def found(**query: str) -> tuple[int, int]:
        text = page(support, LOG, table="agents", **query)
        return text.count(f"/row/agents/{hers.pk}/"), text.count(f"/row/agents/{his.pk}/")

    assert found() == (2, 1)
    assert found(op="I") == (1, 1)
    assert found(op="U") == (1, 0)
    assert found(op="D") == (0, 0)
    assert found(user=alice.email.upper()) == (1, 0)
    assert found(user=str(bob.pk)) == (0, 1)
    assert found(client=client) == (1, 0)
    assert found(client=client, user=bob.email) == (0, 0)
    assert found(xid=str(xid)) == (2, 1)  # the test's own transaction
    assert found(xid="1") == (0, 0)
    assert found(row=str(his.pk)) == (0, 1 + 1)  # and the way to its history
    assert found(q=str(his.pk)) == (0, 1 + 1)  # as other pages ask for it
    later = f"{timezone.now() + timedelta(hours=1):%Y-%m-%dT%H:%M}"
    assert found(until=later) == (2, 1)
    assert found(since=later) == (0, 0)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"row": "x"}, "valid UUID"),
        ({"user": "nobody@example.org"}, "Nobody has this e-mail address"),
        ({"table": "passwords"}, "not one of the available choices"),
        ({"since": "yesterday"}, "Enter a valid date"),
        ({"before": "1"}, None),
    ],
)
def test_what_cannot_be_searched_for_says_so_and_finds_nothing(
    query: dict[str, str], message: str | None, support: Client
) -> None:
    MessageFactory()
    text = words(page(support, LOG, **query))
    assert "Not searched" in text
    assert message is None or message in text


def test_an_empty_search_says_what_to_do(support: Client) -> None:
    MessageFactory()
    text = page(support, LOG, table="agents", op="D")
    assert "Nothing found" in text
    assert f'href="{LOG}"' in text


# -- an event ----------------------------------------------------------------------------------------------------------


def test_an_event_shows_a_text_by_words_json_by_path_and_a_list_by_items(support: Client) -> None:
    memory = MemoryFactory(
        summary="Deploys go out on Tuesday.", content={"checks": {"lint": True, "tests": "fast"}}, tags=["a", "b"]
    )
    memory.summary = "Deploys go out on Monday."
    memory.content = {"checks": {"lint": True, "tests": "all"}}
    memory.tags = ["b", "c"]
    memory.importance = 9
    memory.save()
    text = page(support, event_of(memory.pk))
    assert "<span>Deploys go out on </span><del>Tuesday.</del><ins>Monday.</ins>" in text
    assert re.search(
        r'<span class="path">checks › tests</span>\s*<span class="pieces"><del>fast</del><ins>all</ins>', text
    )
    assert "<del>a</del><span>b</span><ins>c</ins>" in text
    assert "<del>5</del><ins>9</ins>" in text
    assert "lint" not in text


def test_an_event_leads_to_its_row_and_to_the_events_beside_it(support: Client) -> None:
    memory = MemoryFactory()
    for summary in ("one", "two"):
        memory.summary = summary
        memory.save()
    first, second, third = SyncEvent.objects.filter(row_id=memory.pk).order_by("id")
    text = page(support, f"{LOG}{second.pk}@{memory.pk}/change/")
    links = re.findall(r'href="([^"]+)"', text)
    for link in (
        f"/admin/memory/memory/{memory.pk}/change/",
        history_of(memory),
        f"{LOG}{first.pk}@{memory.pk}/change/",
        f"{LOG}{third.pk}@{memory.pk}/change/",
        f"{LOG}?xid={second.xid}",
    ):
        assert link in links
        assert support.get(link).status_code == 200


def test_a_reset_of_a_table_has_a_page_too(support: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT syncing.log_reset('memory')")
    event = SyncEvent.objects.filter(op="R").latest("id")
    assert "reset of memory" in words(page(support, f"{LOG}{event.pk}/change/"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT syncing.log_reset('of_the_engine')")
    event = SyncEvent.objects.filter(op="R").latest("id")
    assert "browsers hold nothing" in words(page(support, f"{LOG}{event.pk}/change/"))
    assert "table=of_the_engine" not in page(support, LOG)


@pytest.mark.parametrize(
    "key", ["0", "x", "1@x", "999999999999@01890000-0000-7000-8000-000000000001", "9" * 30, "7@", "@"]
)
def test_an_event_that_is_not_there_leads_back_to_the_log(key: str, support: Client) -> None:
    response = support.get(f"{LOG}{key}/change/", follow=True)
    assert response.redirect_chain == [(LOG, 302)]
    assert "not in the log" in response.content.decode()


def test_what_people_wrote_is_never_markup(support: Client) -> None:
    nasty = "<img src=x onerror=alert(1)> <script>alert(2)</script>"
    memory = MemoryFactory(summary="plain", content={"a": "x"}, key=nasty)
    memory.summary, memory.content, memory.tags = nasty, {nasty: nasty}, [nasty]
    memory.save()
    for url in (event_of(memory.pk), event_of(memory.pk, "I"), history_of(memory)):
        text = page(support, url)
        assert "<img" not in text
        assert "<script>alert" not in text
        assert "&lt;img src=x" in text


# -- a row's history ---------------------------------------------------------------------------------------------------


def test_a_history_is_told_from_the_last_thing_to_the_first(support: Client) -> None:
    alice = UserFactory(name="Alice")
    memory = MemoryFactory(summary="one")
    with syncing.acting(user=alice, origin="web"):
        memory.summary = "two"
        memory.save()
    pk = memory.pk
    memory.delete()
    text = words(page(support, f"{LOG}row/memory/{pk}/"))
    assert re.search(r"delete .* update .* Alice web .* one two insert", text)
    assert "from its beginning" in text


def test_a_history_goes_on_on_the_next_page(monkeypatch: pytest.MonkeyPatch, support: Client) -> None:
    monkeypatch.setattr(log_admin, "PAGE", 2)
    memory = MemoryFactory(summary="0")
    for number in range(1, 4):
        memory.summary = str(number)
        memory.save()
    seen, url = [], history_of(memory)
    while url:
        text = page(support, url)
        seen += re.findall(r"<ins>(\d)</ins>", text)
        older = re.search(r'href="(\?before=\d+)"', text)
        url = history_of(memory) + older[1] if older else ""
    assert seen == ["3", "2", "1"]


def test_a_row_is_shown_as_it_was(support: Client) -> None:
    memory = MemoryFactory(summary="before", importance=3)
    moment = SyncEvent.objects.get(row_id=memory.pk).created_at
    memory.summary, memory.importance = "after", 8
    memory.save()
    text = page(support, history_of(memory), at=moment.strftime("%Y-%m-%dT%H:%M:%S.%f"))
    was = words(text[text.index('id="as-of"') : text.index('class="history"')])
    assert "summary before" in was
    assert "importance 3" in was
    assert "after" not in was
    earlier = page(support, history_of(memory), at="2020-01-01T00:00")
    assert "There was no such row at that moment" in words(earlier)
    assert "Enter a valid date" in words(page(support, history_of(memory), at="noon"))


def test_it_says_how_far_back_the_log_reaches(support: Client) -> None:
    memory = MemoryFactory(summary="one")
    memory.summary = "two"
    memory.save()
    SyncEvent.objects.filter(row_id=memory.pk, op="I")._raw_delete("default")
    text = words(page(support, history_of(memory), at="2020-01-01T00:00"))
    assert "The log reaches back to" in text
    assert "The log cannot tell" in text


def test_a_row_with_very_many_entries_is_not_walked_back(monkeypatch: pytest.MonkeyPatch, support: Client) -> None:
    monkeypatch.setattr(log_admin, "LONGEST_WALK", 2)
    memory = MemoryFactory()
    for summary in "ab":
        memory.summary = summary
        memory.save()
    assert "more than a page goes back" in words(page(support, history_of(memory), at="2020-01-01T00:00"))


def test_a_history_in_no_table_of_ours_is_not_found(support: Client) -> None:
    assert support.get(f"{LOG}row/nothing/01890000-0000-7000-8000-000000000001/").status_code == 404


def test_a_row_that_never_was_has_no_history(support: Client) -> None:
    assert support.get(f"{LOG}row/memory/01890000-0000-7000-8000-000000000001/").status_code == 404


# -- who may see what --------------------------------------------------------------------------------------------------


def test_who_may_not_read_what_people_wrote_sees_that_it_changed_and_not_what(viewer: Client) -> None:
    memory = MemoryFactory(summary="the secret", content={"the": "secret"}, importance=3)
    moment = SyncEvent.objects.get(row_id=memory.pk).created_at
    memory.summary, memory.importance = "another secret", 4
    memory.save()
    pages = [event_of(memory.pk), event_of(memory.pk, "I"), history_of(memory)]
    texts = [page(viewer, url) for url in pages]
    texts.append(page(viewer, history_of(memory), at=moment.strftime("%Y-%m-%dT%H:%M:%S.%f")))
    for text in texts:
        assert "secret" not in text
        assert "masked" in text
    assert "<del>3</del><ins>4</ins>" in texts[0]
    assert not PersonalReading.objects.exists()


def test_what_a_conflict_in_the_log_says_of_a_row_is_masked_like_the_row(viewer: Client) -> None:
    from tests.factories.syncing import SyncConflictFactory

    conflict = SyncConflictFactory(local={"summary": "the secret"})
    assert "secret" not in page(viewer, event_of(conflict.pk, "I"))


def test_reading_what_people_wrote_is_kept(support: Client) -> None:
    memory = MemoryFactory()
    page(support, event_of(memory.pk, "I"))
    page(support, history_of(memory))
    assert [(one.table_name, one.page, one.row_ids) for one in PersonalReading.objects.order_by("pk")] == [
        ("memory", "event", [memory.pk]),
        ("memory", "history", [memory.pk]),
    ]


@pytest.mark.parametrize(
    ("group", "status"), [("viewer", 200), ("support", 200), ("operator", 200), (None, 403), ("ordinary", 302)]
)
def test_each_page_asks_who_one_is(group: str | None, status: int) -> None:
    client = signed_in(UserFactory() if group == "ordinary" else member(group))
    memory = MemoryFactory()
    for url in (LOG, event_of(memory.pk, "I"), history_of(memory)):
        response = client.get(url)
        assert response.status_code in (status, 403 if group == "ordinary" else status), url
        assert response.status_code == 200 or str(memory.pk) not in response.content.decode()


def test_nothing_in_the_log_is_added_changed_or_deleted_by_hand() -> None:
    client = signed_in(UserFactory(is_staff=True, is_superuser=True))
    memory = MemoryFactory()
    event = event_of(memory.pk, "I")
    assert client.get(f"{LOG}add/").status_code == 403
    assert client.post(event, {"op": "D"}).status_code == 403
    assert client.post(event.replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert SyncEvent.objects.filter(row_id=memory.pk).count() == 1
