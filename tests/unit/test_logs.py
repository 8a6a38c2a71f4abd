"""Log lines: readable or JSON, with their fields, and without what is nobody's business."""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import UUID

import psycopg
import pytest

from claudia.logs import JsonLineFormatter, LineFormatter, configuration, request_id, withheld
from claudia.requests import with_request_ids

ID = UUID("0192f0c0-1111-7222-8333-444455556666")
TAKEN = (
    'duplicate key value violates unique constraint "users_email"\n'
    "DETAIL:  Key (email)=(alice@example.com) already exists.\nof two lines\n"
)


def record(message: str = "hello", *args: Any, error: BaseException | None = None, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("syncing.x", logging.INFO, __file__, 1, message, args, None)
    if error is not None:
        made.exc_info = (type(error), error, error.__traceback__)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_a_line_for_people_has_its_fields_behind_the_message() -> None:
    line = LineFormatter().format(record("hello %s", "world", seconds=1.5, user=ID))
    assert line.endswith(f" INFO syncing.x: hello world  seconds=1.5 user={ID}")


def test_a_line_for_machines_is_one_json_object() -> None:
    line = JsonLineFormatter().format(record("hello %s", "world", seconds=1.5, user=ID, code=None))
    told = json.loads(line)
    assert "\n" not in line
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "INFO", "logger": "syncing.x", "message": "hello world", "seconds": 1.5, "user": str(ID), "code": None,
    }  # fmt: skip


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonLineFormatter()])
def test_fields_that_are_no_plain_values_are_left_out(formatter: logging.Formatter) -> None:
    # Django gives its records requests, with their addresses, and statements with their values.
    line = formatter.format(record(request={"path": "/?token=secret"}, params=["secret"], sql=b"secret"))
    assert "secret" not in line


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonLineFormatter()])
def test_what_postgresql_tells_of_rows_is_withheld(formatter: logging.Formatter) -> None:
    error = raised(RuntimeError("could not be applied"), raised(psycopg.errors.UniqueViolation(TAKEN)))
    for line in (
        formatter.format(record("failed", error=error)),
        formatter.format(record("failed: %s", error.__cause__)),
        formatter.format(record("failed: %r", error.__cause__)),
    ):
        assert "users_email" in line, "which rule was broken is worth knowing"
        assert "alice" not in line
        assert "of two lines" not in line
    assert "RuntimeError: could not be applied" in formatter.format(record("failed", error=error))


@pytest.mark.parametrize(
    "text",
    [
        "invalid input syntax for type uuid: \"secret\"\nLINE 1: SELECT 'secret'::uuid\n               ^",
        'invalid input value for enum mood: "secret"',
        'value "secret" is out of range for type integer',
        'date/time field value out of range: "secret"',
        "null value in column violates not-null constraint\nDETAIL:  Failing row contains (1, secret, a\nsecret).",
        "syntax error\nCONTEXT:  JSON data, line 1: secret",
    ],
)
def test_values_inside_messages_are_withheld(text: str) -> None:
    assert "secret" not in withheld(text)
    assert withheld(text).split()[0] == text.split()[0]


def test_hints_stay() -> None:
    told = withheld("permission denied\nDETAIL:  secret\nHINT:  Grant it.")
    assert told == "permission denied\nDETAIL: (withheld)\nHINT:  Grant it."


def test_the_formats_are_the_settings_choice() -> None:
    for name, formatter in (("LINE", LineFormatter), ("JSON", JsonLineFormatter)):
        assert configuration(name, "INFO")["formatters"]["line"]["()"] is formatter


# -- ids of requests ---------------------------------------------------------------------------------------------------


async def ask(given: bytes | None) -> tuple[bytes, str]:
    """The id in the answer, and in a line that is logged meanwhile."""
    sent: list[dict[str, Any]] = []
    lines: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        lines.append(JsonLineFormatter().format(record()))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [] if given is None else [(b"x-request-id", given)]
    await with_request_ids(application)({"type": "http", "headers": headers}, receive, send)
    assert (b"x", b"y") in sent[0]["headers"]
    return dict(sent[0]["headers"])[b"x-request-id"], json.loads(lines[0])["request_id"]


async def test_a_request_keeps_the_id_that_it_came_with() -> None:
    assert await ask(b"req-1.a_B") == (b"req-1.a_B", "req-1.a_B")


@pytest.mark.parametrize("given", [None, b"", b"a b", b"a\nINFO forged", b"x" * 65, b"<script>", "é".encode()])
async def test_a_request_without_a_sane_id_gets_one(given: bytes | None) -> None:
    answered, logged = await ask(given)
    assert answered.decode() == logged
    assert len(logged) == 32
    assert int(logged, 16)


async def test_two_requests_have_two_ids_and_none_is_left_behind() -> None:
    assert (await ask(None))[1] != (await ask(None))[1]
    assert request_id.get() == ""
