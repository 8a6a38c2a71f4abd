"""The rules that the database holds about agents, by name, and what breaking one means."""

from __future__ import annotations

import syncing

AGENT_NAMED = "agents_named"
AGENT_TYPE = "agents_type"
AGENT_STATUS = "agents_status"
AGENT_RUNS = "agents_runs"
AGENT_RUN_TIME = "agents_run_time"


class NameMissing(syncing.RuleBroken):
    """An agent needs a name."""

    fields = ("name",)


class UnknownType(syncing.RuleBroken):
    """There is no such type of agent."""

    fields = ("type",)


class UnknownStatus(syncing.RuleBroken):
    """An agent is active, inactive, busy or in error."""

    fields = ("status",)


class ImpossibleRuns(syncing.RuleBroken):
    """There cannot be more successful runs than runs, nor fewer than none."""

    fields = ("total_runs", "successful_runs")


class NegativeRunTime(syncing.RuleBroken):
    """A run cannot take less than no time."""

    fields = ("average_run_time",)


syncing.rule(AGENT_NAMED, NameMissing)
syncing.rule(AGENT_TYPE, UnknownType)
syncing.rule(AGENT_STATUS, UnknownStatus)
syncing.rule(AGENT_RUNS, ImpossibleRuns)
syncing.rule(AGENT_RUN_TIME, NegativeRunTime)
