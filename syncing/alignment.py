"""Which words of one text are which words of another: the ground of merging texts and of showing what changed. Pure.

By lines first, then by the words of the lines that differ, each time by the shortest edit (E. W. Myers, "An O(ND)
difference algorithm and its variations", 1986). Spaces are compared only between words that were found: as pieces of
their own they would be matched in place of words, since there are so many of them. What takes more than a bounded
number of steps counts as wholly changed: coarser, but never wrong. (difflib knows no such bound.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

#: Steps that one comparison of two texts may take: some tenths of a second.
MAX_STEPS = 500_000

#: Scripts that put no spaces between words: each sign counts as a word. (U+3000 before them is a space.)
_SIGN = "\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"([{_SIGN}]|[^\s{_SIGN}]+)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class Hunk:
    """`old[start:stop]` became `new[new_start:new_stop]`; either may be empty."""

    start: int
    stop: int
    new_start: int
    new_stop: int


@dataclass(frozen=True, slots=True)
class Alignment:
    """Two texts in pieces, as `pieces` makes them, and where they differ, from front to back.

    Between two hunks stands at least one word that both texts have.
    """

    old: Sequence[str]
    new: Sequence[str]
    hunks: Sequence[Hunk]


def align(old: str, new: str) -> Alignment:
    """How the one text became the other."""
    old_pieces, new_pieces = pieces(old), pieces(new)
    hunks: list[Hunk] = []
    at = new_at = 0
    ends = (len(old_pieces) // 2, len(new_pieces) // 2)
    for word, new_word in [*_same_words(old, new), ends]:
        stop, new_stop = 2 * word + 1, 2 * new_word + 1
        between, new_between = old_pieces[at:stop], new_pieces[new_at:new_stop]
        if between != new_between:
            head, tail = _ends(between, new_between)
            hunks.append(Hunk(at + head, stop - tail, new_at + head, new_stop - tail))
        at, new_at = stop + 1, new_stop + 1
    return Alignment(old_pieces, new_pieces, hunks)


def pieces(text: str) -> list[str]:
    """The text as space, word, space, …, word, space; the spaces may be empty. Words keep their punctuation."""
    return _WORD.split(text)


def parted(stop: int, start: int) -> bool:
    """Whether a word stands between two places in a list of pieces."""
    return stop // 2 < start // 2


def _same_words(old: str, new: str) -> Iterator[tuple[int, int]]:
    """The words that are the same ones, by their number in each text."""
    old_lines, new_lines = _LINE.findall(old), _LINE.findall(new)
    old_words, new_words = ([_WORD.findall(line) for line in lines] for lines in (old_lines, new_lines))
    old_offsets, new_offsets = (list(accumulate(map(len, words), initial=0)) for words in (old_words, new_words))
    search = _Search(MAX_STEPS)
    at = new_at = 0
    for line, new_line in [*search.same(old_lines, new_lines), (len(old_lines), len(new_lines))]:
        changed = [word for words in old_words[at:line] for word in words]
        new_changed = [word for words in new_words[new_at:new_line] for word in words]
        for word, new_word in search.same(changed, new_changed):
            yield old_offsets[at] + word, new_offsets[new_at] + new_word
        if line < len(old_lines):
            words, new_words_here = old_offsets[line : line + 2], new_offsets[new_line : new_line + 2]
            yield from zip(range(*words), range(*new_words_here), strict=True)
        at, new_at = line + 1, new_line + 1


class _Search:
    """The shortest edits of several pairs of sequences, within so many steps altogether."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def same(self, old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int]]:
        """The items that are the same ones, by their places in each, from front to back."""
        head, tail = _ends(old, new)
        old_stop, new_stop = len(old) - tail, len(new) - tail
        yield from zip(range(head), range(head), strict=True)
        numbers: dict[str, int] = {}  # comparing numbers takes one step, comparing lines may take many
        a = [numbers.setdefault(item, len(numbers)) for item in old[head:old_stop]]
        b = [numbers.setdefault(item, len(numbers)) for item in new[head:new_stop]]
        for start, new_start, length in reversed(list(_steps_back(self._reached(a, b), len(a), len(b)))):
            for at in range(head, head + length):
                yield start + at, new_start + at
        yield from zip(range(old_stop, len(old)), range(new_stop, len(new)), strict=True)

    def _reached(self, a: Sequence[int], b: Sequence[int]) -> list[list[int]]:
        """For each number of edits, how far into `a` each diagonal gets by them; nothing once the steps are spent.

        Entry `i` of round `d` is the diagonal `2 * i - d`: so many more items of `a` than of `b` are used up.
        """
        rounds = [[0]] if a and b else []
        while rounds:
            edits = len(rounds)
            reached: list[int] = []
            for i in range(edits + 1):
                start = x = _enter(rounds[-1], i)[0]
                y = x - (2 * i - edits)
                while x < len(a) and y < len(b) and a[x] == b[y]:
                    x, y = x + 1, y + 1
                self._steps -= x - start + 1
                if self._steps < 0:
                    return []
                reached.append(x)
                if x >= len(a) and y >= len(b):
                    return [*rounds, reached]
            rounds.append(reached)
        return rounds


def _enter(before: Sequence[int], i: int) -> tuple[int, bool]:
    """Where diagonal `i` is entered from the round before, and whether by an insertion, which leaves `a` alone."""
    inserted = i == 0 or (i < len(before) and before[i - 1] < before[i])
    return (before[i], True) if inserted else (before[i - 1] + 1, False)


def _steps_back(rounds: Sequence[Sequence[int]], x: int, y: int) -> Iterator[tuple[int, int, int]]:
    """The matches (place in `a`, place in `b`, length) on the way that was found, from its end to its beginning."""
    for edits in range(len(rounds) - 1, 0, -1):
        entered, inserted = _enter(rounds[edits - 1], (x - y + edits) // 2)
        if x > entered:
            yield entered, entered - (x - y), x - entered
        x, y = (entered, entered - (x - y) - 1) if inserted else (entered - 1, entered - (x - y))


def _ends(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """How many items both have at the beginning, and how many at the end beside those."""
    head = _common(zip(old, new, strict=False))
    rest = min(len(old), len(new)) - head
    return head, _common(zip(reversed(old[-rest:]), reversed(new[-rest:]), strict=True)) if rest else 0


def _common(pairs: Iterable[tuple[str, str]]) -> int:
    """How many pairs from the first on are equal."""
    count = 0
    for one, another in pairs:
        if one != another:
            break
        count += 1
    return count
