from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from freesolo.datasets import TaskExample
from freesolo.environments import (
    Environment,
    EnvironmentEpisode,
    EnvironmentEvalSuite,
    EnvironmentTurn,
    EvalSuite,
    RewardResult,
    has_evaluations,
    load_evaluation_suites,
)
from freesolo.environments.cases import BaseEvalSuite, EvalCase, EvalResult
from freesolo.environments.grading import HeldOut, as_reward
from freesolo.environments.wrapper import EvaluatedEnvironment, PlayedEpisode
from tests.contract.environment.clauses import clause
from tests.contract.environment.test_environments import Countdown, Echo

CASE = TaskExample(record={}, input="q")


@clause("C9.2")
def test_cases_are_graded_by_the_environment_after_normalising() -> None:
    suite = EnvironmentEvalSuite(Echo(), iter([CASE]), name="heldout")

    assert suite.name == "heldout"
    assert suite.cases() == suite.cases() == [CASE]
    assert suite.score(CASE, " aa ").score == 2.0


@clause("C9.2", "C9.6")
@pytest.mark.parametrize("case", [{"input": "q", "id": "mine"}, EvalCase("q", id="mine")])
def test_the_environment_gets_every_case_as_an_example(case: object) -> None:
    class Asking(Echo):
        def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
            return RewardResult(float(response_text == example.input))

    suite = HeldOut(EnvironmentEvalSuite(Asking(), [case]), Echo())
    (example,) = suite.cases()

    assert (example.id, suite.score(example, "q").score) == ("mine", 1.0)


@clause("C9.2")
@pytest.mark.parametrize("name", [None, "  "])
def test_a_suite_without_a_name_is_called_after_its_class(name: str | None) -> None:
    assert EnvironmentEvalSuite(Echo(), [], name=name).name == "EnvironmentEvalSuite"


@clause("C9.2")
def test_a_multi_turn_environment_cannot_grade_single_answers() -> None:
    with pytest.raises(TypeError, match="single-turn"):
        EnvironmentEvalSuite(Countdown(), [])


class Exact(EvalSuite):
    """The first shape."""

    def cases(self) -> list[TaskExample]:
        return [CASE]

    def score(self, case: TaskExample, response_text: str) -> RewardResult:
        return RewardResult(float(response_text == "q"))


@clause("C9.1")
def test_a_suite_is_called_after_its_class_and_needs_both_methods() -> None:
    assert Exact().name == "Exact"
    with pytest.raises(TypeError, match="abstract"):
        type("Incomplete", (EvalSuite,), {})()


@clause("C9.2")
def test_what_is_no_environment_cannot_grade() -> None:
    environment: Any = object()

    with pytest.raises(TypeError, match="not object"):
        EnvironmentEvalSuite(environment, [])


@clause("C9.3")
@pytest.mark.parametrize(
    ("returned", "names"),
    [
        ("Exact()", ["Exact"]),
        ("(suite for suite in [Exact(), Likely()])", ["Exact", "likely"]),
        ("[]", []),
    ],
)
@pytest.mark.usefixtures("restored_imports")
def test_a_factory_returns_one_suite_or_several(
    tmp_path: Path, returned: str, names: list[str]
) -> None:
    (tmp_path / "evaluations.py").write_text(
        "from tests.contract.environment.test_suites import Exact, Likely\n"
        f"def load_evaluations(): return {returned}\n"
    )

    suites = load_evaluation_suites(str(tmp_path / "evaluations.py"))

    assert [held_out(suite).name for suite in suites] == names


@clause("C9.3")
@pytest.mark.parametrize("returned", ["None", "3", "'text'", "Exact", "[Exact]", "later()"])
@pytest.mark.usefixtures("restored_imports")
def test_what_is_no_suite_is_refused(tmp_path: Path, returned: str) -> None:
    (tmp_path / "evaluations.py").write_text(
        "from tests.contract.environment.test_suites import Exact\n"
        "async def later(): return Exact()\n"
        f"def load_evaluations(): return {returned}\n"
    )

    with pytest.raises(TypeError, match="load_evaluations returned"):
        load_evaluation_suites(str(tmp_path / "evaluations.py"))


@clause("C9.3", "C9.4")
@pytest.mark.usefixtures("restored_imports")
def test_suites_have_a_usual_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not has_evaluations()
    with pytest.raises(ValueError, match=r"freesolo/evaluations\.py"):
        load_evaluation_suites()
    (tmp_path / "freesolo").mkdir()
    (tmp_path / "freesolo" / "evaluations.py").write_text("def load_evaluations(): return []\n")

    assert has_evaluations()
    assert load_evaluation_suites() == []


class Likely:
    """The second shape, without a base class."""

    name = "likely"
    grades_episodes = False

    def __init__(self, verdict: object = True) -> None:
        self.verdict = verdict
        self.asked: list[tuple[object, ...]] = []

    def cases(self) -> list[object]:
        return [
            EvalCase("2+2", expected="4", id="sum", metadata={"level": 1}),
            {"input": "3+3", "output": "6", "metadata": {"level": 2}},
            CASE,
        ]

    def score(self, case: object, response: str, state: object = None) -> object:
        self.asked.append((case, response, state))
        return self.verdict


def held_out(suite: object, environment: Environment | None = None) -> HeldOut:
    return HeldOut(suite, environment or Echo())  # type: ignore[arg-type]


@clause("C9.5")
def test_the_classes_of_the_second_shape_have_their_fields() -> None:
    assert EvalCase("a") == EvalCase("a", None, None, None)
    result = EvalResult("id", True, 0.5, "text")
    assert (result.case_id, result.passed, result.score, result.response) == (
        "id",
        True,
        0.5,
        "text",
    )
    assert (result.reason, result.error) == (None, None)


@clause("C9.5")
@pytest.mark.parametrize(
    ("expected", "response", "passed"),
    [
        ("4", "It is 4.", True),
        (0, "0", True),
        ("5", "4", False),
        (None, "4", False),
        ("", "4", False),
    ],
)
def test_the_base_class_looks_for_the_expected_answer(
    expected: object, response: str, passed: bool
) -> None:
    result = BaseEvalSuite().score(EvalCase("a", expected), response)

    assert as_reward(result).resolved_success() is passed
    assert as_reward(result).score == float(passed)


@clause("C9.6")
def test_cases_of_every_kind_become_examples() -> None:
    first, second, third = held_out(Likely()).cases()

    assert (first.input, first.output, first.id, first.metadata) == (
        "2+2",
        "4",
        "sum",
        {"level": 1},
    )
    assert first.record == {"level": 1, "input": "2+2", "output": "4"}
    assert (second.input, second.id, second.metadata) == ("3+3", "example_000001", {"level": 2})
    assert (third.input, third.id) == ("q", "example_000002")


@clause("C9.6")
def test_a_suite_scores_the_case_that_its_author_made() -> None:
    suite = Likely()
    shown = held_out(suite)

    for case in shown.cases():
        shown.score(case, "answer")

    assert [case for case, _, _ in suite.asked] == suite.cases()


@clause("C9.6")
@pytest.mark.parametrize("nested", [{"secret": 7}, {"secret": 7, "metadata": {"secret": 7}}])
def test_metadata_of_a_case_reach_the_environment_nested_or_not(nested: dict[str, Any]) -> None:
    suite = SimpleNamespace(cases=lambda: [EvalCase("a", metadata=nested)], score=None)

    assert held_out(suite).cases()[0].metadata == {"secret": 7}


@clause("C9.6")
def test_what_is_no_case_is_refused() -> None:
    suite = SimpleNamespace(cases=lambda: ["2+2"], score=None)

    with pytest.raises(TypeError, match="A case must be"):
        held_out(suite)


@clause("C9.7")
@pytest.mark.parametrize(
    ("verdict", "score", "passed"),
    [
        (True, 1.0, True),
        (False, 0.0, False),
        (0.5, 0.5, True),
        (0, 0.0, False),
        (RewardResult(0.5, threshold=0.7), 0.5, False),
        (EvalResult("id", False, 0.5, "a", reason="close"), 0.5, False),
        (Fraction(1, 2), 0.5, True),
    ],
)
def test_a_verdict_may_have_several_forms(verdict: object, score: float, passed: bool) -> None:
    suite = held_out(Likely(verdict))

    reward = suite.score(suite.cases()[0], "answer")

    assert (reward.score, reward.resolved_success()) == (score, passed)
    if isinstance(verdict, EvalResult):
        assert reward.reason == verdict.reason


@clause("C9.7")
@pytest.mark.parametrize("verdict", [None, "1.0", [1.0], object()])
def test_anything_else_is_no_verdict(verdict: object) -> None:
    suite = held_out(Likely(verdict))

    with pytest.raises(TypeError, match="not a RewardResult"):
        suite.score(suite.cases()[0], "answer")


@clause("C9.7")
def test_an_answer_that_could_not_be_graded_is_no_zero() -> None:
    suite = held_out(Likely(EvalResult("id", False, 0.0, "a", error="no judge")))

    with pytest.raises(RuntimeError, match="no judge"):
        suite.score(suite.cases()[0], "answer")


@clause("C9.8")
def test_the_environment_of_a_suite_has_all_that_the_author_s_has() -> None:
    environment = Echo()
    environment.dataset = [CASE]  # type: ignore[attr-defined]
    wrapper = EvaluatedEnvironment(environment)

    assert wrapper._env is environment
    assert wrapper.dataset == [CASE]
    assert wrapper.score_response(CASE, "aa").score == 2.0
    assert EnvironmentEvalSuite(wrapper, [CASE]).score(CASE, " aa ").score == 2.0
    with pytest.raises(AttributeError, match="missing"):
        wrapper.missing  # noqa: B018


@clause("C9.8")
def test_a_row_is_scored_by_the_environment_s_reward() -> None:
    wrapper = EvaluatedEnvironment(Echo())
    row = {"input": "2+2", "output": "4"}

    assert wrapper.reward_with_error(" aa ", row) == (2.0, "", " aa ")
    assert wrapper.reward("aa", row) == 2.0
    assert wrapper.grade("", row) is False


@clause("C9.8")
def test_an_error_of_the_reward_is_told_beside_the_score() -> None:
    class Failing(Echo):
        def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
            return RewardResult(0.0, error="no judge")

    wrapper = EvaluatedEnvironment(Failing())

    assert wrapper.reward_with_error("a", {"input": "q"}) == (0.0, "no judge", "a")
    for verdict in (wrapper.reward, wrapper.grade):
        with pytest.raises(RuntimeError, match="no judge"):
            verdict("a", {"input": "q"})


EPISODE = EnvironmentEpisode(
    ({"role": "user", "content": "q"}, {"role": "assistant", "content": "aaa"}),
    "aaa",
    turns=(EnvironmentTurn("assistant", "aaa"),),
    metadata={"steps": [{"n": 1}]},
)


@clause("C9.9")
def test_a_suite_that_grades_episodes_gets_the_one_that_was_played() -> None:
    own = Likely()
    own.grades_episodes = True
    suite = held_out(own, Countdown())

    suite.score(suite.cases()[0], "aaa", EPISODE)

    ((_, _, state),) = own.asked
    assert isinstance(state, EnvironmentEpisode)
    assert state.messages == EPISODE.messages
    assert dict(state) == {  # type: ignore[call-overload]
        "task": suite.cases()[0],
        "messages": list(EPISODE.messages),
        "turns": list(EPISODE.turns),
        "response_text": "aaa",
        "step_metadata": [{"n": 1}],
        "done": True,
    }


@clause("C9.8", "C9.9")
@pytest.mark.parametrize("as_dictionary", [False, True])
def test_a_played_episode_is_scored_by_the_environment_s_reward(as_dictionary: bool) -> None:
    wrapper = EvaluatedEnvironment(Countdown())
    state = PlayedEpisode(**vars(EPISODE), task=CASE)
    given = {**state} if as_dictionary else state

    score, error, text = wrapper.reward_with_error("ignored", {"input": "q"}, given)

    assert (score, error, text) == (3.0, "", "aaa")


@clause("C9.9")
@pytest.mark.parametrize(
    "score",
    [
        lambda case, response: 1.0,
        lambda case, response, episode: float(episode["done"]),
        lambda case, response, *more: float(len(more)),
        lambda case, response, **more: float(len(more)),
        lambda case, response, *, state: float(state.response_text == "aaa"),
    ],
    ids=["two arguments", "third by place", "any more", "any named", "by name"],
)
def test_the_episode_is_handed_over_as_the_suite_can_take_it(score: object) -> None:
    own = SimpleNamespace(cases=lambda: [CASE], score=score, grades_episodes=True, name="")
    suite = held_out(own, Countdown())

    assert suite.score(suite.cases()[0], "aaa", EPISODE).score == 1.0
    assert suite.name == "SimpleNamespace"


@clause("C9.9")
def test_other_suites_get_no_episode() -> None:
    own = Likely()
    suite = held_out(own, Countdown())

    suite.score(suite.cases()[0], "aaa", EPISODE)

    assert own.asked[0][2] is None


@clause("C9.9")
def test_an_answer_of_a_single_turn_environment_is_an_episode_of_one_turn() -> None:
    own = Likely()
    own.grades_episodes = True
    suite = held_out(own, Echo())

    suite.score(suite.cases()[0], "aaa")

    state: Any = own.asked[0][2]
    assert state["messages"][-1] == {"role": "assistant", "content": "aaa"}
    assert state.response_text == "aaa"


@clause("C9.9")
def test_an_episode_of_several_turns_must_have_been_played() -> None:
    own = Likely()
    own.grades_episodes = True
    suite = held_out(own, Countdown())

    with pytest.raises(ValueError, match="none was played"):
        suite.score(suite.cases()[0], "aaa")
