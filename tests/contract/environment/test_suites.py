import pytest

from freesolo.datasets import TaskExample
from freesolo.environments import EnvironmentEvalSuite
from tests.contract.environment.clauses import clause
from tests.contract.environment.test_environments import Countdown, Echo

CASE = TaskExample(record={}, input="q")


@clause("C9.2")
def test_cases_are_graded_by_the_environment_after_normalising() -> None:
    suite = EnvironmentEvalSuite(Echo(), iter([CASE]), name="heldout")

    assert suite.name == "heldout"
    assert suite.cases() == suite.cases() == [CASE]
    assert suite.score(CASE, " aa ").score == 2.0


@clause("C9.2")
@pytest.mark.parametrize("name", [None, "  "])
def test_a_suite_without_a_name_is_called_after_its_class(name: str | None) -> None:
    assert EnvironmentEvalSuite(Echo(), [], name=name).name == "EnvironmentEvalSuite"


@clause("C9.2")
def test_a_multi_turn_environment_cannot_grade_single_answers() -> None:
    with pytest.raises(TypeError, match="single-turn"):
        EnvironmentEvalSuite(Countdown(), [])
