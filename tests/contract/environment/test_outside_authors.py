"""Environments written for the public SDK run unchanged: in this interpreter, and in a host."""

from pathlib import Path

import pytest

from freesolo.environments import load_environment
from freesolo.environments.answers import split_thinking
from freesolo.runtime.episodes import Ending, play, replay, score
from tests.contract.environment.authors import CAPITALS, RUBRIC, SHOP, HostOf, write_files
from tests.contract.environment.clauses import clause
from tests.environment_folders import OBEDIENT


@pytest.mark.parametrize("files", [CAPITALS, SHOP, RUBRIC], ids=["capitals", "shop", "rubric"])
@pytest.mark.usefixtures("restored_imports")
def test_it_loads_in_this_interpreter(tmp_path: Path, files: dict[str, str]) -> None:
    folder = write_files(tmp_path, files)

    environment = load_environment(str(folder / "environment.py"), unknown=1)

    assert environment.dataset  # type: ignore[attr-defined]


@clause("C3.12", "C6.8")
def test_rows_of_a_spreadsheet_are_asked_and_scored(host_of: HostOf) -> None:
    host = host_of(CAPITALS, split="train", unknown=1)

    first, _, third = host.examples()

    assert (first.id, first.input, third.output) == ("example_000000", "France", None)
    assert host.start_episode(first, " Be brief. ")[0] == {"role": "system", "content": "Be brief."}
    assert host.sft_completion(first) == [{"role": "assistant", "content": "Paris"}]
    scores = host.score_responses(first, [" paris.", "Lyon"])
    assert [(score.reward, score.success) for score in scores] == [(1.0, True), (0.0, False)]


@clause("C9.2", "C9.3")
def test_its_held_out_rows_are_graded(host_of: HostOf) -> None:
    host = host_of(CAPITALS)

    (suite,) = host.suites()

    assert (suite.name, suite.cases[0].expected) == ("heldout", "Nairobi")
    assert suite.cases[0].messages[-1]["content"] == "Name the capital of Kenya."
    assert host.score_case("heldout", 0, "Nairobi.").reward == 1.0


ACTIONS = ["<tool>price(pear)</tool>", " 0.80 "]


@clause("C4.1", "C4.2", "C4.3", "C4.4")
def test_a_conversation_is_played_to_its_end(host_of: HostOf) -> None:
    host = host_of(SHOP)
    (example,) = host.examples()
    actions = iter(ACTIONS)

    transcript = play(host, example, lambda messages: next(actions), prompt_text=" Be brief.")

    assert transcript.ending is Ending.DONE
    assert [message["content"] for message in transcript.messages] == [
        "Look prices up with <tool>price(item)</tool>, then answer. Be brief.",
        "What do two pears cost?",
        "<tool>price(pear)</tool>",
        "<result>0.40</result>",
        " 0.80 ",
    ]
    assert transcript.response_text == "0.80"
    (result,) = score(host, example, [transcript])
    assert (result.reward, result.metadata["calls"]) == (1.0, ["price", None])
    assert result.metadata["turns"] == ["assistant", "user", "assistant"]
    assert result.metadata["heard"] == 5
    assert replay(host, example, transcript) is None


@clause("C4.3")
def test_a_conversation_ends_when_its_turns_are_used_up(host_of: HostOf) -> None:
    host = host_of(SHOP)
    (example,) = host.examples()

    transcript = play(host, example, lambda messages: "<tool>price(plum)</tool>")

    assert transcript.ending is Ending.TURN_LIMIT
    assert len(transcript.actions) == 3
    assert transcript.messages[-1]["content"] == "<result>0.25</result>"


@clause("C4.5")
def test_actions_are_credited_one_by_one(host_of: HostOf) -> None:
    host = host_of(SHOP)
    (example,) = host.examples()
    actions = iter(ACTIONS)

    (result,) = score(host, example, [play(host, example, lambda messages: next(actions))])

    assert result.metadata["per_turn_rewards"] == [0.1, 1.0]


@clause("C4.5")
def test_credit_of_another_shape_is_not_used_and_the_score_stays(host_of: HostOf) -> None:
    wrong = SHOP["environment.py"].replace("for tool in calls]", "for tool in calls[:1]]")
    host = host_of({"environment.py": wrong})
    (example,) = host.examples()
    actions = iter(ACTIONS)

    (result,) = score(host, example, [play(host, example, lambda messages: next(actions))])

    assert (result.reward, result.metadata["per_turn_rewards"]) == (1.0, None)
    assert "1 for 2 turns" in (result.note or "")


def stepping(result: str) -> dict[str, str]:
    code = SHOP["environment.py"].replace(
        "call = CALL.search(assistant_response)",
        f"messages.append('lost'); return EnvironmentStepResult({result})",
    )
    return {"environment.py": code.replace('"calls": calls', '"episode": repr(episode)')}


@clause("C4.7")
def test_what_passes_between_two_calls_passes_as_json(host_of: HostOf) -> None:
    host = host_of(stepping("metadata={'tool': (1, 2), 3: {4}, 'so': 1j}"))
    (example,) = host.examples()

    transcript = play(host, example, lambda messages: "0.80")

    step = {"tool": [1, 2], "3": [4], "so": "1j"}
    assert transcript.metadata == {"steps": [step]}
    assert [message["role"] for message in transcript.messages] == ["system", "user", "assistant"]
    (result,) = score(host, example, [transcript])
    assert repr(step) in result.metadata["episode"]
    assert "lost" not in result.metadata["episode"]


@clause("C4.2", "C4.7")
@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("final_response_text=0.80", "the float '0.8' as `final_response_text`"),
        ("False, ({'role': 'user', 'content': object()},)", "must be JSON"),
    ],
)
def test_a_step_that_is_not_text_and_messages_fails_its_episode(
    host_of: HostOf, returned: str, told: str
) -> None:
    host = host_of(stepping(returned))
    (example,) = host.examples()

    transcript = play(host, example, lambda messages: "0.80")

    assert transcript.ending is Ending.ENVIRONMENT_FAILED
    assert transcript.failure is not None
    assert told in transcript.failure.message


@clause("C8.1", "C3.11")
def test_a_gold_answer_may_be_a_whole_conversation(host_of: HostOf) -> None:
    host = host_of(SHOP)

    messages = host.sft_completion(host.examples()[0])

    assert [message["role"] for message in messages] == ["assistant", "user", "assistant"]


@clause("C9.5", "C9.8", "C9.9")
def test_a_suite_of_the_second_shape_grades_what_was_played(host_of: HostOf) -> None:
    host = host_of(SHOP)
    (suite,) = host.suites()
    (case,) = suite.cases
    actions = iter(["<tool>price(plum)</tool>", "0.25"])

    transcript = play(host, case, lambda messages: next(actions))
    result = host.score_case("totals", 0, transcript.response_text, transcript.episode())

    assert (suite.name, suite.grades_episodes, case.id) == ("totals", True, "plum")
    assert (result.reward, result.success, result.error) == (1.0, True, None)


@clause("C9.5", "C9.6", "C9.7", "C9.8")
def test_suites_of_the_second_shape_grade_with_numbers_bools_and_by_what_is_expected(
    host_of: HostOf,
) -> None:
    host = host_of(RUBRIC)

    assert {suite.name: suite.cases[0].id for suite in host.suites()} == {
        "fraction": "example_000000",
        "polite": "please",
        "contained": "example_000000",
    }
    assert host.score_case("fraction", 0, "Cold.").reward == 0.5
    assert host.score_case("polite", 0, "thank you").success is True
    assert host.score_case("polite", 0, "no").success is False
    assert host.score_case("contained", 0, "There are 3.").reward == 1.0


@clause("C2.8")
def test_a_reward_that_asks_for_thinking_gets_it(host_of: HostOf) -> None:
    host = host_of(RUBRIC)
    (example,) = host.examples()
    answers = [
        split_thinking("<think>short</think>a hot leaf"),
        split_thinking("<think>leaf, hot, and many other words</think>a hot leaf"),
        "a hot leaf",
    ]

    assert [score.reward for score in host.score_responses(example, answers)] == [1.0, 0.5, 1.0]


@clause("C2.7")
@pytest.mark.parametrize("returned", ["'0.5'", "None", "float('nan')", "float('inf')", "[1.0]"])
def test_a_score_that_is_no_finite_number_is_unscorable_and_no_zero(
    host_of: HostOf, returned: str
) -> None:
    host = host_of({"environment.py": OBEDIENT})
    example = host.examples()[0]

    (score,) = host.score_responses(example, [f"return {returned}"])

    assert score.reward is None
    assert score.error is not None


GRADED = """
from freesolo.environments import EnvironmentSingleTurn, RewardResult


class Graded(EnvironmentSingleTurn):
    dataset = [{"input": "a", "output": "gold"}]

    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def score_response(self, example, response_text):
        return eval(response_text)
"""
TOGETHER = """
    def score_responses(self, example, texts):
        return [self.score_response(example, text) for text in texts]
"""
FACTORY = """

def load_environment():
    return Graded()
"""


@clause("C2.9")
@pytest.mark.parametrize("told", ["error='no judge'", "error='no judge', success=True"])
def test_a_reward_that_reports_an_error_is_unscorable_and_no_score(
    host_of: HostOf, told: str
) -> None:
    host = host_of({"environment.py": GRADED + FACTORY})

    failed, kept = host.score_responses(
        host.examples()[0], [f"RewardResult(1.0, {told})", "RewardResult(0.0, reason='bad')"]
    )

    assert (failed.reward, failed.success, failed.raised) == (None, None, False)
    assert failed.error is not None
    assert failed.error.message == "The reward reports an error: no judge"
    assert kept.reward == 0.0


@clause("C2.7")
@pytest.mark.parametrize("own", ["", TOGETHER], ids=["apart", "together"])
@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("RewardResult(10 ** 400)", "too large"),
        ("RewardResult(1.0, threshold='0.5')", "success cannot be told"),
        ("RewardResult(1.0, error='no judge')", "no judge"),
    ],
)
def test_a_reward_that_cannot_be_used_takes_no_other_with_it(
    host_of: HostOf, own: str, returned: str, told: str
) -> None:
    host = host_of({"environment.py": GRADED + own + FACTORY})

    failed, kept = host.score_responses(host.examples()[0], [returned, "RewardResult(0.5)"])

    assert failed.reward is None
    assert told in str(failed.error)
    assert kept.reward == 0.5


@clause("C4.6")
def test_a_process_may_be_started_anew_between_two_calls(host_of: HostOf) -> None:
    host = host_of({"environment.py": OBEDIENT})
    example = host.examples()[1]

    lost, kept = (host.score_responses(example, [text])[0] for text in ("leave", "answer 1"))

    assert (lost.reward, kept.reward) == (None, 1.0)


@clause("C3.12")
@pytest.mark.parametrize(
    "dataset",
    [
        '[{"input": "a"}]',
        '(TaskExample(record={}, input="a") for _ in range(1))',
        'load_dataset([{"input": "a"}])',
        'load_dataset([{"input": "a"}]).examples',
    ],
)
def test_a_dataset_may_be_given_in_several_ways(host_of: HostOf, dataset: str) -> None:
    code = CAPITALS["environment.py"].replace(
        'load_task_examples(ROOT / "dataset" / f"{split}.csv")', dataset
    )
    code = code.replace("import TaskExample\n", "import TaskExample, load_dataset\n")
    host = host_of({"environment.py": code})

    assert [(example.id, example.input) for example in host.examples()] == [("example_000000", "a")]


WITHOUT_DATASET = {
    "environment.py": OBEDIENT.replace("self.dataset =", "rows ="),
    "dataset/train.jsonl": '{"input": "a"}\n',
    "dataset/test.json": '[{"input": "b"}, {"input": "c"}]',
}


@clause("C3.13")
@pytest.mark.parametrize(
    ("params", "inputs"),
    [({}, ["a"]), ({"split": "train"}, ["a"]), ({"split": "test"}, ["b", "c"])],
)
def test_rows_that_the_author_leaves_to_the_platform_come_from_the_split_s_file(
    host_of: HostOf, params: dict[str, str], inputs: list[str]
) -> None:
    host = host_of(WITHOUT_DATASET, **params)

    assert [example.input for example in host.examples()] == inputs


@clause("C3.13")
@pytest.mark.usefixtures("restored_imports")
def test_loading_by_itself_adds_no_rows(tmp_path: Path) -> None:
    folder = write_files(tmp_path, WITHOUT_DATASET)

    assert not hasattr(load_environment(str(folder / "environment.py")), "dataset")


@clause("C3.13")
def test_rows_of_the_author_s_own_come_first(host_of: HostOf) -> None:
    host = host_of({**WITHOUT_DATASET, "environment.py": OBEDIENT})

    assert [example.input for example in host.examples()][:1] == ["question 0"]
