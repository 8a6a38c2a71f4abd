"""Lists as files: all that a list finds, streamed, safe for spreadsheets, and as far as one may read it."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from conversations.models import Message
from conversations.services import add_message, start_session
from projects.models import Project
from syncing.staff import exports
from syncing.staff.exports import cell, off_the_loop, once
from tests.factories import ProjectFactory, UserFactory
from tests.integration.staff import act, address, member

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer() -> Client:
    return member("viewer")


def rows_of(answer: Any) -> list[dict[str, str]]:
    text = b"".join(answer).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_a_file_has_what_the_list_finds(viewer: Client) -> None:
    ProjectFactory(name="First", status="error")
    second = ProjectFactory(name="Second, with a comma")
    for found in ({"status__exact": "active"}, {"q": "second"}, {"owner__id__exact": second.owner_id}):
        [row] = rows_of(viewer.get(address(Project, "export", "csv", **found)))
        assert (row["name"], row["id"], row["owner_id"]) == (second.name, str(second.pk), str(second.owner_id))
    assert len(rows_of(viewer.get(address(Project, "export", "csv")))) == 2
    assert viewer.get(address(Project, "export", "csv", description__contains="a")).status_code == 400


def test_json_keeps_types(viewer: Client) -> None:
    project = ProjectFactory(settings={"language": "python"}, is_archived=True)
    [row] = json.loads(b"".join(viewer.get(address(Project, "export", "json"))))
    assert (row["settings"], row["is_archived"], row["last_build_at"]) == ({"language": "python"}, True, None)
    assert row["sync_version"] == Project.objects.get(pk=project.pk).sync_version
    Project.objects.all().delete()
    assert json.loads(b"".join(viewer.get(address(Project, "export", "json")))) == []


def test_chosen_rows_alone_are_exported(viewer: Client) -> None:
    chosen, _ = ProjectFactory(), ProjectFactory()
    assert [row["id"] for row in rows_of(act(viewer, chosen, "export_csv"))] == [str(chosen.pk)]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(viewer: Client, text: str) -> None:
    ProjectFactory(name=f"{text} x")
    [row] = rows_of(viewer.get(address(Project, "export", "csv")))
    assert row["name"].startswith("'")
    assert cell(-5) == "-5"


def test_what_is_never_synced_is_in_no_file() -> None:
    from accounts.models import User

    client = member("operator")
    columns = rows_of(client.get(address(User, "export", "csv")))[0].keys()
    assert "email" in columns
    assert not {"password", "is_superuser"} & columns


def test_a_long_list_comes_in_parts_by_a_cursor_of_the_server(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "CHUNK", 10)
    session = start_session(UserFactory())
    for _ in range(35):
        add_message(session, "user", "hello")
    parts = list(viewer.get(address(Message, "export", "json")))
    assert len(parts) == 4
    assert len(json.loads(b"".join(parts))) == 35


def test_too_many_at_a_time_are_refused(viewer: Client) -> None:
    open_ones = [viewer.get(address(Project, "export", "csv")) for _ in range(exports.MOST_AT_ONCE)]
    assert viewer.get(address(Project, "export", "csv")).status_code == 503
    for answer in open_ones:
        b"".join(answer)
    assert viewer.get(address(Project, "export", "csv")).status_code == 200


async def test_on_the_real_server_the_loop_is_not_held_up_and_nothing_is_kept_whole() -> None:
    released: list[bool] = []

    def endless() -> Iterator[bytes]:
        while True:
            yield b"part"

    stream = off_the_loop(once(endless(), lambda: released.append(True)))
    assert [await anext(stream), await anext(stream)] == [b"part", b"part"]
    await stream.aclose()
    for thread in threading.enumerate():
        if thread.name.startswith("export"):
            thread.join(10)
    assert released == [True]
