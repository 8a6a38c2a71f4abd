"""Texts merged by words: both sides' changes or none."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncing.alignment import align, pieces
from syncing.exceptions import Unmergeable
from syncing.merge import text

PIECES = st.sampled_from(["a", "b", "c", "the", " ", "  ", "\n", "\r\n", "\u3000", "漢", "字", "。", ", ", "\u2028"])
TEXTS = st.lists(PIECES, max_size=25).map("".join)


@st.composite
def separate_edits(draw: st.DrawFn) -> tuple[str, str, str, str]:
    """A text of words that are all different, two edits of it with an unchanged word between any two, and both done."""
    base, local, remote, both = ([], [], [], [])
    free = True  # whether an edit may come: the word before is unchanged
    for at in range(draw(st.integers(1, 12))):
        word = f"w{at}"
        base.append(word)
        edited = [word]
        who = "none"
        if free:
            edited = draw(st.sampled_from([[word], [], [f"x{at}"], [f"x{at}", word], [word, f"x{at}", f"y{at}"]]))
            who = draw(st.sampled_from(["local", "remote", "both"]))
        local += edited if who in ("local", "both") else [word]
        remote += edited if who in ("remote", "both") else [word]
        both += edited if who != "none" else [word]
        free = not free
    between = draw(st.sampled_from([" ", "\n"]))
    return between.join(base), between.join(local), between.join(remote), between.join(both)


@given(edits=separate_edits())
def test_edits_with_a_word_between_them_are_all_made(edits: tuple[str, str, str, str]) -> None:
    base, local, remote, both = edits
    assert text(base, local, remote).split() == both.split()


@given(base=TEXTS, local=TEXTS, remote=TEXTS)
def test_no_word_appears_that_nobody_wrote_and_none_more_often_than_it_was_written(
    base: str, local: str, remote: str
) -> None:
    try:
        merged = pieces(text(base, local, remote))[1::2]
    except Unmergeable:
        return
    for word in set(merged):
        before, ours, theirs = (pieces(side)[1::2].count(word) for side in (base, local, remote))
        assert merged.count(word) <= ours + theirs - min(before, ours, theirs)


@pytest.mark.parametrize(
    ("base", "local", "remote", "merged"),
    [
        ("one two three", "ONE two three", "one two THREE", "ONE two THREE"),
        ("a line\nanother\n", "a new line\nanother\n", "a line\nanother one\n", "a new line\nanother one\n"),
        ("fix the bug", "fix the bug", "fix that bug now", "fix that bug now"),
        ("keep this. drop this.", "keep this.", "We keep this. drop this.", "We keep this."),
        ("one two three", "zero one two three", "one two three four", "zero one two three four"),
        ("我們今天去學校", "我們明天去學校", "我們今天去公園", "我們明天去公園"),
        ("a b c d e", "a X c d e", "a X c Y e", "a X c Y e"),
    ],
)
def test_changes_in_different_places_are_both_made(base: str, local: str, remote: str, merged: str) -> None:
    assert text(base, local, remote) == merged


@pytest.mark.parametrize(
    ("base", "local", "remote", "told"),
    [
        ("one two three", "one 2 three", "one zwei three", "both sides changed “two”"),
        ("one two three", "1 two three", "one 2 three", "both sides changed “one two”"),
        ("one two three", "one three", "one too three", "both sides changed “two”"),
        ("one", "one two", "one three", "both sides changed the text in one place"),
        ("x " * 100, "y", "z", f"both sides changed “{('x ' * 100)[:79]}…”"),
        (None, "a", "b", "only texts are merged as texts"),
    ],
)
def test_changes_in_one_place_are_not_merged(base: str, local: str, remote: str, told: str) -> None:
    with pytest.raises(Unmergeable) as raised:
        text(base, local, remote)
    assert raised.value.message == told


# -- alignment ---------------------------------------------------------------------------------------------------------


@given(old=TEXTS, new=TEXTS)
def test_an_alignment_leads_from_the_one_text_to_the_other(old: str, new: str) -> None:
    aligned = align(old, new)
    assert "".join(aligned.old) == old
    assert "".join(aligned.new) == new
    rebuilt: list[str] = []
    at = 0
    for hunk in aligned.hunks:
        assert "".join(aligned.old[at : hunk.start]).strip() or hunk is aligned.hunks[0]
        rebuilt += [*aligned.old[at : hunk.start], *aligned.new[hunk.new_start : hunk.new_stop]]
        at = hunk.stop
    assert "".join([*rebuilt, *aligned.old[at:]]) == new


@given(old=st.text("ab", max_size=9), new=st.text("ab", max_size=9))
def test_the_shortest_edit_is_found(old: str, new: str) -> None:
    aligned = align(" ".join(old), " ".join(new))
    gone = [word for hunk in aligned.hunks for word in aligned.old[hunk.start : hunk.stop] if word.strip()]
    come = [word for hunk in aligned.hunks for word in aligned.new[hunk.new_start : hunk.new_stop] if word.strip()]
    assert len(gone) + len(come) == len(old) + len(new) - 2 * longest_common(old, new)


def longest_common(one: str, another: str) -> int:
    """The length of the longest common subsequence, from its definition."""
    row = [0] * (len(another) + 1)
    for sign in one:
        above = row
        row = [0]
        for at, other in enumerate(another):
            row.append(above[at] + 1 if sign == other else max(above[at + 1], row[at]))
    return row[-1]


def giants() -> list[tuple[str, str, str]]:
    chance = random.Random(5)
    few = [" ".join(chance.choices("abc", k=150_000)) for _ in range(3)]
    lines = ["\n".join(chance.choices("abc", k=150_000)) for _ in range(3)]
    same = "x " * 200_000
    return [
        (few[0], few[1], few[2]),
        (lines[0], lines[1], lines[2]),
        (same, same + "y " * 100_000, "z " + same[:-40_000]),
    ]


@pytest.mark.parametrize("which", range(3))
def test_giant_texts_take_bounded_time(which: int) -> None:
    base, local, remote = giants()[which]
    started = time.process_time()
    try:
        text(base, local, remote)
    except Unmergeable:
        pass
    assert time.process_time() - started < 8


def test_what_is_too_much_to_compare_counts_as_changed_and_the_rest_merges_still() -> None:
    chance = random.Random(7)
    old, new = (" ".join(chance.choices("abcdefgh", k=20_000)) for _ in range(2))
    frame = "first line\n{}\nsome words here\nlast line\n"
    merged = text(frame.format(old), frame.format(new), frame.format(old).replace("last", "final"))
    assert merged == frame.format(new).replace("last", "final")
