"""What scores say about a reward, without asking for any."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.errors import EnvironmentFailed
from freesolo.package.audit_facts import Latency
from freesolo.package.audit_measures import facts_of, latency_of, separation_of
from freesolo.package.audit_outcomes import (
    Outcome,
    Tried,
    same_rewards,
    with_other_right_answers,
)
from freesolo.package.audit_verdicts import slow, verdicts
from freesolo.package.findings import Severity
from freesolo.package.perturbations import Kind, Perturbation
from freesolo.runtime.values import Score, unscorable

WRONG = (Kind.EMPTY, Kind.REFUSAL, Kind.OTHER_GOLD, Kind.PROMPT, Kind.LONG)


def scored(reward: float, *, success: bool | None = None, seconds: float = 0.0) -> Score:
    """Return a score that is a success if it is positive, unless it says otherwise."""
    return Score(reward, reward > 0 if success is None else success, seconds=seconds)


def outcome(row: int, gold: float, *wrong: float) -> Outcome:
    """Return what was said of a row: its gold answer's reward, and those of wrong answers."""
    tried = [
        Tried(Perturbation(kind, f"{kind} {row}", wrong=True), scored(reward))
        for kind, reward in zip(WRONG, wrong, strict=False)
    ]
    return Outcome(row, f"gold {row}", scored(gold), scored(gold), tried)


def codes(outcomes: list[Outcome]) -> list[str]:
    """Return the codes of all findings."""
    return [finding.code for finding in verdicts(outcomes)]


def test_what_separates_has_no_flaw() -> None:
    assert codes([outcome(row, 1, 0, 0.5, 0, 0.9, 0) for row in range(9)]) == []


def test_rows_are_compared_with_themselves_only() -> None:
    easy_and_hard = [outcome(0, 1, 0, 0, 0, 0, 0), outcome(1, 10, 5, 5, 5, 5, 5)]

    assert codes(easy_and_hard) == []
    separation = separation_of(easy_and_hard)
    assert separation
    assert separation.auc == 1.0
    assert separation.low < 0.5


@pytest.mark.parametrize(("hits", "gamed"), [(1, False), (2, False), (3, True), (8, True)])
def test_a_few_hits_are_chance(hits: int, gamed: bool) -> None:
    rows = [outcome(row, 1, 1.0 if row < hits else 0, 0, 0, 0, 0) for row in range(8)]

    assert codes(rows) == (["reward_gamed"] if gamed else [])


def test_a_prompt_that_names_a_label_is_as_good_as_a_guess() -> None:
    guessed = [
        replace(
            outcome(row, 1, 0, 0, 0, float(row % 3 == 0), 0), gold=("yes", "no", "both")[row % 3]
        )
        for row in range(30)
    ]
    known = [
        replace(outcome(row, 1, 0, 0, 0, 1, 0), gold=["yes", "no"][row % 2]) for row in range(30)
    ]

    assert codes(guessed) == []
    assert codes(known) == ["reward_gamed"]


@pytest.mark.parametrize("kind", [Kind.REFUSAL, Kind.LONG])
def test_any_text_may_begin_with_a_label(kind: Kind) -> None:
    hits = [float(each is kind) for each in WRONG]
    letters = [
        replace(outcome(row, 1, *(hits if row % 4 == 0 else [0.0] * 5)), gold="ABCD"[row % 4])
        for row in range(40)
    ]

    assert codes(letters) == []


def taking(row: int, *others: float) -> Outcome:
    """Return an outcome with these rewards of other rows' gold answers, the gold one's being 1."""
    tried = [
        Tried(Perturbation(Kind.OTHER_GOLD, f"gold {row + n}", wrong=True), scored(reward))
        for n, reward in enumerate(others, 1)
    ]
    return replace(outcome(row, 1, 0), tried=tried)


def test_what_a_reward_takes_while_it_refuses_others_may_be_right() -> None:
    rows = with_other_right_answers([taking(row, 0, 0, row % 2, 1) for row in range(8)])

    (lenient,) = verdicts(rows)

    assert (lenient.code, lenient.severity) == ("reward_lenient", Severity.INFO)
    assert {tried.answer.kind for tried in rows[0].tried} == {Kind.OTHER_GOLD, Kind.OTHER_RIGHT}
    separation = separation_of(rows)
    assert separation
    assert separation.auc == 1.0


def test_a_reward_that_takes_nearly_any_gold_answer_does_not_look_at_it() -> None:
    rows = [taking(row, 1, 1, 1, row % 2) for row in range(8)]

    assert with_other_right_answers(rows) == rows
    assert codes(rows) == ["reward_blind"]


def test_of_a_few_labels_only_one_is_right() -> None:
    rows = [replace(taking(row, row % 2, 0), gold=["yes", "no"][row % 2]) for row in range(16)]

    assert with_other_right_answers(rows) == rows
    assert codes(rows) == ["reward_gamed"]


def test_of_what_chance_decides_no_single_answer_is_told() -> None:
    changed = replace(outcome(0, 1, 0), again=scored(0))

    assert codes([changed, outcome(1, 0, 0)]) == []


def test_without_gold_answers_a_reward_for_any_words_is_constant() -> None:
    rows = [replace(outcome(row, 0, 0, 1, 1, 1, 1), first=None, again=None) for row in range(3)]
    empty = Tried(Perturbation(Kind.EMPTY, "", wrong=True), scored(0))
    rows = [replace(row, tried=[empty, *row.tried[1:]]) for row in rows]

    assert codes(rows) == ["reward_constant"]


def test_the_finding_names_the_kind_how_often_and_where() -> None:
    rows = [outcome(row, 1, 0, 0, 0, 1, 0) for row in range(8)]

    (finding,) = verdicts(rows)

    assert finding.message == (
        "Wrong answers get as much as the gold answer: prompt (8 of 8); such as 'prompt 0' in row 0."
    )
    assert finding.rows == tuple(range(8))


def test_where_half_of_all_is_a_tie_the_reward_is_blind() -> None:
    assert codes([outcome(row, 1, 1, 1, 1, 0, 0) for row in range(8)]) == ["reward_blind"]


def test_where_one_answer_is_a_success_and_a_better_one_is_not_they_contradict() -> None:
    row = outcome(0, 1, 0.5, 0, 0, 0, 0)
    better = Tried(Perturbation(Kind.LONG, "long", wrong=True), scored(0.9, success=False))

    assert codes([replace(row, tried=[*row.tried, better])]) == ["success_contradicts"]


def test_gold_below_zero_is_sound_if_it_is_best() -> None:
    row = outcome(0, -1, -2, -2, -3, -2, -2)

    (unsuccessful,) = verdicts([row])
    assert (unsuccessful.code, unsuccessful.severity) == ("gold_unsuccessful", Severity.INFO)
    assert codes([replace(row, first=scored(-1, success=True))]) == []


def test_failures_name_their_kind_and_the_rest_is_judged_all_the_same() -> None:
    error = EnvironmentFailed("IndexError: list index out of range", traceback="line 1")
    failing = Tried(Perturbation(Kind.EMPTY, "", wrong=True), unscorable(error, raised=True))
    rows = [replace(outcome(row, 0, 1), tried=[failing]) for row in range(2)]

    failed, zero = verdicts(rows)

    assert (failed.code, failed.severity, failed.rows) == ("wrong_failed", Severity.ERROR, (0, 1))
    assert "(empty)" in failed.message
    assert failed.traceback == "line 1"
    assert zero.code == "gold_all_zero"


def test_a_step_waits_for_its_groups_one_after_the_other() -> None:
    alone = scored(1, seconds=1.0)
    row = replace(outcome(0, 1), first=alone, again=alone)

    assert latency_of([row], [2.0, 4.0], rollouts=256) == Latency(1.0, 1.0, 256, 256 / 8 * 3.0)
    assert latency_of([row], [], rollouts=256) == Latency(1.0, 1.0, 256, 256 * 1.0)
    assert latency_of([], [], rollouts=256) is None


@pytest.mark.parametrize(("seconds", "found"), [(59.0, []), (61.0, ["reward_slow"])])
def test_a_step_that_waits_for_more_than_a_minute_is_slow(seconds: float, found: list[str]) -> None:
    latency = Latency(p50=0.1, p99=0.2, rollouts=256, step_seconds=seconds)

    assert [finding.code for finding in slow(latency)] == found
    assert [*slow(None)] == []


def test_rewards_are_the_same_but_for_rounding() -> None:
    assert same_rewards([0.1 + 0.2, None], [0.3, None])
    assert not same_rewards([0.3], [0.31])
    assert not same_rewards([None], [0.0])
    assert not same_rewards([1.0], [1.0, 1.0])


rewards = st.integers(-2, 2).map(float)


@given(
    rows=st.lists(
        st.tuples(rewards, st.lists(rewards, min_size=5, max_size=5)), min_size=1, max_size=12
    )
)
def test_any_scores_are_judged_and_measured_alike(
    rows: list[tuple[float, list[float]]],
) -> None:
    outcomes = [outcome(row, gold, *wrong) for row, (gold, wrong) in enumerate(rows)]

    found = codes(outcomes)
    facts = facts_of(outcomes, labelled=len(rows), latency=None)

    assert len(found) == len(set(found))
    assert not {"reward_blind", "reward_gamed"} <= set(found)
    assert all(0 <= kind.as_gold <= 1 for kind in facts.kinds)
    if facts.separation:
        assert 0 <= facts.separation.low <= facts.separation.auc <= facts.separation.high <= 1
    assert all(answer.reward >= answer.gold_reward for answer in facts.worst)
