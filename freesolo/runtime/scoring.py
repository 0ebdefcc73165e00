"""Scoring several answers at once, so that each gets its reward or the reason why it has none.

Where the author's class scores answers one by one, so do we: one that raises, hangs or ends the
process is unscorable alone. Where it scores a group in one call of its own, the group gets its
rewards together or not at all: a reward that compares siblings means nothing without them.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from freesolo.errors import EnvironmentFailed
from freesolo.runtime.batches import Batch
from freesolo.runtime.child import AuthorRaised
from freesolo.runtime.pool import Pool
from freesolo.runtime.values import Score, read_scores, unscorable


@dataclass(frozen=True)
class Scoring:
    """Answers to one question, or episodes of it, to be scored by the child's `method`.

    `items` are given to it under `name`; `turns` says how many actions led to each of them, and
    `seconds` how long scoring one may take.
    """

    method: str
    subject: Mapping[str, object]
    name: str
    items: Sequence[object]
    turns: Sequence[int]
    seconds: float

    def arguments(self, places: Sequence[int], *, apart: bool) -> dict[str, object]:
        """Return the arguments of `method` for the items at some places."""
        items = [self.items[place] for place in places]
        return {"subject": self.subject, self.name: items, "apart": apart}


def score_together(pool: Pool, scoring: Scoring, *, concurrency: int) -> list[Score]:
    """Score all in one call of the author's own, which scores `concurrency` of them at a time."""
    count = len(scoring.items)
    waves = -(-count // concurrency)
    try:
        with pool.member() as member:
            value = member.ask(
                scoring.method,
                scoring.arguments(range(count), apart=False),
                seconds=waves * scoring.seconds,
            )
        return read_scores(value, scoring.method, scoring.turns)
    except EnvironmentFailed as error:
        return [failed_score(error)] * count


def score_apart(pool: Pool, scoring: Scoring) -> list[Score]:
    """Score each on its own, spread over the members of the pool."""
    parts = list(_parts(len(scoring.items), pool.size))
    if len(parts) == 1:
        scores = _score_part(pool, scoring, parts[0])
        return [scores[place] for place in parts[0]]
    threads = ThreadPoolExecutor(len(parts), "score")
    try:
        found = threads.map(lambda part: _score_part(pool, scoring, part), parts)
        return [scores[place] for part, scores in zip(parts, found, strict=True) for place in part]
    finally:
        # Who interrupts us does not want to wait for rewards.
        threads.shutdown(wait=False)


def failed_score(error: EnvironmentFailed) -> Score:
    """Return the score of an answer that could not be scored, telling whether the author's code raised."""
    return unscorable(error, raised=_raised(error))


def _parts(count: int, most: int) -> Iterator[Sequence[int]]:
    """Divide `count` places into at most `most` parts of about one size, in their order."""
    parts = min(count, most)
    for part in range(parts):
        yield range(part * count // parts, (part + 1) * count // parts)


def _score_part(pool: Pool, scoring: Scoring, places: Sequence[int]) -> dict[int, Score]:
    """Score the items at `places`, asking again about those that another one's failure kept back."""
    scores: dict[int, Score] = {}
    waiting: list[Sequence[int]] = [places]
    while waiting:
        asked = waiting.pop()
        batch = Batch.of(range(len(asked)), seconds=scoring.seconds)
        with pool.member() as member:
            error = member.ask_each(scoring.method, scoring.arguments(asked, apart=True), batch)
        for item, outcome in batch.outcomes.items():
            scores[asked[item]] = _score_of(scoring, asked[item], outcome)
        scores |= {asked[item]: _hung(scoring, error) for item in batch.late}
        if error is None:
            continue
        rest = [asked[item] for item in (*batch.begun, *batch.waiting)]
        if len(asked) == 1 or not batch.started or _raised(error):
            scores |= {place: failed_score(error) for place in rest}
            continue
        # One of them ended the process: which one shows when each is alone.
        suspects = [asked[item] for item in batch.suspects()]
        waiting += [[place] for place in suspects]
        if left := sorted(set(rest).difference(suspects)):
            waiting.append(left)
    return scores


def _score_of(scoring: Scoring, place: int, outcome: object) -> Score:
    if isinstance(outcome, EnvironmentFailed):
        return failed_score(outcome)
    try:
        (score,) = read_scores(outcome, scoring.method, [scoring.turns[place]])
    except EnvironmentFailed as error:
        return failed_score(error)
    return score


def _raised(error: EnvironmentFailed) -> bool:
    return isinstance(error.__cause__, AuthorRaised)


def _hung(scoring: Scoring, error: EnvironmentFailed | None) -> Score:
    told = f"`{scoring.method}` gave no answer within {scoring.seconds:g} seconds"
    printed = error.traceback if error else None
    return unscorable(EnvironmentFailed(f"The environment failed: {told}.", traceback=printed))
