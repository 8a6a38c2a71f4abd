"""What a client wants, against what others changed meanwhile: column by column, by rules. Pure.

Values are wire values. Where neither a rule nor the values themselves decide, the column is in dispute, and a strategy
or a person has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from syncing.exceptions import Unmergeable
from syncing.merge import Rule
from syncing.values import ColumnType, same


@dataclass(frozen=True, slots=True)
class Since:
    """What others changed in a row after a version: the columns, with their values as they were at that version.

    reached: whether the log says so. If it does not, every column may have changed, from whatever it was.
    """

    before: Mapping[str, Any] = field(default_factory=dict)
    reached: bool = True

    def changed(self, column: str) -> bool:
        """Whether somebody else may have changed the column."""
        return not self.reached or column in self.before


@dataclass(frozen=True, slots=True)
class Reconciled:
    """values: to be written, for the columns that are settled. disputed: columns that are not."""

    values: Mapping[str, Any]
    disputed: tuple[str, ...]


def reconcile(
    types: Mapping[str, ColumnType],
    local: Mapping[str, Any],
    remote: Mapping[str, Any],
    since: Since,
    rules: Mapping[str, Rule],
) -> Reconciled:
    """The columns that `local` names: unchanged by others, changed alike, merged by rule, or in dispute."""
    values: dict[str, Any] = {}
    disputed = []
    for column, wanted in local.items():
        type_, present = types[column], remote[column]
        if not since.changed(column):
            settled = wanted
        elif since.reached and column in rules:
            # Before it is asked whether both have the same: two who count one each have counted two.
            try:
                settled = rules[column](since.before[column], wanted, present)
            except Unmergeable:
                disputed.append(column)
                continue
        elif same(type_, wanted, present) or (since.reached and same(type_, wanted, since.before[column])):
            continue
        else:
            disputed.append(column)
            continue
        if not same(type_, settled, present):
            values[column] = settled
    return Reconciled(values, tuple(disputed))
