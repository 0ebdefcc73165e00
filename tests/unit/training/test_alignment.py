"""Tokens of two tokenizers, matched by the characters that they cover."""

import math
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from training_backend.alignment import Group, align, fit, pieces, shared_gaps


@st.composite
def cuts(draw: st.DrawFn, text: str) -> list[str]:
    """Cut a text into pieces, some of them empty: tokens that end within a character."""
    places = draw(st.lists(st.integers(0, len(text)), max_size=12))
    bounds = [0, *sorted(places), len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


@st.composite
def both_sides(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """One text, cut in two ways."""
    text = draw(st.text(alphabet="abä京", max_size=20))
    return draw(cuts(text)), draw(cuts(text))


@given(both_sides())
def test_groups_cover_the_same_characters_one_behind_the_other(
    sides: tuple[list[str], list[str]],
) -> None:
    student, teacher = sides
    i = j = 0
    for group in align(student, teacher):
        assert (group.student.start, group.teacher.start) == (i, j)
        i, j = group.student.stop, group.teacher.stop
        assert _text(student, group.student) == _text(teacher, group.teacher) != ""


@given(both_sides())
def test_what_is_not_in_a_group_has_no_text(sides: tuple[list[str], list[str]]) -> None:
    student, teacher = sides
    groups = align(student, teacher)
    last = groups[-1] if groups else Group(range(0), range(0))
    assert "".join(student[last.student.stop :]) == ""
    assert "".join(teacher[last.teacher.stop :]) == ""


@given(both_sides())
def test_no_group_could_be_two(sides: tuple[list[str], list[str]]) -> None:
    student, teacher = sides
    for group in align(student, teacher):
        mine = {_text(student, group.student[:count]) for count in range(1, len(group.student))}
        theirs = {_text(teacher, group.teacher[:count]) for count in range(1, len(group.teacher))}
        assert not (mine & theirs) - {""}


@given(st.lists(st.text(min_size=1, max_size=4), max_size=12))
def test_equal_tokens_are_groups_of_one(tokens: list[str]) -> None:
    expected = [Group(range(at, at + 1), range(at, at + 1)) for at in range(len(tokens))]
    assert align(tokens, tokens) == expected


@given(both_sides())
def test_shared_gaps_add_up_to_what_both_say_of_the_same_text(
    sides: tuple[list[str], list[str]],
) -> None:
    student, teacher = sides
    groups = align(student, teacher)
    mine = [-1.0 - place for place in range(len(student))]
    theirs = [-0.5 * place for place in range(len(teacher))]
    covered = sum(mine[place] for group in groups for place in group.student)
    covered -= sum(theirs[place] for group in groups for place in group.teacher)
    gaps = shared_gaps(groups, mine, theirs)
    assert math.isclose(sum(gaps.values()), covered, abs_tol=1e-9)


def test_texts_that_differ_are_matched_as_far_as_they_agree() -> None:
    groups = align(["a", "b", "c"], ["a", "x", "c"])
    assert groups == [Group(range(1), range(1))]


def test_a_gap_is_shared_evenly_by_the_students_tokens() -> None:
    gaps = shared_gaps(align(["1", "2"], ["12"]), [-1.0, -2.0], [-0.5])
    assert gaps == {0: -1.25, 1: -1.25}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=20))
def test_a_character_of_several_bytes_belongs_to_its_last_one(text: str) -> None:
    found = pieces(list(text.encode()), _decode)
    assert [piece for piece in found if piece] == list(text)


@given(both_sides())
def test_pieces_that_a_server_lost_come_back_from_the_text(
    sides: tuple[list[str], list[str]],
) -> None:
    told, _ = sides
    text = "".join(told)
    garbled = ["" if "京" in piece else piece for piece in told]
    placed = fit(garbled, text)
    assert len(placed) == len(told)
    assert text.startswith("".join(placed)[: len(text)])


def test_a_lost_character_goes_to_the_token_before_what_is_known() -> None:
    assert fit(["a", "", "", "b"], "a京b") == ["a", "", "京", "b"]


def _text(tokens: Sequence[str], places: Sequence[int]) -> str:
    return "".join(tokens[place] for place in places)


def _decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")
