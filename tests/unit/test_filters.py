"""The `where` language: what is refused and how, the normal form, and what is told about a filter."""

from __future__ import annotations

import json
import time
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing import filters, values
from syncing.exceptions import BadFilter, NotFilterable, UnknownColumn
from syncing.filters import Filter
from syncing.values import ColumnType

ALICE = "0192f0c0-1111-7222-8333-444455556666"
COLUMNS = {
    "user_id": ColumnType.UUID,
    "status": ColumnType.TEXT,
    "count": ColumnType.INTEGER,
    "rating": ColumnType.FLOAT,
    "cost": ColumnType.DECIMAL,
    "is_active": ColumnType.BOOLEAN,
    "created_at": ColumnType.TIMESTAMP,
    "duration": ColumnType.INTERVAL,
    "config": ColumnType.JSON,
    "tags": ColumnType.TEXT_ARRAY,
}
#: What the browser client's tests read too.
ANSWERS = json.loads((Path(__file__).parent.parent / "protocol/filters/answers.json").read_text())


def parse(where: object) -> Filter:
    return filters.parse(where, COLUMNS, [*COLUMNS, "content"])


def nested(depth: int, innermost: dict[str, Any]) -> dict[str, Any]:
    """`depth` objects, one in another."""
    where = innermost
    for _ in range(depth - 1):
        where = {"not": where}
    return where


class TestRefusals:
    @pytest.mark.parametrize("where", [None, [], "x", 1, True, {"any": {}}, {"all": "x"}, {"any": [1]}, {"not": []}])
    def test_a_filter_that_is_no_object_where_one_belongs_is_refused(self, where: object) -> None:
        with pytest.raises(BadFilter):
            parse(where)

    def test_a_column_that_does_not_exist_is_told_from_one_that_cannot_be_filtered_by(self) -> None:
        with pytest.raises(UnknownColumn, match=r"where\.any\[1\]\.password__startswith"):
            parse({"any": [{}, {"password__startswith": "a"}]})
        with pytest.raises(NotFilterable, match=r"where\.content"):
            parse({"content": "x"})

    @pytest.mark.parametrize(
        ("where", "reason"),
        [
            ({"status__like": "a%"}, "no such comparison"),
            ({"status__contains": "a"}, "no such comparison"),
            ({"count__startswith": "a"}, "no such comparison"),
            ({"config__lt": {}}, "no such comparison"),
            ({"tags__gte": []}, "no such comparison"),
            ({"status": 1}, "a string"),
            ({"status": "a\0"}, "NUL"),
            ({"status": "\ud800"}, "surrogate"),
            ({"count": True}, "an integer"),
            ({"count": 1.0}, "an integer"),
            ({"count": 2**53}, "an integer"),
            ({"rating": "1"}, "a number"),
            ({"rating": float("nan")}, "a number"),
            ({"rating": float("inf")}, "a number"),
            ({"rating": 10**400}, "range of a double"),
            ({"rating": True}, "a number"),
            ({"cost": "1_000"}, "a decimal"),
            ({"cost": "NaN"}, "a decimal"),
            ({"cost": " 1"}, "a decimal"),
            ({"cost": "1e1000"}, "digits"),
            ({"cost": "1e-1001"}, "digits"),
            ({"cost": "1e999999"}, "digits"),
            ({"cost": False}, "a number"),
            ({"is_active": 1}, "true or false"),
            ({"user_id": ALICE[:-1]}, "a UUID"),
            ({"user_id": "{" + ALICE}, "a UUID"),
            ({"user_id": 7}, "a UUID"),
            ({"created_at": "2026-01-01T00:00:00"}, "offset"),
            ({"created_at": "yesterday"}, "ISO 8601"),
            ({"created_at": 1767225600}, "ISO 8601"),
            ({"created_at": "2026-01-01T00:00:00.0000001Z"}, "microseconds"),
            ({"created_at": "0001-01-01T00:00:00+01:00"}, "0001 to 9999"),
            ({"duration": "1"}, "a number"),
            ({"duration": 1e300}, "seconds"),
            ({"config": {"a": "\0"}}, "NUL"),
            ({"config": {"\ud800": 1}}, "surrogate"),
            ({"config": float("inf")}, "a number"),
            ({"config": [0] * 1001}, "1000 values"),
            ({"tags": ["a", 1]}, "a string"),
            ({"tags__contains": "a"}, "a list"),
            ({"status__in": "ab"}, "a list"),
            ({"status__in": None}, "null"),
            ({"status__in": ["a", 1]}, "a string"),
            ({"status__in": ["a"] * 1001}, "1,000"),
            ({"status__isnull": 1}, "true or false"),
            ({"status__isnull": None}, "null"),
        ],
    )
    def test_a_wrong_comparison_or_literal_is_refused_with_its_path_and_reason(
        self, where: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(BadFilter, match=reason) as refused:
            parse({"all": [where]})
        assert f"where.all[0].{next(iter(where))}: " in str(refused.value)

    def test_eight_levels_are_read_and_nine_refused(self) -> None:
        parse(nested(8, {"status": "a"}))
        with pytest.raises(BadFilter, match="8 levels"):
            parse(nested(9, {"status": "a"}))

    def test_a_thousand_conditions_are_read_and_more_refused(self) -> None:
        parse({"any": [{"count": n} for n in range(499)]})
        with pytest.raises(BadFilter, match="conditions"):
            parse({"any": [{"count": n} for n in range(500)]})
        with pytest.raises(BadFilter, match="conditions"):
            parse({"any": [{}] * 1001})

    @pytest.mark.parametrize(
        "where",
        [
            nested(100_000, {}),
            {"config": [[[]]] * 1_000_000},
            {"status__in": ["a"] * 1_000_000},
            {"any": [{}] * 1_000_000},
            {f"x{n}": 1 for n in range(1_000_000)},
        ],
        ids=["deep", "json", "in", "any", "members"],
    )
    def test_a_monstrous_filter_is_refused_without_being_walked_through(self, where: dict[str, Any]) -> None:
        begun = time.process_time()
        with pytest.raises(BadFilter):
            parse(where)
        assert time.process_time() - begun < 0.1

    def test_a_literal_nested_too_deeply_is_refused(self) -> None:
        deep: Any = 1
        for _ in range(1000):
            deep = [deep]
        with pytest.raises(BadFilter):
            parse({"config": deep})
        with pytest.raises(BadFilter, match="32 levels"):
            parse({"config": deep_list(40)})

    def test_what_a_client_calls_a_column_comes_back_shortened_and_encodable(self) -> None:
        with pytest.raises(UnknownColumn) as refused:
            parse({"x" * 10_000: 1})
        assert len(str(refused.value)) < 200
        with pytest.raises(UnknownColumn) as refused:
            parse({"\ud800": 1})
        assert str(refused.value).encode()


def deep_list(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


class TestNormalForm:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"status": "a"}, {"status__exact": "a"}),
            ({"status": "a"}, {"all": [{"status": "a"}]}),
            ({"status": "a"}, {"any": [{"status": "a"}]}),
            ({"status": "a"}, {"status__in": ["a", "a"]}),
            ({"status": "a"}, {"not": {"not": {"status": "a"}}}),
            ({"status": None}, {"status__isnull": True}),
            ({"status": "a", "count": 1}, {"count": 1, "status": "a"}),
            ({"status": "a", "count": 1}, {"all": [{"count": 1}, {"all": [{"status": "a"}, {"count": 1}]}]}),
            ({"any": [{"status": "a"}, {"count": 1}]}, {"any": [{"count": 1}, {"any": [{"status": "a"}]}]}),
            ({"count__in": [2, 1, 2, None]}, {"count__in": [None, 1, 2]}),
            ({"user_id": ALICE}, {"user_id": ALICE.upper()}),
            ({"user_id": ALICE}, {"user_id": ALICE.replace("-", "")}),
            ({"user_id": ALICE}, {"user_id": f"urn:uuid:{ALICE}"}),
            ({"rating": 1}, {"rating": 1.0}),
            ({"rating": 0}, {"rating": -0.0}),
            ({"cost": "1.50"}, {"cost": 1.5}),
            ({"cost": "100"}, {"cost": "1e2"}),
            ({"cost": "-0.00"}, {"cost": 0}),
            ({"created_at": "2026-01-01T00:00:00Z"}, {"created_at": "2026-01-01T05:30+05:30"}),
            ({"duration": 2}, {"duration": 2.0}),
            ({"config": {"a": 1, "b": 2}}, {"config": {"b": 2.0, "a": 1}}),
            ({"status": "a"}, {"status": "a", "all": []}),
            ({}, {"all": [{}, {"all": []}]}),
        ],
    )
    def test_two_spellings_of_one_filter_are_equal(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        assert parse(one) == parse(other)
        assert hash(parse(one)) == hash(parse(other))
        assert parse(one).canonical == parse(other).canonical
        assert parse(one).sql("t") == parse(other).sql("t")

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {"any": []}),
            ({"status": "a"}, {"status": "A"}),
            ({"status": "1"}, {"count": 1}),
            ({"count": 1}, {"count": 2}),
            ({"config": True}, {"config": 1}),
            ({"config": "1"}, {"config": 1}),
            ({"config": [1, 2]}, {"config": [2, 1]}),
            ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}),
            ({"tags": [None]}, {"tags": ["null"]}),
            ({"count__in": [1]}, {"count__in": [1, None]}),
            ({"count__in": []}, {"count__isnull": True}),
            ({"status__ne": None}, {"status__isnull": False}),
            ({"all": [{"status": "a"}, {"count": 1}]}, {"any": [{"status": "a"}, {"count": 1}]}),
        ],
    )
    def test_filters_that_differ_in_meaning_are_told_apart(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        assert parse(one) != parse(other)
        assert parse(one).text != parse(other).text

    def test_the_same_words_about_columns_of_different_types_are_different_filters(self) -> None:
        where = {"x__in": ["1", "2"]}
        assert filters.parse(where, {"x": ColumnType.TEXT}) != filters.parse(where, {"x": ColumnType.DECIMAL})

    def test_the_normal_form_is_a_filter_with_itself_as_normal_form(self) -> None:
        where = {
            "status__startswith": "a",
            "created_at__lt": "2026-01-01T00:00Z",
            "duration__gte": 1.5,
            "cost__in": [1, "2.50", None],
            "any": [{"tags__contains": ["b", None]}, {"not": {"config__contains": {"a": [1.0, 0.1, 1e300]}}}],
        }
        canonical = parse(where).canonical
        assert parse(canonical).canonical == canonical
        assert parse(canonical) == parse(where)

    def test_a_filter_cannot_be_changed(self) -> None:
        filter = parse({"status": "a"})
        filter.canonical["status__exact"] = "b"
        assert filter.canonical == {"status__exact": "a"}
        with pytest.raises(AttributeError):
            filter.columns = frozenset()


class TestEqualities:
    @pytest.mark.parametrize(
        ("where", "equalities"),
        [
            ({}, {}),
            ({"status": "a"}, {"status": {"a"}}),
            ({"status__in": ["a", "b", None]}, {"status": {"a", "b"}}),
            ({"status__in": []}, {"status": set()}),
            ({"status": "a", "all": [{"user_id": ALICE.upper()}]}, {"status": {"a"}, "user_id": {ALICE}}),
            ({"all": [{"count__in": [1, 2]}, {"count__in": [2, 3]}]}, {"count": {2}}),
            ({"any": [{"status": "a"}, {"status": "b"}]}, {}),
            ({"not": {"status": "a"}}, {}),
            ({"status__ne": "a", "count__gte": 1, "cost": None}, {}),
            ({"cost": "1.50"}, {"cost": {Decimal("1.5")}}),
            ({"config": {"a": 1}}, {}),
            ({"tags": ["a"]}, {"tags": {("a",)}}),
        ],
    )
    def test_they_are_what_every_match_must_hold(self, where: dict[str, Any], equalities: dict[str, set[Any]]) -> None:
        assert parse(where).equalities == equalities


class TestMatching:
    def test_a_missing_column_is_a_mistake_of_the_program(self) -> None:
        with pytest.raises(KeyError):
            parse({"status": "a"}).matches({"count": 1})

    @pytest.mark.parametrize("case", ANSWERS["cases"], ids=lambda case: f"{case['where']} {case['row']}")
    def test_three_valued_logic(self, case: dict[str, Any]) -> None:
        wire = values.loads(json.dumps(case["row"]))
        row = {column: values.decode(COLUMNS[column], value) for column, value in wire.items()}
        assert parse(case["where"]).matches(row) is case["answer"]

    def test_names_are_quoted_in_sql(self) -> None:
        columns = {'o"d%d': ColumnType.TEXT}
        assert filters.parse({'o"d%d': "x"}, columns).sql("t") == ('t."o""d%%d" = %s::text', ["x"])


class TestValues:
    @given(st.datetimes(), st.datetimes())
    def test_timestamps_compare_as_text_as_they_do_in_time(self, one: datetime, other: datetime) -> None:
        spelled = [values.parse(ColumnType.TIMESTAMP, f"{moment.isoformat()}Z") for moment in (one, other)]
        assert (spelled[0] < spelled[1]) == (one < other)

    @pytest.mark.parametrize(
        ("column_type", "wire", "value"),
        [
            (ColumnType.DECIMAL, "1.50", Decimal("1.5")),
            (ColumnType.FLOAT, 1, 1.0),
            (ColumnType.INTERVAL, Decimal("1.500001"), 1_500_001),
            (ColumnType.INTERVAL, -2, -2_000_000),
            (ColumnType.TEXT_ARRAY, ["a", None], ("a", None)),
            (ColumnType.TEXT_ARRAY, [["a"], ["b"]], (("a",), ("b",))),
            (ColumnType.UUID, ALICE, ALICE),
            (ColumnType.DECIMAL, None, None),
        ],
    )
    def test_the_wire_is_decoded_into_what_compares(self, column_type: ColumnType, wire: Any, value: Any) -> None:
        assert values.decode(column_type, wire) == value

    def test_numbers_in_rows_keep_all_their_digits(self) -> None:
        text = f"[0.1000000000000000055511151231257827, 1e400, {'9' * 20_000}]"
        assert values.loads(text) == [
            Decimal("0.1000000000000000055511151231257827"),
            Decimal("1e400"),
            Decimal("9" * 20_000),
        ]

    def test_json_that_python_cannot_nest_is_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="nested too deeply"):
            values.loads("[" * 100_000 + "]" * 100_000)
