"""How the database spells values is what `syncing.values` reads, whatever the session's settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncing import values
from syncing.values import ColumnType

#: SQL, its type, how the wire spells it, what it is in Python.
SPELLINGS = [
    ("'A192F0C0-1111-7222-8333-444455556666'::uuid", "uuid", '"a192f0c0-1111-7222-8333-444455556666"', None),
    ("'é\"\\\n🦜'::text", "text", '"é\\"\\\\\\n🦜"', 'é"\\\n🦜'),
    ("'a'::varchar(5)", "text", '"a"', "a"),
    ("(-5)::smallint", "integer", "-5", -5),
    ("2147483647::integer", "integer", "2147483647", 2147483647),
    ("9007199254740991::bigint", "bigint", "9007199254740991", 2**53 - 1),
    ("0.1::double precision", "float", "0.1", 0.1),
    ("0.30000000000000004::double precision", "float", "0.30000000000000004", 0.1 + 0.2),
    ("'1e308'::double precision", "float", "1e+308", 1e308),
    ("'5e-324'::double precision", "float", "5e-324", 5e-324),
    ("'-0'::double precision", "float", "-0", 0.0),
    ("1.50::numeric", "decimal", '"1.50"', Decimal("1.5")),
    ("1e30::numeric", "decimal", '"1000000000000000000000000000000"', Decimal("1e30")),
    ("true", "boolean", "true", True),
    ("'2026-01-01T00:00:00Z'::timestamptz", "timestamp", '"2026-01-01T00:00:00.000000Z"', None),
    ("'2026-07-01T02:00:00.000001+05:30'::timestamptz", "timestamp", '"2026-06-30T20:30:00.000001Z"', None),
    ("'0001-01-01T00:00:00Z'::timestamptz", "timestamp", '"0001-01-01T00:00:00.000000Z"', None),
    ("'9999-12-31T23:59:59.999999Z'::timestamptz", "timestamp", '"9999-12-31T23:59:59.999999Z"', None),
    ("'1 day 2 hours'::interval", "interval", "93600", 93_600_000_000),
    ("'-1.500001 seconds'::interval", "interval", "-1.500001", -1_500_001),
    ("'0'::interval", "interval", "0", 0),
    ("'3650000 days'::interval", "interval", "315360000000", 315_360_000_000_000_000),
    ("'-1 microsecond'::interval", "interval", "-0.000001", -1),
    ('\'{"b": 1.0, "a": [null, true]}\'::jsonb', "json", '{"a": [null, true], "b": 1.0}', {"a": [None, True], "b": 1}),
    ("ARRAY['a', NULL, 'NULL', '']", "text[]", '["a",null,"NULL",""]', ("a", None, "NULL", "")),
    ("ARRAY[]::text[]", "text[]", "[]", ()),
]
SESSIONS = [
    {"TimeZone": "UTC", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres"},
    {"TimeZone": "Asia/Kolkata", "DateStyle": "German, DMY", "IntervalStyle": "iso_8601"},
    {"TimeZone": "America/New_York", "DateStyle": "SQL, YMD", "IntervalStyle": "sql_standard"},
    {"TimeZone": "Pacific/Apia", "DateStyle": "Postgres, MDY", "IntervalStyle": "postgres_verbose"},
]


@pytest.fixture(params=SESSIONS, ids=lambda session: session["TimeZone"])
def session(request: pytest.FixtureRequest, db: None) -> Iterator[None]:
    with connection.cursor() as cursor:
        for name, value in request.param.items():
            cursor.execute("SELECT set_config(%s, %s, true)", [name, value])
        yield
        cursor.execute(
            "SET LOCAL TimeZone TO DEFAULT; SET LOCAL DateStyle TO DEFAULT; SET LOCAL IntervalStyle TO DEFAULT"
        )


def wire(expression: str, *parameters: object) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT syncing.wire({expression})", parameters)
        text: str = cursor.fetchone()[0]
        return text


@pytest.mark.parametrize(("expression", "column_type", "spelled", "value"), SPELLINGS)
def test_the_spelling_is_one_in_every_session_and_read_back(
    session: None, expression: str, column_type: str, spelled: str, value: Any
) -> None:
    text = wire(expression)
    assert text == spelled
    expected = json.loads(spelled) if value is None else value
    assert values.decode(ColumnType(column_type), values.loads(text)) == expected


@pytest.mark.parametrize(
    "sql_type",
    [
        "uuid",
        "text",
        "smallint",
        "integer",
        "bigint",
        "double precision",
        "numeric",
        "boolean",
        "timestamptz",
        "interval",
        "jsonb",
        "text[]",
    ],
)
def test_null_is_null_in_every_type(db: None, sql_type: str) -> None:
    assert wire(f"NULL::{sql_type}") == "null"


MADE = {
    ColumnType.UUID: ("%s::uuid", st.uuids().map(str)),
    ColumnType.TEXT: ("%s::text", st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))),
    ColumnType.BIGINT: ("%s::bigint", st.integers(-values.MAX_INTEGER, values.MAX_INTEGER)),
    ColumnType.FLOAT: ("%s::double precision", st.floats(allow_nan=False, allow_infinity=False)),
    ColumnType.DECIMAL: ("%s::numeric", st.decimals(-(10**20), 10**20, allow_nan=False)),
    ColumnType.TIMESTAMP: ("%s::timestamptz", st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")),
    ColumnType.INTERVAL: (
        "make_interval(secs => %s::numeric::double precision)",
        st.decimals(-(10**9), 10**9, allow_nan=False, places=6),
    ),
    ColumnType.TEXT_ARRAY: ("%s::text[]", st.lists(st.none() | st.sampled_from(["", "a", '"', "\\", "NULL", "é,{}"]))),
}


@pytest.mark.parametrize("column_type", MADE)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_value_sent_back_by_a_client_as_a_literal_is_the_value(
    db: None, column_type: ColumnType, data: st.DataObject
) -> None:
    expression, strategy = MADE[column_type]
    text = wire(expression, data.draw(strategy))
    held = values.decode(column_type, values.loads(text))
    assert values.parse(column_type, json.loads(text)) == held
