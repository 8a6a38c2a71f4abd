"""What happened since a checkpoint: all of it, or nothing at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing.log import Checkpoint, Event
from syncing.matching import RowEvent
from syncing.recent import TIDY_EVERY, Anchor, History, Past


def checkpoint(number: int) -> Checkpoint:
    return Checkpoint(number, "0123456789abcdef", f"{number}:{number}:")


def past(number: int, events: int, *resets: str) -> Past:
    """Events that bear the number of the step which they are in."""
    logged = Event(number, "messages", "D", "r", 1, None, "p:1", None, "{}", None, 0.0)
    return Past([RowEvent(logged, {})] * events, frozenset(resets))


def steps_of(found: Past | None) -> list[int] | None:
    return None if found is None else [event.event.id for event in found.events]


def anchored(number: int = 0, *, max_events: int = 100, max_bytes: int = 10_000) -> tuple[History, Anchor]:
    """A history that is kept from a checkpoint on."""
    history = History(max_events, max_bytes)
    return history, history.anchor(checkpoint(number))


@given(counts=st.lists(st.integers(0, 3), max_size=8), start=st.integers(0, 8))
def test_everything_after_the_checkpoint_and_nothing_before(counts: list[int], start: int) -> None:
    history, _anchor = anchored()
    for at, count in enumerate(counts, start=1):
        history.append(checkpoint(at), past(at, count), 10)
    found = steps_of(history.since(checkpoint(start)))
    if start <= len(counts):
        assert found == [at for at, count in enumerate(counts, start=1) if at > start for _ in range(count)]
    else:
        assert found is None


def test_who_has_seen_the_beginning_has_seen_it_whatever_follows() -> None:
    for first, second in ((True, False), (False, True), (False, False)):
        both = Past(past(1, 1).events, rewound=first) + Past(past(2, 1).events, rewound=second)
        assert both.rewound is (first or second)


def test_a_checkpoint_between_two_steps_is_unknown() -> None:
    history, _anchor = anchored(1)
    history.append(checkpoint(5), past(5, 1), 10)
    assert history.since(checkpoint(3)) is None
    assert steps_of(history.since(checkpoint(5))) == []


def test_resets_of_all_steps_since_are_told() -> None:
    history, _anchor = anchored()
    for at, table in enumerate(["users", "memory", "agents"], start=1):
        history.append(checkpoint(at), past(at, 0, table), 0)
    found = history.since(checkpoint(1))
    assert found is not None
    assert found.resets == {"memory", "agents"}


@pytest.mark.parametrize(("bounds", "size"), [({"max_events": 5}, 1), ({"max_bytes": 99}, 50)], ids=["events", "bytes"])
def test_an_anchor_that_is_too_old_knows_nothing_any_more_and_the_history_keeps_no_more_than_it_may(
    bounds: dict[str, int], size: int
) -> None:
    history, anchor = anchored(**bounds)
    history.append(checkpoint(1), past(1, 3), size)
    assert steps_of(anchor.since) == [1, 1, 1]
    history.append(checkpoint(2), past(2, 3), size)
    assert anchor.since is None
    assert steps_of(history.since(checkpoint(1))) == [2, 2, 2]
    assert anchor.events == 6


def test_a_step_larger_than_the_bounds_is_not_kept_at_all() -> None:
    history, anchor = anchored(max_events=5)
    history.append(checkpoint(1), past(1, 6), 1)
    assert anchor.since is None
    assert not history._steps


def test_nothing_is_kept_when_nobody_needs_it() -> None:
    history, anchor = anchored()
    history.append(checkpoint(1), past(1, 1), 1)
    del anchor
    history.append(checkpoint(2), past(2, 1), 1)
    assert not history._steps
    later = history.anchor(checkpoint(2))
    history.append(checkpoint(3), past(3, 1), 1)
    assert steps_of(later.since) == [3]


def test_steps_before_the_oldest_anchor_are_let_go_after_a_while() -> None:
    history, old = anchored()
    for at in range(1, TIDY_EVERY - 1):
        history.append(checkpoint(at), past(at, 0), 0)
    young = history.anchor(checkpoint(TIDY_EVERY - 2))
    assert steps_of(old.since) == []
    del old
    for at in range(TIDY_EVERY - 1, TIDY_EVERY + 3):
        history.append(checkpoint(at), past(at, 1), 0)
    assert steps_of(young.since) == [TIDY_EVERY - 1, TIDY_EVERY, TIDY_EVERY + 1, TIDY_EVERY + 2]
    assert len(history._steps) == 4


def test_an_anchor_of_a_history_that_began_anew_knows_nothing() -> None:
    history, anchor = anchored(7)
    history.append(checkpoint(8), past(8, 1), 1)
    history.clear()
    assert anchor.since is None
    history.append(checkpoint(7), past(7, 0), 1)  # the number comes again, of another history
    assert anchor.since is None


def test_pasts_are_joined_in_order() -> None:
    both = past(1, 2, "users") + past(2, 1, "memory")
    assert steps_of(both) == [1, 1, 2]
    assert both.resets == {"users", "memory"}
