"""What happened since a checkpoint: all of it, or nothing at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncing.log import Checkpoint, Event
from syncing.matching import RowEvent
from syncing.recent import History, Past


def checkpoint(number: int) -> Checkpoint:
    return Checkpoint(number, "0123456789abcdef", f"{number}:{number}:")


def past(number: int, events: int, *resets: str) -> Past:
    """Events that bear the number of the step which they are in."""
    logged = Event(number, "messages", "D", "r", 1, None, "p:1", None, "{}", None, 0.0)
    return Past([RowEvent(logged, {})] * events, frozenset(resets))


def steps_of(found: Past | None) -> list[int] | None:
    return None if found is None else [event.event.id for event in found.events]


@given(counts=st.lists(st.integers(0, 3), max_size=8), start=st.integers(0, 8))
def test_everything_after_the_checkpoint_and_nothing_before(counts: list[int], start: int) -> None:
    history = History(checkpoint(0), max_events=100)
    for at, count in enumerate(counts, start=1):
        history.append(checkpoint(at), past(at, count), 10)
    found = steps_of(history.since(checkpoint(start)))
    if start <= len(counts):
        assert found == [at for at, count in enumerate(counts, start=1) if at > start for _ in range(count)]
    else:
        assert found is None


def test_a_checkpoint_between_two_steps_is_unknown() -> None:
    history = History(checkpoint(1), max_events=100)
    history.append(checkpoint(5), past(5, 1), 10)
    assert history.since(checkpoint(3)) is None
    assert steps_of(history.since(checkpoint(5))) == []


def test_resets_of_all_steps_since_are_told() -> None:
    history = History(checkpoint(0), max_events=100)
    for at, table in enumerate(["users", "memory", "agents"], start=1):
        history.append(checkpoint(at), past(at, 0, table), 0)
    found = history.since(checkpoint(1))
    assert found is not None
    assert found.resets == {"memory", "agents"}


def test_a_history_that_overflowed_knows_nothing_any_more_and_keeps_nothing() -> None:
    for history, size in (
        (History(checkpoint(0), max_events=5), 1),
        (History(checkpoint(0), max_events=100, max_bytes=99), 50),
    ):
        history.append(checkpoint(1), past(1, 3), size)
        assert steps_of(history.since(checkpoint(0))) == [1, 1, 1]
        history.append(checkpoint(2), past(2, 3), size)
        history.append(checkpoint(3), past(3, 0), 0)
        assert history.overflowed
        assert history.since(checkpoint(0)) is None
        assert history.since(checkpoint(3)) is None
        assert not history._steps


def test_pasts_are_joined_in_order() -> None:
    both = past(1, 2, "users") + past(2, 1, "memory")
    assert steps_of(both) == [1, 1, 2]
    assert both.resets == {"users", "memory"}
