"""What holds for every merge rule, and what each does with objects, sets and counters."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing import merge
from syncing.equality import same
from syncing.exceptions import Unmergeable
from syncing.merge import Rule

NUMBERS = st.integers(-3, 3) | st.sampled_from([1.0, 0.1, Decimal("1.0"), Decimal("0.1"), Decimal("1.50")])
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", "b"])
KEYS = st.sampled_from(["a", "b", "c"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=8)
OBJECTS = st.dictionaries(KEYS, JSON)
TAGS = st.none() | st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=5)
TEXTS = st.none() | st.lists(st.sampled_from(["a", "b", " ", "\n", "漢", "c, "]), max_size=10).map("".join)
COUNTS = st.none() | st.decimals(-5, 5, places=2).map(str)

VALUES = {
    merge.json_by_key: OBJECTS | JSON,
    merge.as_set: TAGS,
    merge.text: TEXTS,
    merge.counter: COUNTS,
    merge.last_write: JSON,
}
RULES = st.sampled_from([*VALUES])
SYMMETRIC = [merge.json_by_key, merge.text, merge.counter]


def outcome(rule: Rule, base: Any, local: Any, remote: Any) -> Any:
    """What the rule makes of them, Unmergeable where it cannot."""
    try:
        return rule(base, local, remote)
    except Unmergeable:
        return Unmergeable


# -- every rule --------------------------------------------------------------------------------------------------------


@given(data=st.data(), rule=RULES)
def test_what_only_one_side_changed_is_that_sides(data: st.DataObject, rule: Rule) -> None:
    base, changed = data.draw(VALUES[rule]), data.draw(VALUES[rule])
    assert same(rule(base, base, changed), changed)
    assert same(rule(base, changed, base), changed)


@given(data=st.data(), rule=RULES.filter(lambda rule: rule is not merge.counter))
def test_what_both_made_the_same_is_that(data: st.DataObject, rule: Rule) -> None:
    base, changed = data.draw(VALUES[rule]), data.draw(VALUES[rule])
    assert same(rule(base, changed, changed), changed)


@given(data=st.data(), rule=st.sampled_from(SYMMETRIC))
def test_it_does_not_matter_which_side_is_which(data: st.DataObject, rule: Rule) -> None:
    base, local, remote = (data.draw(VALUES[rule]) for _ in range(3))
    one, other = outcome(rule, base, local, remote), outcome(rule, base, remote, local)
    assert same(one, other)


@given(data=st.data(), rule=RULES)
def test_nothing_but_values_and_unmergeable_comes_out_whatever_goes_in(data: st.DataObject, rule: Rule) -> None:
    base, local, remote = (data.draw(JSON | TEXTS | TAGS | COUNTS) for _ in range(3))
    outcome(rule, base, local, remote)


@pytest.mark.parametrize("rule", [merge.json_by_key, merge.as_set, merge.text])
def test_what_is_nested_too_deeply_is_not_merged_and_breaks_nothing(rule: Rule) -> None:
    def nested(innermost: Any) -> Any:
        value = innermost
        for _ in range(3_000):
            value = {"a": value}
        return value

    with pytest.raises(Unmergeable):
        rule(nested(1), nested(2), nested(3))


# -- objects -----------------------------------------------------------------------------------------------------------


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """All that is no object with members, by path."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {at: leaf for key, member in value.items() for at, leaf in leaves(member, (*path, key)).items()}


@given(base=OBJECTS, local=OBJECTS, remote=OBJECTS)
def test_every_leaf_of_a_merged_object_is_some_sides(base: Any, local: Any, remote: Any) -> None:
    merged = outcome(merge.json_by_key, base, local, remote)
    if merged is not Unmergeable:
        written = [leaves(side) for side in (local, remote)]
        for path, leaf in leaves(merged).items():
            # An object of which each side deleted another half is empty, which neither wrote.
            assert leaf == {} or any(path in side and same(side[path], leaf) for side in written)


@given(base=OBJECTS, local=OBJECTS, remote=OBJECTS)
def test_no_change_of_an_object_is_lost(base: Any, local: Any, remote: Any) -> None:
    merged = outcome(merge.json_by_key, base, local, remote)
    if merged is not Unmergeable:
        known, result = leaves(base), leaves(merged)
        for side in (leaves(local), leaves(remote)):
            for path, leaf in side.items():
                if leaf != {} and not (path in known and same(known[path], leaf)):
                    assert same(result[path], leaf)
            for path in known.keys() - side.keys():
                assert path not in result or known[path] == {} or result[path] == {}


def test_objects_are_merged_key_by_key_and_level_by_level() -> None:
    base = {"model": "m1", "hooks": {"pre": "x", "post": "y"}, "tools": ["a"]}
    local = {"model": "m2", "hooks": {"pre": "x", "post": "z"}, "tools": ["a"]}
    remote = {"model": "m1", "hooks": {"pre": "w", "post": "y"}, "tools": ["a", "b"]}
    merged = {"model": "m2", "hooks": {"pre": "w", "post": "z"}, "tools": ["a", "b"]}
    assert merge.json_by_key(base, local, remote) == merged


def test_a_missing_key_was_deleted() -> None:
    assert merge.json_by_key({"a": 1, "b": 2, "c": 3}, {"b": 2, "c": 3}, {"a": 1, "c": 3}) == {"c": 3}
    assert merge.json_by_key({"a": 1, "b": 2}, {"b": 2}, {"b": 5, "a": 1}) == {"b": 5}


@pytest.mark.parametrize(
    ("base", "local", "remote", "told"),
    [
        ({"a": 1}, {}, {"a": 2}, "one side deleted and the other changed a"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {}, "one side deleted and the other changed a"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 3}}, "both sides changed a.b"),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [0, 1]}, "both sides changed a"),
        ({"a": 1}, {"a": 2}, {"a": {"b": 1}}, "both sides changed a"),
        ({"a": 0}, {"a": 1}, {"a": True}, "both sides changed a"),
        ([1], {"a": 1}, {"b": 2}, "both sides changed the value"),
    ],
)
def test_what_does_not_merge_is_told_by_its_path(base: Any, local: Any, remote: Any, told: str) -> None:
    with pytest.raises(Unmergeable) as raised:
        merge.json_by_key(base, local, remote)
    assert raised.value.message == told


@pytest.mark.parametrize("base", [{}, {"x": None}])
def test_objects_put_where_nothing_was_are_merged(base: Any) -> None:
    assert merge.json_by_key(base, {"x": {"a": 1}}, {"x": {"b": 2}}) == {"x": {"a": 1, "b": 2}}
    assert merge.json_by_key(None, {"a": 1}, {"b": 2}) == {"a": 1, "b": 2}


def test_a_browser_that_writes_a_number_its_own_way_has_not_changed_it() -> None:
    base = {"temperature": Decimal("1.0"), "share": Decimal("0.10")}
    merged = merge.json_by_key(base, {"temperature": 1, "share": 0.1}, {**base, "temperature": Decimal("1.5")})
    assert repr(merged) == repr({"temperature": Decimal("1.5"), "share": Decimal("0.10")})


def test_true_is_not_one() -> None:
    assert merge.json_by_key({"a": 1}, {"a": True}, {"a": Decimal("1.0")}) == {"a": True}
    assert merge.json_by_key({"a": 1}, {"a": True}, {"a": Decimal("1.0")})["a"] is True


# -- sets --------------------------------------------------------------------------------------------------------------


@given(base=TAGS, local=TAGS, remote=TAGS)
def test_a_set_holds_what_anybody_added_and_nothing_that_anybody_removed(base: Any, local: Any, remote: Any) -> None:
    known, ours, theirs = (set(side or ()) for side in (base, local, remote))
    merged = merge.as_set(base, local, remote)
    assert set(merged or ()) == (known & ours & theirs) | (ours - known) | (theirs - known)


def test_a_set_keeps_the_servers_order_and_adds_ours_at_its_end() -> None:
    assert merge.as_set(["a", "b", "c"], ["z", "a", "c", "y"], ["x", "c", "b", "a"]) == ["x", "c", "a", "z", "y"]


def test_members_of_a_set_may_be_any_json() -> None:
    assert merge.as_set([1], [1, True, {"a": [1]}], [1, {"a": [True]}]) == [1, {"a": [True]}, True, {"a": [1]}]


# -- counters ----------------------------------------------------------------------------------------------------------


@given(base=st.integers(), ours=st.integers(), theirs=st.integers())
def test_a_counter_counts_for_both(base: int, ours: int, theirs: int) -> None:
    assert merge.counter(base, base + ours, base + theirs) == base + ours + theirs


def test_decimals_and_fractions_are_counted_exactly() -> None:
    assert merge.counter("0.10", "0.30", "0.20") == "0.40"
    assert merge.counter("1" * 40, "1" * 39 + "2", "1" * 39 + "3") == "1" * 39 + "4"
    assert merge.counter(0, 0.1, 0.2) == Decimal("0.3")
    assert repr(merge.counter(Decimal("0.5"), 1, Decimal("1.0"))) == repr(Decimal("1.5"))


@pytest.mark.parametrize(
    "sides", [(True, 2, 3), (None, 1, 2), ("x", "1", "2"), ([], 1, 2), ("0", "1e9000", "1"), ("NaN", "1", "2")]
)
def test_what_cannot_be_summed_exactly_is_not_counted(sides: tuple[Any, Any, Any]) -> None:
    with pytest.raises(Unmergeable):
        merge.counter(*sides)


# -- giants ------------------------------------------------------------------------------------------------------------


def deep(width: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for level in range(150):
        value = {**{f"{level}-{at}": at for at in range(width)}, "inner": value}
    return value


def test_giant_values_are_merged_in_bounded_time() -> None:
    started = time.process_time()
    many = [str(at) for at in range(200_000)]
    assert len(merge.as_set(many, [*many[1:], "x"], [*many[:-1], "y"])) == 200_000
    assert merge.json_by_key(deep(300), {**deep(300), "x": 1}, {**deep(300), "y": 2}).keys() >= {"x", "y"}
    assert time.process_time() - started < 10
