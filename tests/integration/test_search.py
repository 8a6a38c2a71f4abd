"""Full-text search: ranked, highlighted, forgiving, by index, and only what one may read."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from projects.models import Project
from syncing import highlight_html
from syncing.search import END, FOUND
from tests.cast import cast
from tests.factories.accounts import UserFactory
from tests.factories.projects import ProjectFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def shelf() -> dict[str, Project]:
    owner = UserFactory()
    texts = {
        "React dashboard": "Charts for the sales team.",
        "Billing": "Invoices; its front end uses React and reactive streams in one dashboard of many.",
        "Compiler": "A parser and a code generator in Rust.",
        "Old dashboard": "Charts made with jQuery.",
    }
    return {name: ProjectFactory(owner=owner, name=name, description=text) for name, text in texts.items()}


def names(text: str, user: Any = None) -> list[str]:
    return [project.name for project in Project.objects.search(text, user)]


def test_hits_in_the_name_come_first(shelf: dict[str, Project]) -> None:
    assert names("react dashboard") == ["React dashboard", "Billing"]
    ranks = [project.rank for project in Project.objects.search("react")]
    assert ranks == sorted(ranks, reverse=True)
    assert min(ranks) >= 1


def test_words_are_found_in_other_forms(shelf: dict[str, Project]) -> None:
    assert names("parsers generators") == ["Compiler"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"code generator"', {"Compiler"}),
        ('"generator code"', set()),
        ("dashboard -jquery -invoices", {"React dashboard"}),
        ("rust or jquery", {"Compiler", "Old dashboard"}),
    ],
)
def test_search_is_understood_as_on_the_web(shelf: dict[str, Project], text: str, found: set[str]) -> None:
    exact = {project.name for project in Project.objects.search(text) if project.rank >= 1}
    assert exact == found


@pytest.mark.parametrize("text", ["dashbord", "dashboardd", "dasboard", "dahsboard"])
def test_a_typo_is_forgiven(shelf: dict[str, Project], text: str) -> None:
    found = names(text)
    assert {"React dashboard", "Old dashboard"} <= set(found)
    assert "Compiler" not in found


def test_similar_words_follow_exact_hits(shelf: dict[str, Project]) -> None:
    ProjectFactory(name="Dashbord", description="misspelt")
    found = list(Project.objects.search("dashbord"))
    assert found[0].name == "Dashbord"
    assert found[0].rank >= 1
    assert all(project.rank < 1 for project in found[1:])
    assert len(found) > 1


def test_when_there_are_enough_hits_no_similar_ones_are_added(shelf: dict[str, Project]) -> None:
    ProjectFactory(name="Dashbord")
    assert "Dashbord" not in names("dashboard")


@pytest.mark.parametrize("text", ["", "  ", "the", "-", '"', "'", "-react", "!!", "a & | !", "\\", "%", "_"])
def test_what_says_nothing_does_no_harm(shelf: dict[str, Project], text: str) -> None:
    assert len(names(text)) <= len(shelf)
    assert text != "" or names(text) == []


def test_a_highlight_cannot_bring_markup_along() -> None:
    text = f"<script>alert(1)</script> {FOUND}trap{END} panel & <b>panel</b> <img src=x & panel"
    ProjectFactory(name="Panel", description=text)
    html = highlight_html(Project.objects.search("panel").get().highlight)
    assert "<mark>Panel</mark>" in html
    assert "<script>" not in html
    assert "<b>" not in html
    assert "<img" not in html
    assert "&lt;img" in html
    assert "&amp;" in html
    assert "<mark>trap" not in html
    assert html.count("<mark>") == html.count("</mark>")


def test_only_what_one_may_read_is_found() -> None:
    people = cast()
    assert names("dashboard", people.vera) == ["Dashboard"]
    assert names("dashboard", people.mallory) == []
    assert names("dashbord", people.mallory) == []


def test_search_goes_on_from_other_verbs(shelf: dict[str, Project]) -> None:
    Project.objects.filter(name="Billing").update(is_archived=True)
    found = Project.objects.active().search("react", shelf["Billing"].owner)
    assert [project.name for project in found] == ["React dashboard"]


def test_the_index_follows_whoever_writes(shelf: dict[str, Project]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE projects SET description = 'zeppelin' WHERE name = 'Compiler'")
    assert names("zeppelins") == ["Compiler"]


def test_a_text_of_many_words_is_stored_and_found_by_its_beginning() -> None:
    words = " ".join(f"word{number}" for number in range(200_000))
    ProjectFactory(name="Words", description=f"zeppelin {words} submarine")
    assert names("zeppelin") == ["Words"]


def test_a_row_is_loaded_without_its_vector(shelf: dict[str, Project]) -> None:
    assert Project.objects.get(name="Compiler").search is None


def test_the_threshold_of_the_session_is_put_back(shelf: dict[str, Project]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL pg_trgm.word_similarity_threshold = 0.77")
        names("dashbord")
        cursor.execute("SHOW pg_trgm.word_similarity_threshold")
        assert cursor.fetchone() == ("0.77",)


def test_both_ways_of_looking_use_an_index(shelf: dict[str, Project]) -> None:
    owner = shelf["Billing"].owner
    Project.objects.bulk_create(
        Project(name=f"Number {number}", description=f"word{number} " * 20, owner=owner) for number in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE projects")
        cursor.execute("SET LOCAL enable_seqscan = off")  # the question is whether it can, not what the planner guesses
        assert "projects_search" in Project.objects.search("dashboard").explain()
        cursor.execute("SET LOCAL enable_seqscan = on")
    explaining = Explaining()
    with connection.execute_wrapper(explaining):
        list(Project.objects.search("zeppelin"))
    similar = [plan for sql, plan in explaining.plans if "%>" in sql]
    assert similar
    assert all("trigrams" in plan and "Seq Scan" not in plan for plan in similar)


class Explaining:
    """Keeps the plan of each SELECT as it is about to run."""

    def __init__(self) -> None:
        self.plans: list[tuple[str, str]] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.startswith("SELECT") and "projects" in sql:
            execute(f"EXPLAIN {sql}", params, many, context)
            self.plans.append((sql, "\n".join(row[0] for row in context["cursor"].fetchall())))
        return execute(sql, params, many, context)
