"""When a maintenance task is due again, by how it went."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing.exceptions import BadDeclaration
from syncing.schedule import LATEST, PATIENCE, SOONEST, Standing
from syncing.tasks import Task, maintain, tasks
from syncing.upkeep import LONGEST, SHORTEST, pause, upcoming

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TASK = Task("prune_metrics", "Prunes.")


@pytest.fixture(autouse=True)
def hourly(settings: Any) -> None:
    settings.MAINTAIN_PRUNE_METRICS_HOURS = 1


def standing(outcome: str = "", ago: timedelta | None = None, **values: Any) -> Standing:
    """As it is at NOW, begun so long ago."""
    return Standing(TASK, NOW, outcome=outcome, started_at=None if ago is None else NOW - ago, **values)


def test_what_never_ran_is_due() -> None:
    assert standing().is_due


@pytest.mark.parametrize(("ago", "due"), [(59, False), (60, True), (600, True)])
def test_what_was_done_is_due_an_interval_after_it_began(ago: int, due: bool) -> None:
    assert standing("done", timedelta(minutes=ago), seconds=500.0).is_due is due


@pytest.mark.parametrize(("hours", "wait"), [(1, timedelta(minutes=6)), (0.01, SOONEST), (24, LATEST)])
@pytest.mark.parametrize("outcome", ["failed", "running"])
def test_what_failed_or_broke_off_is_tried_again_soon_but_not_at_once(
    settings: Any, outcome: str, hours: float, wait: timedelta
) -> None:
    settings.MAINTAIN_PRUNE_METRICS_HOURS = hours
    one = standing(outcome, timedelta(hours=2), seconds=7200.0)  # it has just ended
    assert one.due_at == NOW + wait
    assert one.broke_off is (outcome == "running")


def test_what_was_asked_to_stop_goes_on_at_once() -> None:
    assert standing("interrupted", timedelta(seconds=3), seconds=3.0).is_due


def test_what_runs_is_not_due_however_long_it_has_run() -> None:
    one = standing("running", 100 * HOUR, runs=True)
    assert not one.is_due
    assert not one.broke_off


@pytest.mark.parametrize("outcome", ["", "done", "failed", "interrupted", "running"])
def test_an_interval_of_nothing_means_never_and_is_no_neglect(settings: Any, outcome: str) -> None:
    settings.MAINTAIN_PRUNE_METRICS_HOURS = 0
    one = standing(outcome, 100 * HOUR if outcome else None)
    assert one.due_at is None
    assert not one.is_due
    assert one.neglect(NOW - 1000 * HOUR) == 0


@pytest.mark.parametrize(("hours", "load"), [(PATIENCE + 1, 1.0), (2, 0.5)])
def test_neglect_is_counted_from_the_last_success_whatever_happened_since(hours: int, load: float) -> None:
    one = standing("failed", timedelta(seconds=1), seconds=1.0, succeeded_at=NOW - hours * HOUR)
    assert one.neglect(NOW - 1000 * HOUR) == pytest.approx(load)
    assert standing().neglect(NOW - hours * HOUR) == pytest.approx(load), "or from when it could have run at all"


@given(st.lists(st.floats(-1e6, 1e6), max_size=5))
def test_the_pause_is_as_long_as_nothing_is_due_within_bounds(hours: list[float]) -> None:
    known = [standing("done", timedelta(hours=ago)) for ago in hours]
    assert SHORTEST <= pause(known) <= LONGEST
    if hours and SHORTEST <= (wait := min(3600 * (1 - ago) for ago in hours)) <= LONGEST:
        assert pause(known) == pytest.approx(wait, abs=0.001)


def test_what_is_due_next_is_told(settings: Any) -> None:
    assert upcoming([standing("done", timedelta(minutes=12))]) == "Next: prune_metrics, in 48 min."
    settings.MAINTAIN_PRUNE_METRICS_HOURS = 0
    assert upcoming([standing()]) == "No task is done by itself: every MAINTAIN_…_HOURS is 0."


def test_a_task_without_a_setting_is_refused_by_name() -> None:
    with pytest.raises(BadDeclaration, match="MAINTAIN_NONSENSE_HOURS"):
        maintain("nonsense", "Does nothing.")
    assert "nonsense" not in tasks()


def test_the_tasks_of_all_apps_are_known() -> None:
    assert {"sweep_conflicts", "prune_metrics", "clearsessions", "expire_memories"} <= set(tasks())


def test_every_task_is_a_command() -> None:
    from django.core.management import get_commands

    assert set(tasks()) <= set(get_commands())
