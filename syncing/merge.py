"""Three-way merges: the rules that a declaration names for its columns. Pure.

    merge = {"content": syncing.merge.json_by_key, "summary": syncing.merge.text, "tags": syncing.merge.as_set}

A rule takes a column's value as the client knew it (base), as the client wants it (local) and as the server has it now
(remote), each as JSON has it, None for NULL; it returns the merged value or raises Unmergeable. What only one side
changed is that side's. For every rule but `counter`, what both made the same is that. No rule loses a change of either
side or makes up what neither wrote, and none but `last_write` prefers one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from functools import wraps
from typing import Any

from syncing.alignment import Alignment, Hunk, align, parted
from syncing.equality import exact, identity, same
from syncing.exceptions import Unmergeable

#: base, local, remote → merged
Rule = Callable[[Any, Any, Any], Any]

_ABSENT: Any = object()

#: Sums are exact, or they are not made: twice the digits that a decimal may have (`values.MAX_DIGITS`), and some.
_EXACT = Context(prec=2_100, Emax=2_100, Emin=-2_100, traps=[Inexact, InvalidOperation, Overflow])


def last_write(base: Any, local: Any, remote: Any) -> Any:
    """The client's value if it changed it: whoever writes last is right."""
    return remote if same(local, base) else local


def counter(base: Any, local: Any, remote: Any) -> Any:
    """The base and what both added to it or took from it, exactly. Two who count one each have counted two.

    Not for values that are set: of all rules this one alone merges two equal changes into another value. So it is asked
    before anybody looks whether both sides happen to have the same.
    """
    if same(local, base):
        return remote
    if same(remote, base):
        return local
    try:
        total = _EXACT.subtract(_EXACT.add(_quantity(local), _quantity(remote)), _quantity(base))
    except (Inexact, InvalidOperation, Overflow):
        raise Unmergeable("the sum has too many digits") from None
    if isinstance(remote, str):
        return format(total, "f")
    return int(total) if total == total.to_integral_value() else total


def _quantity(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise Unmergeable("only numbers can be counted")
    quantity = Decimal(value) if isinstance(value, str) else exact(value)
    if not quantity.is_finite():
        raise Unmergeable("only numbers can be counted")
    return quantity


def _where_both_changed(merge: Rule) -> Rule:
    """The rule, asked only where both sides changed the value, and not to the same."""

    @wraps(merge)
    def rule(base: Any, local: Any, remote: Any) -> Any:
        try:
            if same(local, base):
                return remote
            if same(remote, base) or same(local, remote):
                return local
            return merge(base, local, remote)
        except RecursionError:
            raise Unmergeable("nested too deeply to be merged") from None

    return rule


@_where_both_changed
def as_set(base: Any, local: Any, remote: Any) -> Any:
    """Arrays as sets: without what either side removed, with what either added. In the server's order, added ones last.

    NULL is an empty set.
    """
    if not all(isinstance(side, list) or side is None for side in (base, local, remote)):
        raise Unmergeable("only arrays are merged as sets")
    known, kept, there = ({identity(item) for item in side or ()} for side in (base, local, remote))
    removed, present = known - kept, known | there
    added: dict[Hashable, Any] = {}
    for item in local or ():
        if (key := identity(item)) not in present:
            added.setdefault(key, item)
    return [*(item for item in remote or () if identity(item) not in removed), *added.values()]


def json_by_key(base: Any, local: Any, remote: Any) -> Any:
    """Objects key by key, as deep as there are objects; lists, texts and numbers as wholes.

    A key that is missing was deleted: one side may delete what the other left alone, not what it changed. Objects that
    both put where nothing or NULL was are merged, too.
    """
    try:
        return _member(base, local, remote, ())
    except RecursionError:
        raise Unmergeable("nested too deeply to be merged") from None


def _member(base: Any, local: Any, remote: Any, path: tuple[str, ...]) -> Any:
    # Objects are not compared as wholes first: at each level of a deep one that would look at all below it again.
    if isinstance(local, dict) and isinstance(remote, dict) and (base is _ABSENT or isinstance(base, dict | None)):
        known = {} if base is _ABSENT or base is None else base
        keys = [*remote, *(key for key in local if key not in remote)]
        members = (
            (key, _member(known.get(key, _ABSENT), local.get(key, _ABSENT), remote.get(key, _ABSENT), (*path, key)))
            for key in keys
        )
        return {key: member for key, member in members if member is not _ABSENT}
    if same(local, base):
        return remote
    if same(remote, base) or same(local, remote):
        return local
    deleted = local is _ABSENT or remote is _ABSENT
    what = "one side deleted and the other changed" if deleted else "both sides changed"
    raise Unmergeable(f"{what} {'.'.join(path) or 'the value'}")


@_where_both_changed
def text(base: Any, local: Any, remote: Any) -> Any:
    """Texts by words: changes of both sides, where at least one unchanged word stands between them.

    A word is what stands between spaces, in Chinese and Japanese each sign.
    """
    if not all(isinstance(side, str) for side in (base, local, remote)):
        raise Unmergeable("only texts are merged as texts")
    ours, theirs = align(base, local), align(base, remote)
    merged: list[str] = []
    at = 0
    for start, stop, mine, others in _meetings(ours, theirs):
        sides = ((ours, mine), (theirs, others))
        options = [_changed(alignment, hunks, start, stop) for alignment, hunks in sides if hunks]
        if len(options) == 2 and options[0] != options[1]:
            raise Unmergeable(f"both sides changed {_quoted(''.join(ours.old[start:stop]))}")
        merged += [*ours.old[at:start], *options[0]]
        at = stop
    return "".join([*merged, *ours.old[at:]])


def _meetings(ours: Alignment, theirs: Alignment) -> Iterator[tuple[int, int, list[Hunk], list[Hunk]]]:
    """Stretches of the base with our hunks and theirs in them: those that touch or overlap lie in one stretch."""
    mine, others = list(reversed(ours.hunks)), list(reversed(theirs.hunks))
    while mine or others:
        start = stop = min(side[-1].start for side in (mine, others) if side)
        taken: tuple[list[Hunk], list[Hunk]] = ([], [])
        reaching = True
        while reaching:
            reaching = False
            for side, into in zip((mine, others), taken, strict=True):
                while side and (side[-1].start <= stop or not parted(stop, side[-1].start)):
                    into.append(side.pop())
                    stop = max(stop, into[-1].stop)
                    reaching = True
        yield start, stop, *taken


def _changed(alignment: Alignment, hunks: list[Hunk], start: int, stop: int) -> list[str]:
    """What stands on one side in place of this stretch of the base."""
    pieces: list[str] = []
    for hunk in hunks:
        pieces += [*alignment.old[start : hunk.start], *alignment.new[hunk.new_start : hunk.new_stop]]
        start = hunk.stop
    return [*pieces, *alignment.old[start:stop]]


def _quoted(passage: str) -> str:
    shown = passage.strip()
    return f"“{shown if len(shown) <= 80 else shown[:79] + '…'}”" if shown else "the text in one place"
