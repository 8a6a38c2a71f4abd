"""What a client wants against what others changed: column by column."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing import merge
from syncing.reconcile import Since, reconcile
from syncing.values import ColumnType

TYPES = {"title": ColumnType.TEXT, "context": ColumnType.JSON, "count": ColumnType.INTEGER, "cost": ColumnType.DECIMAL}
RULES = {"context": merge.json_by_key, "count": merge.counter}


@pytest.mark.parametrize(
    ("base", "local", "remote", "values", "disputed"),
    [
        ({}, {"title": "mine"}, {"title": "base"}, {"title": "mine"}, ()),  # nobody else changed it
        ({"title": "base"}, {"title": "same"}, {"title": "same"}, {}, ()),
        ({"title": "base"}, {"title": "base"}, {"title": "theirs"}, {}, ()),  # the client did not change it
        ({"title": "base"}, {"title": "mine"}, {"title": "theirs"}, {}, ("title",)),
        ({"title": "base"}, {"title": None}, {"title": "theirs"}, {}, ("title",)),
        ({"cost": "1.50"}, {"cost": "2"}, {"cost": "2.00000000"}, {}, ()),  # spelled unlike, and the same
        ({"context": {}}, {"context": {"a": 1}}, {"context": {"b": 2}}, {"context": {"a": 1, "b": 2}}, ()),
        ({"context": {"a": 1}}, {"context": {"a": 2}}, {"context": {"a": 3}}, {}, ("context",)),
        ({"count": 1}, {"count": 2}, {"count": 2}, {"count": 3}, ()),  # two who count one each have counted two
        ({"title": "base"}, {"title": "mine", "count": 7}, {"title": "theirs", "count": 1}, {"count": 7}, ("title",)),
    ],
)
def test_each_case(base: Any, local: Any, remote: Any, values: Any, disputed: Any) -> None:
    outcome = reconcile(TYPES, local, remote, Since(base), RULES)
    assert (outcome.values, outcome.disputed) == (values, disputed)


def test_without_a_base_only_what_is_the_same_is_settled() -> None:
    local, remote = {"title": "a", "context": {"a": 1}, "count": 1}, {"title": "a", "context": {}, "count": 2}
    outcome = reconcile(TYPES, local, remote, Since(reached=False), RULES)
    assert (outcome.values, outcome.disputed) == ({}, ("context", "count"))


@given(base=st.integers(0, 3), local=st.integers(0, 3), remote=st.integers(0, 3))
def test_no_change_of_either_side_is_lost_without_being_in_dispute(base: int, local: int, remote: int) -> None:
    types = {"n": ColumnType.INTEGER}
    since = Since({"n": base} if remote != base else {})
    outcome = reconcile(types, {"n": local}, {"n": remote}, since, {})
    now = outcome.values.get("n", remote)
    if outcome.disputed:
        assert len({base, local, remote}) == 3
    else:
        assert now == (local if local != base else remote)
