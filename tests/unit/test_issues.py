"""Health: what issues add up to, and when an alert begins and ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing.alerts import Jury
from syncing.disks import Disk, fullness
from syncing.issues import RELIEF, Health, Issue, Thresholds

WARNING = Issue("slow", "sync", "warning", "It is slow.", "Make it fast.")
CRITICAL = Issue("gone", "database", "critical", "It is gone.", "Bring it back.")
LIMITS = Thresholds(1000, 10, 1000, 100, 60, 10, 90, 7)


def test_nothing_wrong_is_healthy() -> None:
    health = Health.of([])
    assert (health.status, health.score, health.issues, health.recommendations) == ("healthy", 100, (), [])
    assert {part: one.status for part, one in health.parts.items()} == dict.fromkeys(
        ("database", "sync", "monitoring"), "healthy"
    )


def test_the_worst_comes_first_and_each_part_has_its_own_state() -> None:
    health = Health.of([WARNING, CRITICAL])
    assert health.status == "critical"
    assert health.issues == (CRITICAL, WARNING)
    assert health.recommendations == ["Bring it back.", "Make it fast."]
    states = {part: (one.status, one.score) for part, one in health.parts.items()}
    assert states == {"database": ("critical", 50), "sync": ("warning", 90), "monitoring": ("healthy", 100)}
    assert health.score == 40


def test_a_recommendation_is_given_once() -> None:
    assert Health.of([replace(WARNING, subject="a"), replace(WARNING, subject="b")]).recommendations == [
        "Make it fast."
    ]


def test_what_has_not_crossed_its_threshold_does_not_count() -> None:
    assert Health.of([replace(WARNING, load=0.99)]).status == "healthy"
    assert Health.of([replace(WARNING, load=1.0)]).status == "warning"


@given(st.lists(st.sampled_from([WARNING, CRITICAL]), max_size=30))
def test_the_score_stays_between_0_and_100_and_falls_with_each_issue(issues: list[Issue]) -> None:
    scores = [Health.of(issues[:number]).score for number in range(len(issues) + 1)]
    assert all(0 <= score <= 100 for score in scores)
    assert scores == sorted(scores, reverse=True)


# -- alerts ------------------------------------------------------------------------------------------------------------


def follow(*looks: list[Issue]) -> list[str]:
    """What happens at each look: +key, -key, or nothing."""
    jury, open_ = Jury(), dict[str, Issue]()
    told = []
    for issues in looks:
        verdict = jury.judge(issues, set(open_))
        # As the database does: who is open is raised again only when it gets worse.
        raised = [
            issue
            for issue in verdict.raised
            if issue.key not in open_ or (open_[issue.key].severity, issue.severity) == ("warning", "critical")
        ]
        open_.update({issue.key: issue for issue in raised})
        for key in verdict.cleared:
            del open_[key]
        told.append(" ".join([f"+{issue.key}" for issue in raised] + [f"-{key}" for key in verdict.cleared]))
    return told


def test_a_warning_begins_when_it_is_seen_twice_and_ends_when_it_is_absent_twice() -> None:
    assert follow([WARNING], [WARNING], [WARNING], [], []) == ["", "+slow", "", "", "-slow"]


def test_what_comes_and_goes_is_not_told() -> None:
    assert follow(*[[WARNING], []] * 5) == [""] * 10


def test_what_goes_and_comes_while_it_is_open_is_told_once() -> None:
    assert follow([WARNING], [WARNING], *[[], [WARNING]] * 5) == ["", "+slow"] + [""] * 10


def test_what_is_critical_begins_at_once() -> None:
    assert follow([CRITICAL], [], []) == ["+gone", "", "-gone"]


def test_a_measure_that_sways_about_its_threshold_is_one_alert() -> None:
    above, below, gone = (replace(WARNING, load=load) for load in (1.1, RELIEF + 0.01, 0.0))
    assert follow([above], [above], [below], [below], [above], [below], [below]) == ["", "+slow"] + [""] * 5
    # Below its threshold it does not begin.
    assert follow([below], [below], [below]) == [""] * 3
    assert not gone.crossed


def test_what_gets_worse_is_told_again() -> None:
    worse = replace(WARNING, severity="critical")
    assert follow([WARNING], [WARNING], [worse], [worse]) == ["", "+slow", "+slow", ""]


@given(st.lists(st.sets(st.sampled_from("abc")), max_size=40))
def test_each_alert_that_begins_ends_before_it_begins_again(looks: list[set[str]]) -> None:
    told = " ".join(follow(*[[replace(WARNING, subject=one) for one in sorted(look)] for look in looks])).split()
    for one in "abc":
        mine = [event[0] for event in told if event.endswith(f":{one}")]
        assert mine == ["+", "-"] * (len(mine) // 2) + ["+"] * (len(mine) % 2)


# -- disks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "found"),
    [(0, "critical"), (2, "critical"), (4, "warning"), (9, "warning"), (11, "below"), (13, None), (100, None)],
)
def test_a_disk_is_a_warning_below_the_threshold_and_critical_below_a_third_of_it(free: int, found: str) -> None:
    issues = list(fullness(Disk("temporary files", free, 100), LIMITS))
    told = [issue.severity if issue.crossed else "below" for issue in issues]
    assert told == ([found] if found else [])
