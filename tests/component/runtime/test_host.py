import re
from pathlib import Path

import psutil
import pytest

from freesolo.errors import EnvironmentFailed, InvalidEnvironment
from freesolo.runtime.client import HostOptions, SandboxMode, open_host
from freesolo.runtime.host import MAX_MESSAGE_BYTES
from tests.component.runtime.conftest import OpenHost
from tests.environment_folders import OBEDIENT

BASE = """
from freesolo.environments import EnvironmentSingleTurn, RewardResult

class Base(EnvironmentSingleTurn):
    dataset = [{"input": "q", "output": "a"}]
    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]
    def score_response(self, example, response_text):
        return RewardResult(1.0)
"""


HELD_OUT = """
from environment import load_environment
from freesolo.datasets import load_dataset
from freesolo.environments import EnvironmentEvalSuite

def load_evaluations():
    cases = load_dataset([{"input": "held out", "output": "yes"}]).examples
    return EnvironmentEvalSuite(load_environment(), cases, name="heldout")
"""


def test_an_environment_answers_as_its_contract_says(
    host_of: OpenHost, sandbox: SandboxMode
) -> None:
    host = host_of(OBEDIENT, sandbox=sandbox)
    examples = host.examples()

    assert [example.id for example in examples] == [f"example_00000{n}" for n in range(3)]
    assert host.start_episode(examples[0], "be brief") == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "question 0"},
    ]
    assert host.sft_completion(examples[0]) == [{"role": "assistant", "content": "answer 0"}]
    scores = host.score_responses(examples[0], ["answer 0", "answer 1"])
    assert [(score.reward, score.success) for score in scores] == [(1.0, True), (0.0, False)]
    assert not host.multi_turn
    assert host.suites() == []


def test_a_process_that_leaves_is_started_again(host_of: OpenHost, sandbox: SandboxMode) -> None:
    host = host_of(OBEDIENT, sandbox=sandbox)
    example = host.examples()[0]

    (score,) = host.score_responses(example, ["leave"])

    assert score.reward is None
    assert "exit status 3" in str(score.error)
    assert host.score_responses(example, ["answer 0"])[0].reward == 1.0


def test_one_bad_answer_does_not_take_the_others_with_it(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)
    example = host.examples()[0]

    scores = host.score_responses(example, ["answer 0", "raise", "leave", "x"])

    assert [score.reward for score in scores] == [1.0, None, None, 0.0]


def test_what_a_reward_started_dies_with_it(host_of: OpenHost, sandbox: SandboxMode) -> None:
    host = host_of(OBEDIENT, sandbox=sandbox)

    host.score_responses(host.examples()[0], ["spawn"])
    host.close()

    survivors = [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] and process.info["cmdline"][-1].endswith("time.sleep(3600)")
    ]
    assert survivors == []


def test_the_authors_traceback_names_their_file_and_line_and_no_frame_of_ours(
    host_of: OpenHost,
) -> None:
    host = host_of(OBEDIENT)

    error = host.score_responses(host.examples()[0], ["raise"])[0].error

    assert error is not None
    assert error.message == "`score_responses` raised ValueError: no such thing"
    assert error.traceback is not None
    line = OBEDIENT.splitlines().index('            raise ValueError("no such thing")') + 1
    assert f'File "environment.py", line {line}, in score_response' in error.traceback
    assert re.findall('File "(.*?)"', error.traceback) == ["environment.py"]


@pytest.mark.parametrize("text", ["\ud800", "\x00", "日本語", "\u2028"])
def test_any_text_a_model_writes_reaches_the_reward(host_of: OpenHost, text: str) -> None:
    host = host_of(
        f"""{BASE}
class Same(Base):
    def score_response(self, example, response_text):
        return RewardResult(float(response_text == {text!a}))
def load_environment():
    return Same()
"""
    )

    assert host.score_responses(host.examples()[0], [text])[0].reward == 1.0


def test_prints_do_not_disturb_the_conversation(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)
    example = host.examples()[0]

    assert host.score_responses(example, ["print"])[0].reward == 0.0
    assert host.score_responses(example, ["answer 0"])[0].reward == 1.0


def test_a_reward_that_is_no_finite_number_is_unscorable(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)
    said = {
        "return float('nan')": "the score nan",
        "return float('inf')": "the score inf",
        "return '0.5'": "the str '0.5'",
        "return None": "the NoneType 'None'",
    }

    *bad, good = host.score_responses(host.examples()[0], [*said, "answer 0"])

    assert [score.reward for score in (*bad, good)] == [None] * len(said) + [1.0]
    for score, words in zip(bad, said.values(), strict=True):
        assert words in str(score.error)


def test_a_reward_may_say_true_or_false(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)

    right, wrong = host.score_responses(host.examples()[0], ["return True", "return False"])

    assert [(right.reward, right.success), (wrong.reward, wrong.success)] == [
        (1.0, True),
        (0.0, False),
    ]


def test_the_wrong_number_of_rewards_makes_every_answer_unscorable(host_of: OpenHost) -> None:
    host = host_of(
        BASE
        + """
    def score_responses(self, example, texts):
        return []
def load_environment():
    return Base()
"""
    )

    scores = host.score_responses(host.examples()[0], ["a", "b"])

    assert [score.reward for score in scores] == [None, None]
    assert "0 rewards for 2 answers" in str(scores[0].error)


def test_a_bare_number_is_no_reward(host_of: OpenHost) -> None:
    host = host_of(
        BASE
        + """
    def score_response(self, example, response_text):
        return 1.0
def load_environment():
    return Base()
"""
    )

    (score,) = host.score_responses(host.examples()[0], ["a"])

    assert "a float instead of a RewardResult" in str(score.error)


def test_parameters_reach_the_factory_again_after_a_restart(host_of: OpenHost) -> None:
    host = host_of(
        """
import os
"""
        + BASE
        + """
class Chosen(Base):
    def score_response(self, example, response_text):
        if response_text == "leave":
            os._exit(1)
        return RewardResult(self.reward)
def load_environment(reward, **others):
    environment = Chosen()
    environment.reward = reward
    return environment
""",
        params={"reward": 0.25},
    )
    example = host.examples()[0]

    host.score_responses(example, ["leave"])

    assert host.score_responses(example, ["a"])[0].reward == 0.25


def test_an_environment_that_raises_while_loading_fails_with_its_traceback(
    host_of: OpenHost,
) -> None:
    with pytest.raises(EnvironmentFailed, match="KeyError") as failure:
        host_of("def load_environment():\n    return {}['missing']\n")

    assert failure.value.traceback is not None
    assert 'File "environment.py", line 2, in load_environment' in failure.value.traceback


def test_an_environment_that_exits_while_loading_fails(host_of: OpenHost) -> None:
    with pytest.raises(EnvironmentFailed, match="SystemExit"):
        host_of("raise SystemExit(1)")


def test_a_syntax_error_is_shown_with_its_line(host_of: OpenHost) -> None:
    with pytest.raises(EnvironmentFailed, match="SyntaxError") as failure:
        host_of("x = 1\ndef broken(:\n")

    assert 'File "environment.py", line 2' in str(failure.value.traceback)


def test_the_end_of_what_a_crashed_process_printed_is_kept(host_of: OpenHost) -> None:
    with pytest.raises(EnvironmentFailed, match="exit status 4") as failure:
        host_of("import os\nprint('last words')\nos._exit(4)\n")

    assert failure.value.traceback == "last words\n"


@pytest.mark.parametrize(
    ("dataset", "said"), [("[]", "empty"), ("None", "dataset"), ('[{"x": 1}]', "contain input")]
)
def test_a_dataset_without_usable_rows_fails(host_of: OpenHost, dataset: str, said: str) -> None:
    host = host_of(
        BASE
        + f"""
class WithDataset(Base):
    dataset = {dataset}
def load_environment():
    return WithDataset()
"""
    )

    with pytest.raises(EnvironmentFailed, match=said):
        host.examples()


def test_a_dataset_that_is_a_generator_can_be_read_again(host_of: OpenHost) -> None:
    host = host_of(
        BASE
        + """
def load_environment():
    environment = Base()
    environment.dataset = ({"input": str(n)} for n in range(3))
    return environment
"""
    )

    assert [example.input for example in host.examples()] == ["0", "1", "2"]
    assert list(host.examples()) == list(host.examples())


PECULIAR = f"""
import datetime
import os
{BASE}
class Peculiar(Base):
    dataset = [
        {{"input": "q", "output": ("a", {{1}}), "when": datetime.date(2026, 1, 2), (1, 2): None}}
    ]
    def score_response(self, example, response_text):
        if response_text == "leave":
            os._exit(3)
        same = example.output == ("a", {{1}}) and example.record is self.dataset[0]
        return RewardResult(float(same and isinstance(example.record["when"], datetime.date)))
def load_environment():
    return Peculiar()
"""


def test_the_authors_code_sees_its_own_objects_also_after_a_restart(host_of: OpenHost) -> None:
    host = host_of(PECULIAR)
    (example,) = host.examples()

    before, _, after = (host.score_responses(example, [text])[0] for text in ("a", "leave", "a"))

    assert (before.reward, after.reward) == (1.0, 1.0)


def test_the_caller_sees_what_json_can_say_of_a_row(host_of: OpenHost) -> None:
    (example,) = host_of(PECULIAR).examples()

    assert example.output == ["a", [1]]
    assert example.record == {"input": "q", "output": ["a", [1]], "when": "2026-01-02"}


def test_rows_are_read_again_with_the_process_however_long_that_takes(host_of: OpenHost) -> None:
    host = host_of(
        f"""
import os
import time
{BASE}
class Slow(Base):
    @property
    def dataset(self):
        time.sleep(1.1)
        return [{{"input": "q"}}]
    def score_response(self, example, response_text):
        if response_text == "leave":
            os._exit(3)
        return RewardResult(1.0)
def load_environment():
    return Slow()
""",
        call_timeout=1,
    )
    (example,) = host.examples()

    host.score_responses(example, ["leave"])

    assert host.score_responses(example, ["a"])[0].reward == 1.0


def test_a_dataset_that_is_another_one_after_a_restart_is_not_scored(host_of: OpenHost) -> None:
    host = host_of(
        f"""
import os
import time
{BASE}
class Changing(Base):
    dataset = [{{"input": str(time.monotonic())}}]
    def score_response(self, example, response_text):
        if response_text == "leave":
            os._exit(3)
        return RewardResult(1.0)
def load_environment():
    return Changing()
"""
    )
    (example,) = host.examples()

    host.score_responses(example, ["leave"])

    assert "the same dataset each time" in str(host.score_responses(example, ["a"])[0].error)


def test_a_dataset_may_be_larger_than_a_message(host_of: OpenHost) -> None:
    host = host_of(
        f"""{BASE}
def load_environment():
    environment = Base()
    environment.dataset = [{{"input": str(n) + 3 * 1024**2 * "x"}} for n in range(12)]
    return environment
"""
    )

    examples = list(host.examples())

    assert 2 * sum(len(example.input) for example in examples) > MAX_MESSAGE_BYTES
    assert [example.input[:2].strip("x") for example in examples] == [str(n) for n in range(12)]


def test_a_reward_that_raises_is_told_apart_from_one_that_crashes(host_of: OpenHost) -> None:
    host = host_of(OBEDIENT)
    example = host.examples()[0]

    scores = host.score_responses(example, ["raise", "crash", "return float('nan')"])

    assert [score.raised for score in scores] == [True, False, False]
    assert "last words" in str(scores[1].error and scores[1].error.traceback)


def test_a_parameter_may_have_any_name(host_of: OpenHost) -> None:
    code = f"""{BASE}
def load_environment(reference):
    environment = Base()
    environment.dataset = [{{"input": reference}}]
    return environment
"""
    host = host_of(code, params={"reference": "books"})

    assert host.examples()[0].input == "books"


def test_suites_can_be_made_of_the_loaded_environment(host_of: OpenHost) -> None:
    suites = """
from freesolo.environments import EnvironmentEvalSuite

def load_evaluations(environment):
    return EnvironmentEvalSuite(environment, [], name=environment.params["split"])
"""
    host = host_of(OBEDIENT, modules={"evaluations": suites}, params={"split": "hard"})

    assert [suite.name for suite in host.suites()] == ["hard"]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("[]", "no messages"),
        ("['hello']", "not an object, at index 0"),
        ("[{'role': 'user', 'content': 'a'}, {'content': 'b'}]", "without a role, at index 1"),
        ("[{'role': 'user', 'content': 3}]", "neither text nor parts"),
        ("[{'role': 'user', 'content': {1, 2}}]", "not JSON"),
    ],
)
def test_messages_that_are_not_well_formed_are_refused(
    host_of: OpenHost, messages: str, said: str
) -> None:
    host = host_of(
        BASE
        + f"""
class WithMessages(Base):
    def build_prompt_messages(self, example, prompt_text):
        return {messages}
def load_environment():
    return WithMessages()
"""
    )

    with pytest.raises(EnvironmentFailed, match=said):
        host.start_episode(host.examples()[0])


def test_suites_are_listed_and_their_cases_graded(host_of: OpenHost, sandbox: SandboxMode) -> None:
    host = host_of(OBEDIENT, sandbox=sandbox, modules={"evaluations": HELD_OUT})

    (suite,) = host.suites()
    (case,) = suite.cases

    assert (suite.name, case.index, case.expected) == ("heldout", 0, "yes")
    assert case.messages == [{"role": "user", "content": "held out"}]
    assert host.score_case("heldout", 0, "yes").reward == 1.0
    assert host.score_case("heldout", 0, "raise").reward is None
    assert host.score_case("missing", 0, "yes").reward is None


def test_cases_can_be_graded_after_a_restart_however_long_suites_take_to_load(
    host_of: OpenHost,
) -> None:
    slow = f"import time\ntime.sleep(1.1)\n{HELD_OUT}"
    host = host_of(OBEDIENT, modules={"evaluations": slow}, call_timeout=1)
    host.suites()

    assert host.score_case("heldout", 0, "leave").reward is None
    assert host.score_case("heldout", 0, "yes").reward == 1.0


def test_a_folder_without_an_entry_point_is_no_environment(tmp_path: Path) -> None:
    with pytest.raises(InvalidEnvironment, match=r"has no environment\.py"):
        open_host(tmp_path, HostOptions(tmp_path / "cache"))


def test_what_a_failed_batch_left_at_work_spoils_no_later_score(host_of: OpenHost) -> None:
    host = host_of(
        f"""import os, time
{BASE}
class Mixed(Base):
    dataset = [{{"input": "a", "output": "b"}}]

    def score_response(self, example, text):
        if text == "raise":
            raise ValueError
        if text == "end soon":
            time.sleep(0.3)
            os._exit(3)
        time.sleep(0.6)
        return RewardResult(1.0)

def load_environment():
    return Mixed()
"""
    )

    scores = host.score_responses(host.examples()[0], ["raise", "good", "end soon"])

    assert [score.reward for score in scores] == [None, 1.0, None]
