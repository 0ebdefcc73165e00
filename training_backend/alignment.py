"""Two tokenizers' tokens of one text, matched where they cover the same characters (pure)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Characters that a server may have lost between two tokens: one that several tokens share.
_MOST_LOST = 8


@dataclass(frozen=True)
class Group:
    """Neighbouring tokens of both sides that cover the same characters, the fewest that do."""

    student: range
    teacher: range


def pieces(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """Return the text that each token adds to those before it.

    A character that several tokens share belongs to the last of them; the others add nothing.
    """
    found: list[str] = []
    # What is decoded begins a whole token earlier: some decoders treat a text's beginning otherwise.
    context, begun = 0, 0
    for end in range(1, len(ids) + 1):
        before = decode(ids[context:begun])
        text = decode(ids[context:end])
        if text.endswith("\N{REPLACEMENT CHARACTER}") and end < len(ids):
            found.append("")
            continue
        found.append(text[len(before) :])
        context, begun = begun, end
    return found


def fit(found: Sequence[str], text: str) -> list[str]:
    """Return the pieces of `text` that tokens stand for, of which a server told `found`.

    A piece that it could not write, since tokens share a character, gets what lies between its
    neighbours.
    """
    placed: list[str] = []
    at = 0
    for piece in found:
        place = text.find(piece, at, at + len(piece) + _MOST_LOST) if piece else -1
        if place < 0 or (place > at and not placed):
            placed.append("")
            continue
        if place > at:
            placed[-1] += text[at:place]
        placed.append(piece)
        at = place + len(piece)
    if placed and not placed[-1]:
        placed[-1] = text[at : at + _MOST_LOST]
    return placed


def align(student: Sequence[str], teacher: Sequence[str]) -> list[Group]:
    """Match two lists of pieces of one text; stop where the texts are no longer the same."""
    groups: list[Group] = []
    i = j = 0
    while i < len(student) and j < len(teacher):
        first_i, first_j = i, j
        mine, theirs = student[i], teacher[j]
        i, j = i + 1, j + 1
        while mine != theirs or not mine:
            if len(mine) <= len(theirs) and i < len(student):
                mine, i = mine + student[i], i + 1
            elif j < len(teacher) and len(theirs) <= len(mine):
                theirs, j = theirs + teacher[j], j + 1
            else:
                return groups
            if not (mine.startswith(theirs) or theirs.startswith(mine)):
                return groups
        groups.append(Group(range(first_i, i), range(first_j, j)))
    return groups


def shared_gaps(
    groups: Sequence[Group], student: Sequence[float], teacher: Sequence[float]
) -> dict[int, float]:
    """Return how much likelier the student's tokens are to it than to the teacher, by their place.

    What a group differs in is shared evenly by its tokens.
    """
    gaps: dict[int, float] = {}
    for group in groups:
        ahead = sum(student[place] for place in group.student) - sum(
            teacher[place] for place in group.teacher
        )
        gaps |= dict.fromkeys(group.student, ahead / len(group.student))
    return gaps
