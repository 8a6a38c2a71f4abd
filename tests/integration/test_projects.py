"""Projects and collaborators: the owner's place, names kept by the database, archive, transfer, access."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from projects import services, signals
from projects.access import can_edit, can_manage, role_of
from projects.models import Collaborator, Project
from projects.rules import AlreadyCollaborator, NameMissing, OwnerStays, UnknownRole, UnknownStatus
from projects.services import NotCollaborator
from syncing import translated
from tests.cast import Cast, cast
from tests.connections import at_once
from tests.factories.accounts import UserFactory
from tests.factories.projects import CollaboratorFactory, ProjectFactory

pytestmark = pytest.mark.django_db


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """What psql would do."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else []


def roles(project: Project) -> dict[str, str]:
    return dict(Collaborator.objects.filter(project=project).values_list("user_name", "role"))


def settle() -> None:
    """What a commit would check."""
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    sql("SET CONSTRAINTS ALL DEFERRED")


def test_a_plain_sql_insert_gets_every_default_and_its_owner() -> None:
    alice = UserFactory(name="Alice")
    sql("INSERT INTO projects (name, owner_id) VALUES ('Dashboard', %s)", alice.pk)
    project = Project.objects.get()
    assert (project.status, project.is_archived, project.settings, project.total_sessions) == ("active", False, {}, 0)
    assert project.scope == f"p:{project.pk}"
    assert roles(project) == {"Alice": "admin"}


def test_many_projects_at_once_get_their_owners() -> None:
    owners = UserFactory.create_batch(3)
    Project.objects.bulk_create(Project(name=owner.name, owner=owner) for owner in owners)
    assert Collaborator.objects.filter(role="admin").count() == 3


def test_names_and_avatars_follow_the_person(people: Cast) -> None:
    assert roles(people.project) == {"Alice": "admin", "Bob": "editor", "Vera": "viewer"}
    people.bob.name, people.bob.avatar_url = "Robert", "https://example.org/r.png"
    people.bob.save()
    row = Collaborator.objects.get(user=people.bob)
    assert (row.user_name, row.user_avatar_url) == ("Robert", "https://example.org/r.png")


def test_nobody_writes_another_name_into_a_collaborator(people: Cast) -> None:
    sql("UPDATE collaborators SET user_name = 'Eve'")
    assert roles(people.project) == {"Alice": "admin", "Bob": "editor", "Vera": "viewer"}


@pytest.mark.django_db(transaction=True)
def test_a_person_renamed_while_joining_has_the_new_name() -> None:
    user = UserFactory(name="Old")
    projects = ProjectFactory.create_batch(6)

    def rename() -> None:
        with transaction.atomic():
            user.name = "New"
            user.save()

    at_once(rename, *(lambda project=project: services.add_collaborator(project, user) for project in projects))
    assert list(Collaborator.objects.filter(user=user).values_list("user_name", flat=True)) == ["New"] * 6


def test_the_owner_is_neither_removed_nor_demoted(people: Cast) -> None:
    with pytest.raises(OwnerStays):
        services.remove_collaborator(people.project, people.alice)
    with pytest.raises(OwnerStays):
        services.change_role(people.project, people.alice, "editor")
    assert roles(people.project)["Alice"] == "admin"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM collaborators WHERE user_id = %s",
        "UPDATE collaborators SET role = 'viewer' WHERE user_id = %s",
        "UPDATE collaborators SET user_id = (SELECT id FROM users WHERE name = 'Mallory') WHERE user_id = %s",
    ],
)
def test_the_database_keeps_the_owner_whoever_writes(people: Cast, statement: str) -> None:
    def write() -> None:
        with translated():
            sql(statement, people.alice.pk)
            settle()

    with pytest.raises(OwnerStays):
        write()
    assert roles(people.project)["Alice"] == "admin"


def test_who_owns_nothing_any_more_may_go(people: Cast) -> None:
    services.transfer_ownership(people.project, people.bob)
    assert roles(people.project) == {"Alice": "admin", "Bob": "admin", "Vera": "viewer"}
    services.remove_collaborator(people.project, people.alice)
    settle()
    assert roles(people.project) == {"Bob": "admin", "Vera": "viewer"}


def test_a_project_is_given_to_someone_outside_and_left(people: Cast) -> None:
    services.transfer_ownership(people.project, people.mallory, leave=True)
    settle()
    assert people.project.owner == people.mallory
    assert roles(people.project) == {"Bob": "editor", "Mallory": "admin", "Vera": "viewer"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_", range(5))
def test_a_demotion_at_the_moment_of_a_transfer_does_not_leave_an_owner_without_rights(_: int) -> None:
    people = cast()
    CollaboratorFactory(project=people.project, user=people.mallory, role="admin")

    def demote() -> None:
        try:
            with transaction.atomic():
                Collaborator.objects.filter(user=people.mallory).update(role="viewer")
        except IntegrityError:
            pass  # the transfer came first

    at_once(demote, lambda: Project.objects.filter(pk=people.project.pk).update(owner=people.mallory))
    assert roles(people.project)["Mallory"] == "admin"


def test_a_whole_project_can_be_deleted(people: Cast) -> None:
    people.project.delete()
    settle()
    assert not Collaborator.objects.exists()


def test_who_owns_projects_cannot_be_deleted_but_others_can(people: Cast) -> None:
    with pytest.raises(ProtectedError):
        people.alice.delete()
    people.bob.delete()
    settle()
    assert roles(people.project) == {"Alice": "admin", "Vera": "viewer"}


def test_broken_rules_are_told_in_words(people: Cast) -> None:
    with pytest.raises(AlreadyCollaborator):
        services.add_collaborator(people.project, people.bob)
    with pytest.raises(UnknownRole):
        services.add_collaborator(people.project, people.mallory, "king")
    with pytest.raises(NotCollaborator):
        services.change_role(people.project, people.mallory, "editor")
    with pytest.raises(NotCollaborator):
        services.remove_collaborator(people.project, people.mallory)
    with pytest.raises(NameMissing):
        services.create_project(people.alice, "")
    with pytest.raises(UnknownStatus), translated():
        Project.objects.update(status="lost")


def test_an_unknown_violation_is_not_dressed_up(people: Cast) -> None:
    with pytest.raises(IntegrityError), translated():
        sql("UPDATE projects SET total_sessions = -1")


def test_archiving_is_news_once(people: Cast) -> None:
    assert services.archive_project(people.project)
    assert not services.archive_project(people.project)
    assert list(Project.objects.archived()) == [people.project]
    assert not Project.objects.active().exists()
    assert services.unarchive_project(people.project)
    assert list(Project.objects.active()) == [people.project]


def test_a_build_sets_its_time_and_the_status(people: Cast) -> None:
    project = services.record_build(people.project, succeeded=False)
    assert project.status == "error"
    assert project.last_build_at is not None
    assert abs(project.last_build_at - timezone.now()) < timedelta(minutes=1)
    project = services.record_build(project, version="0.2.0")
    assert (project.status, project.version) == ("active", "0.2.0")
    Project.objects.update(status="inactive")
    assert services.record_build(project, succeeded=False).status == "inactive"


def test_settings_that_do_not_fit_are_refused_on_every_road(people: Cast) -> None:
    bad = {"dependencies": {"django": 5}}
    message = "settings.dependencies.django: 5 is not of type 'string'"
    project = people.project
    project.settings = bad

    def by_bulk_update() -> None:
        Project.objects.bulk_update([project], ["settings"])

    roads = [
        project.save,
        project.full_clean,
        by_bulk_update,
        lambda: Project.objects.update(settings=bad),
        lambda: Project.objects.bulk_create([Project(name="x", owner=people.alice, settings=bad)]),
        lambda: services.create_project(people.alice, "x", settings=bad),
    ]
    for road in roads:
        with pytest.raises(ValidationError) as refused, transaction.atomic():
            road()
        assert message in refused.value.messages
    with pytest.raises(IntegrityError), transaction.atomic():
        sql("UPDATE projects SET settings = '[]'")


@pytest.mark.parametrize("value", ["a\x00b", float("nan"), float("inf")])
def test_what_jsonb_cannot_hold_is_refused_in_words(people: Cast, value: Any) -> None:
    with pytest.raises(ValidationError, match=r"settings\.language"):
        Project.objects.update(settings={"language": value})


def test_verbs_find_projects(people: Cast) -> None:
    other = ProjectFactory(owner=people.mallory, status="inactive")
    assert list(Project.objects.by_owner(people.alice)) == [people.project]
    assert list(Project.objects.by_collaborator(people.bob)) == [people.project]
    assert list(Project.objects.by_collaborator(people.bob, "admin")) == []
    assert list(Project.objects.active()) == [people.project]
    assert Project.objects.stats() == {"total": 2, "active": 1, "archived": 0, "in_error": 0, "sessions": 0}
    assert Collaborator.objects.by_project(people.project).by_role("viewer").get().user == people.vera
    assert list(Project.objects.visible_to(people.mallory)) == [other]


def test_projects_and_collaborators_are_seen_by_who_works_on_them(people: Cast) -> None:
    for user in (people.alice, people.bob, people.vera):
        assert list(Project.objects.visible_to(user)) == [people.project]
        assert Collaborator.objects.visible_to(user).count() == 3
    assert not Project.objects.visible_to(people.mallory).exists()
    assert not Collaborator.objects.visible_to(people.mallory).exists()
    services.remove_collaborator(people.project, people.vera)
    assert not Project.objects.visible_to(people.vera).exists()


def test_viewers_read_editors_write_admins_manage(people: Cast) -> None:
    project = people.project.pk
    may = {
        user.name: (role_of(user, project), can_edit(user, project), can_manage(user, project))
        for user in (people.alice, people.bob, people.vera, people.mallory)
    }
    assert may == {
        "Alice": ("admin", True, True),
        "Bob": ("editor", True, False),
        "Vera": ("viewer", False, False),
        "Mallory": (None, False, False),
    }


def test_signals_tell_after_the_commit(people: Cast, django_capture_on_commit_callbacks: Any) -> None:
    heard: list[str] = []
    names = ("project_archived", "project_transferred", "collaborator_added", "collaborator_removed", "build_recorded")
    receivers = [(getattr(signals, name), lambda name=name, **_: heard.append(name)) for name in names]
    for signal, receiver in receivers:
        signal.connect(receiver)
    with django_capture_on_commit_callbacks(execute=True):
        services.archive_project(people.project)
        services.transfer_ownership(people.project, people.bob)
        services.add_collaborator(people.project, people.mallory)
        services.remove_collaborator(people.project, people.mallory)
        services.record_build(people.project)
        assert heard == []
    assert heard == list(names)
