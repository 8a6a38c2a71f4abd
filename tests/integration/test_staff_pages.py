"""Every page of every model opens for who may look, with few queries, and finds its rows by index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import connection, models
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.models import ApiToken, User
from agents.models import Agent
from agents.services import merge_metrics, record_run
from conversations.models import Message, Session
from conversations.services import add_message
from memory.models import Memory
from projects.models import Collaborator, Project
from syncing.models import PersonalReading, SyncClient
from syncing.staff.rows import TableAdmin
from tests.cast import cast
from tests.factories import AgentFactory, ApiTokenFactory, MemoryFactory, SessionFactory
from tests.factories.syncing import SyncConflictFactory
from tests.integration.staff import address, member, plans, registered

pytestmark = pytest.mark.django_db
#: Queries of a page, those for the browser's session, the person and their rights included.
MOST_QUERIES = 15
TABLES: list[type[models.Model]] = [User, ApiToken, Project, Collaborator, Agent, Session, Message, Memory]
OURS = [*TABLES, Group, PersonalReading, LogEntry]


@pytest.fixture
def world() -> None:
    """Some rows of everything."""
    from datetime import timedelta

    people = cast()
    agent = AgentFactory(created_by=people.bob, project=people.project, name="Careful reviewer")
    for seconds in (3, 5):
        record_run(agent, timedelta(seconds=seconds), succeeded=seconds == 3)
        merge_metrics(agent, {"tokens_used": seconds * 100, "error_rate": 0.5})
    for at in range(12):
        AgentFactory(created_by=people.bob, project=people.project)
        ApiTokenFactory(user=people.bob)
        session = SessionFactory(user=people.alice, project=people.project, agent=agent, title=f"Talk {at}")
        add_message(session, "user", "Why does the chart flicker?")
        calls = [{"id": "1", "name": "read_file", "arguments": {"path": "chart.ts"}}]
        add_message(session, "assistant", "I look into it.", tool_calls=calls)
        MemoryFactory(user=people.bob, key=f"taste-{at}")


@pytest.fixture
def staff() -> Client:
    return member("superuser")


def opened(client: Client, url: str) -> str:
    """The page, which takes few queries."""
    with CaptureQueriesContext(connection) as queries:
        response = client.get(url)
    assert response.status_code == 200, url
    said = "\n".join(query["sql"][:200] for query in queries)
    assert len(queries) <= MOST_QUERIES, f"{len(queries)} queries for {url}:\n{said}"
    return response.content.decode()


@pytest.mark.parametrize("model", OURS)
def test_every_page_opens_with_few_queries(model: type[models.Model], world: None, staff: Client) -> None:
    opened(staff, address(model, "changelist"))
    row = model._default_manager.first()
    if row is None:
        return  # an empty list has been opened; what fills it has a test of its own
    opened(staff, address(model, "change", row.pk))
    opened(staff, address(model, "history", row.pk))
    page = site._registry[model]
    request = RequestFactory().get("/")
    request.user = staff.person
    if page.has_add_permission(request):
        opened(staff, address(model, "add"))
    if page.has_delete_permission(request, row):
        opened(staff, address(model, "delete", row.pk))


def test_no_page_is_left_out_here_or_without_a_section() -> None:
    assert {model for model in registered() if model._meta.app_label != "syncing"} | {PersonalReading} == set(OURS)
    assert not [model for model in registered() if site._registry[model].section not in SECTIONS]


SECTIONS = ("People", "Work", "Conversations", "Sync", "Audit")


def test_an_empty_list_says_what_to_do(staff: Client) -> None:
    for model in (Project, Agent, Session, Memory, ApiToken):
        page = opened(staff, address(model, "changelist"))
        assert site._registry[model].nothing_yet.split("'")[0] in page
    assert "Nothing found" in opened(staff, address(Project, "changelist", q="xylophone"))


def test_nothing_of_django_shows_through(world: None, staff: Client) -> None:
    for url in ("/admin/", address(User, "changelist"), address(Session, "change", Session.objects.first().pk)):
        page = opened(staff, url)
        assert "Django" not in re.sub(r'"/static/[^"]*"', "", page)
        assert "mark.svg" in page


@pytest.mark.parametrize(
    ("model", "term", "found"),
    [
        (User, "alic", "Alice"),
        (Project, "dashbord", "Dashboard"),
        (Collaborator, "vera", "Vera"),
        (Agent, "reviewer", "Careful reviewer"),
        (Session, "talk 11", "Talk 11"),
        (Message, "flicker chart", "Why does the chart flicker?"),
        (Message, "flickre charts", "Why does the chart flicker?"),
        (Memory, "taste", "taste-3"),
    ],
)
def test_words_find_rows(model: type[models.Model], term: str, found: str, world: None, staff: Client) -> None:
    assert found in opened(staff, address(model, "changelist", q=term))
    assert found not in opened(staff, address(model, "changelist", q="xylophone"))


@pytest.mark.parametrize("model", TABLES)
def test_an_id_finds_its_row_and_what_refers_to_it(model: type[models.Model], world: None, staff: Client) -> None:
    row: Any = model._default_manager.first()
    assert str(row.pk) in opened(staff, address(model, "changelist", q=str(row.pk)))
    page = site._registry[model]
    for reference in page.found_by_reference:
        if target := getattr(row, f"{reference}_id"):
            assert str(row.pk) in opened(staff, address(model, "changelist", q=str(target)))


@pytest.mark.parametrize("model", [User, Project, Agent, Session, Message])
def test_rows_are_offered_while_one_types(model: type[models.Model], world: None, staff: Client) -> None:
    places = {User: (Project, "owner"), Project: (Session, "project"), Agent: (Session, "agent")}
    source, field = {**places, Session: (Message, "session"), Message: (Message, "parent")}[model]
    row: Any = model._default_manager.first()
    asked = {"app_label": source._meta.app_label, "model_name": source._meta.model_name, "field_name": field}
    answer = staff.get("/admin/autocomplete/", {**asked, "term": str(row.pk)})
    assert [result["id"] for result in answer.json()["results"]] == [str(row.pk)]


# -- by index ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def indexes_only(world: None) -> None:
    """The planner takes the whole table only where there is no other way."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL jit = off")


OPTIONS = {"expiry": ("over", "ahead"), "tag": ("style",)}
KINDS = {User: ("inactive", "staff"), Agent: ("public",)}


def lists(model: type[models.Model]) -> Iterator[str]:
    """Addresses of the list: by each order, by each filter and each of its choices, by search."""
    page: Any = site._registry[model]
    row: Any = model._default_manager.first()
    yield address(model, "changelist")
    for at, name in enumerate(page.list_display, 1):
        if name in page.sortable_by:
            yield address(model, "changelist", o=at)
            yield address(model, "changelist", o=f"-{at}")
    for item in page.list_filter:
        if not isinstance(item, tuple):
            choices = {**OPTIONS, "kind": KINDS.get(model, ())}[item.parameter_name]
            yield from (address(model, "changelist", **{item.parameter_name: choice}) for choice in choices)
            continue
        name = item[0]
        field = model._meta.get_field(name)
        if isinstance(field, models.ForeignKey):
            yield address(model, "changelist", **{f"{name}__id__exact": getattr(row, field.attname) or row.pk})
        elif isinstance(field, models.BooleanField):
            yield from (address(model, "changelist", **{f"{name}__exact": flag}) for flag in (0, 1))
        elif isinstance(field, models.DateTimeField):
            yield address(model, "changelist", **{f"{name}_from": "2026-01-01"})
        else:
            yield from (address(model, "changelist", **{f"{name}__exact": value}) for value, _ in field.flatchoices)
    yield from (address(model, "changelist", **{lookup: row.pk}) for lookup in page.allowed_lookups if "id" in lookup)
    yield from (address(model, "changelist", q=term) for term in ("flicker", str(row.pk), "bobby"))


@pytest.mark.parametrize("model", TABLES)
def test_no_list_reads_a_whole_table(model: type[models.Model], indexes_only: None, staff: Client) -> None:
    table = model._meta.db_table
    for url in lists(model):
        for plan in plans(staff, url, table):
            assert f"Seq Scan on {table}" not in plan, f"{url}\n{plan}"


def filtered(page: Any) -> set[str]:
    """Fields that the page has a filter for."""
    return {item[0] for item in page.list_filter if isinstance(item, tuple)}


@pytest.mark.parametrize("model", TABLES)
def test_a_list_can_be_asked_for_nothing_else(model: type[models.Model], world: None, staff: Client) -> None:
    page = site._registry[model]
    assert isinstance(page, TableAdmin)
    free = {field.name for field in model._meta.concrete_fields} - filtered(page)
    for name in sorted(free):
        assert staff.get(address(model, "changelist", **{f"{name}__contains": "a"})).status_code == 400


def test_a_list_is_not_counted_to_its_end(world: None, staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from syncing.staff import CappedPaginator

    monkeypatch.setattr(CappedPaginator, "most", 5)
    with CaptureQueriesContext(connection) as queries:
        text = staff.get(address(Message, "changelist")).content.decode()
    assert "5 or more messages" in text
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert counts
    assert all("LIMIT 5" in sql for sql in counts)


# -- what stands below a row -------------------------------------------------------------------------------------------


def test_a_session_is_read_as_a_conversation(world: None, staff: Client) -> None:
    session = Session.objects.get(title="Talk 3")
    page = opened(staff, address(Session, "change", session.pk))
    assert page.index("Why does the chart flicker?") < page.index("I look into it.")
    assert re.search(r"<details>\s*<summary>Calls <code>read_file</code></summary>", page)


def test_a_long_conversation_is_paged(staff: Client) -> None:
    session = SessionFactory()
    Message.objects.bulk_create(Message(session=session, role="user", content=f"said {n}.") for n in range(1, 121))
    first = opened(staff, address(Session, "change", session.pk))
    assert "said 50." in first
    assert "said 51." not in first
    second = opened(staff, address(Session, "change", session.pk, after=50))
    assert "said 51." in second
    assert "said 50." not in second
    assert "said 120." in opened(staff, address(Session, "change", session.pk, after=70))
    assert "said 1." in opened(staff, address(Session, "change", session.pk, after="x"))


def test_an_agents_runs_and_metrics_are_drawn_from_the_log(world: None, staff: Client) -> None:
    page = opened(staff, address(Agent, "change", Agent.objects.get(name="Careful reviewer").pk))
    for title in ("How runs ended", "Runs", "Time of a run", "Tokens used", "Error rate"):
        assert title in page
    assert "well: 1" in page
    assert ": 300</title>" in page
    assert ": 500</title>" in page


def test_a_row_leads_to_what_refers_to_it_and_to_the_log(world: None, staff: Client) -> None:
    project = Project.objects.get(name="Dashboard")
    page = opened(staff, address(Project, "change", project.pk))
    for url in (address(Session, "changelist"), address(Agent, "changelist"), address(Memory, "changelist")):
        assert f"{url}?project__id__exact={project.pk}" in page
    assert f"/admin/syncing/syncevent/?q={project.pk}" in page


def test_no_answer_lets_the_page_run_scripts_of_its_own(world: None, staff: Client) -> None:
    for url in ("/admin/", address(Session, "changelist"), address(Session, "change", Session.objects.first().pk)):
        response = staff.get(url)
        policy = dict(part.split(" ", 1) for part in response["Content-Security-Policy"].split("; "))
        assert policy["script-src"] == "'self' 'unsafe-eval'"
        assert policy["style-src"] == policy["default-src"] == "'self'"
        page = response.content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", page)
        assert not re.search(r"<style", page)
        assert not re.search(r"\son[a-z]+=", page)
    assert "unsafe" not in Client().get("/login/")["Content-Security-Policy"]


def test_the_history_of_a_row_leads_to_the_log_and_a_row_that_is_only_looked_at_has_none(
    world: None, staff: Client
) -> None:
    project = Project.objects.get(name="Dashboard")
    page = opened(staff, address(Project, "history", project.pk))
    assert "Nothing was done to it here" in page
    assert f"/admin/syncing/syncevent/?q={project.pk}" in page
    entry = LogEntry.objects.log_actions(
        staff.person.pk, [project], 2, change_message="looked after", single_object=True
    )
    assert "looked after" in opened(staff, address(Project, "history", project.pk))
    assert f'href="{address(LogEntry, "history", entry.pk)}"' not in opened(
        staff, address(LogEntry, "change", entry.pk)
    )


def test_what_is_kept_of_a_person_goes_with_them(world: None, staff: Client) -> None:
    person = User.objects.get(name="Vera")
    SyncClient.objects.create(client=uuid4(), user=person)
    SyncConflictFactory(user=person)
    page = opened(staff, address(User, "delete", person.pk))
    assert "have permission" not in page
    assert "sync clients: 1" in page.lower()
    assert staff.post(address(User, "delete", person.pk), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=person.pk).exists()


def test_a_group_is_deleted_without_a_list_of_what_it_may(staff: Client) -> None:
    group = Group.objects.get(name="viewer")
    assert "Group_permissions" not in opened(staff, address(Group, "delete", group.pk))
    assert staff.post(address(Group, "delete", group.pk), {"post": "yes"}).status_code == 302
