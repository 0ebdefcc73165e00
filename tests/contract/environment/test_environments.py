import inspect
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from freesolo.datasets import TaskExample
from freesolo.datasets.types import Message
from freesolo.environments import (
    Environment,
    EnvironmentEpisode,
    EnvironmentMultiTurn,
    EnvironmentSingleTurn,
    EnvironmentStepResult,
    RewardResult,
)
from tests.contract.environment.clauses import clause

EXAMPLE = TaskExample(record={}, input="q", output="gold")


class Echo(EnvironmentSingleTurn):
    """Scores an answer with its length; answers are stripped first."""

    def __init__(self, messages: Sequence[Message] = ({"role": "user", "content": "q"},)) -> None:
        self.messages = list(messages)
        self.threads: set[int] = set()

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[Message]:
        return self.messages

    def normalize_response_text(self, example: TaskExample, text: str) -> str:
        return text.strip()

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        self.threads.add(threading.get_ident())
        if response_text == "bad":
            raise ValueError("bad")
        return RewardResult(float(len(response_text)))


class Countdown(EnvironmentMultiTurn):
    """Two actions are allowed; the reward is the length of the last."""

    def start_episode(self, example: TaskExample, prompt_text: str) -> list[Message]:
        return [{"role": "user", "content": prompt_text}]

    def max_episode_turns(self, example: TaskExample) -> int:
        return 2

    def step_episode(
        self, example: TaskExample, messages: list[Message], assistant_response: str
    ) -> EnvironmentStepResult:
        return EnvironmentStepResult(done=False)

    def score_episode(self, example: TaskExample, episode: EnvironmentEpisode) -> RewardResult:
        return RewardResult(float(len(episode.response_text)), reason=str(episode.messages))


@clause("C3.3")
def test_the_system_prompt_is_put_first_and_stripped() -> None:
    environment = Echo()

    messages = environment.start_episode(EXAMPLE, " be brief ")

    assert messages[0] == {"role": "system", "content": "be brief"}
    assert len(environment.messages) == 1


@clause("C3.3")
@pytest.mark.parametrize("role", ["system", " System "])
def test_a_system_message_of_the_authors_is_left_alone(role: str) -> None:
    own = [{"role": "user", "content": "q"}, {"role": role, "content": ""}]

    assert Echo(own).start_episode(EXAMPLE, "be brief") == own


@clause("C3.3")
def test_a_blank_system_prompt_adds_nothing() -> None:
    assert len(Echo().start_episode(EXAMPLE, " \n")) == 1


@clause("C3.5")
def test_a_single_turn_episode_ends_with_its_first_action() -> None:
    step = Echo().step_episode(EXAMPLE, [], " a ")

    assert step == EnvironmentStepResult(done=True, final_response_text="a")


@clause("C3.8", "C5.3")
def test_answers_are_normalised_and_scored_in_their_order() -> None:
    results = Echo().score_responses(EXAMPLE, [" aaa ", "a", "aa"])

    assert [result.score for result in results] == [3.0, 1.0, 2.0]


@clause("C5.3")
def test_no_answers_have_no_rewards() -> None:
    assert Echo().score_responses(EXAMPLE, []) == []


@clause("C5.3")
def test_the_first_exception_of_a_reward_is_raised() -> None:
    with pytest.raises(ValueError, match="bad"):
        Echo().score_responses(EXAMPLE, ["a", "bad"])


@clause("C5.1")
def test_rewards_of_concurrency_one_are_computed_on_the_callers_thread() -> None:
    environment = Echo()
    environment.max_score_concurrency = 1

    environment.score_responses(EXAMPLE, ["a", "b"])

    assert environment.threads == {threading.get_ident()}


@clause("C5.2")
def test_concurrency_is_bounded_across_overlapping_calls() -> None:
    class Counting(Echo):
        max_score_concurrency = 2
        running = highest = 0
        lock = threading.Lock()
        both = threading.Barrier(2)

        def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
            with self.lock:
                self.running += 1
                self.highest = max(self.highest, self.running)
            self.both.wait(timeout=10)
            with self.lock:
                self.running -= 1
            return RewardResult(1.0)

    environment = Counting()
    calls = [
        threading.Thread(target=environment.score_responses, args=(EXAMPLE, ["a", "b"]))
        for _ in range(3)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join(timeout=20)

    assert environment.highest == 2


@clause("C3.9")
def test_episodes_of_a_single_turn_environment_are_scored_as_answers() -> None:
    episode = EnvironmentEpisode((), " aaa ")

    assert Echo().score_episodes(EXAMPLE, [episode])[0].score == 3.0


@clause("C3.9")
def test_a_single_turn_environment_that_scores_episodes_gets_them_whole() -> None:
    class OfEpisodes(Echo):
        def score_episode(self, example: TaskExample, episode: EnvironmentEpisode) -> RewardResult:
            return RewardResult(float(len(episode.response_text)))

    assert OfEpisodes().score_episodes(EXAMPLE, [EnvironmentEpisode((), " a ")])[0].score == 3.0


@clause("C3.6")
def test_an_answer_to_a_multi_turn_environment_is_an_episode_without_messages() -> None:
    result = Countdown().score_responses(EXAMPLE, ["aa"])[0]

    assert (result.score, result.reason) == (2.0, "()")


@clause("C3.4")
def test_the_prompt_of_a_multi_turn_environment_is_the_start_of_its_episode() -> None:
    assert Countdown().build_prompt_messages(EXAMPLE, "p") == [{"role": "user", "content": "p"}]


@clause("C3.11")
def test_the_gold_answer_is_what_the_example_says() -> None:
    assert Echo().sft_completion(EXAMPLE) == [{"role": "assistant", "content": "gold"}]


@clause("C3.1")
@pytest.mark.parametrize("base", [EnvironmentSingleTurn, EnvironmentMultiTurn])
def test_an_environment_that_lacks_a_method_cannot_be_made(base: type[Environment]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Incomplete", (base,), {})()


@clause("C3.10")
@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "a"}, "a"),
        ({}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}]}, "a"),
        (None, "None"),
        (3, "3"),
    ],
)
def test_the_text_of_any_message_can_be_extracted(message: object, text: str) -> None:
    assert Echo().extract_response_text(message) == text


@clause("C3.1")
@pytest.mark.parametrize(
    ("base", "own"),
    [
        (EnvironmentSingleTurn, {"build_prompt_messages", "score_response"}),
        (
            EnvironmentMultiTurn,
            {"start_episode", "max_episode_turns", "step_episode", "score_episode"},
        ),
    ],
)
def test_an_author_has_these_methods_to_define(base: type[Environment], own: set[str]) -> None:
    assert base.__abstractmethods__ == own


@clause("C3.2")
def test_no_method_is_awaited() -> None:
    functions = [
        inspect.unwrap(method) for method in vars(Environment).values() if callable(method)
    ]

    assert not any(map(inspect.iscoroutinefunction, functions))


@clause("C3.3")
def test_the_author_s_list_is_not_changed() -> None:
    environment = Echo()
    before = list(environment.messages)

    environment.start_episode(EXAMPLE, "be brief").append({"role": "user", "content": "more"})

    assert environment.messages == before


@clause("C3.5")
def test_a_single_turn_environment_allows_one_action() -> None:
    assert Echo().max_episode_turns(EXAMPLE) == 1


@clause("C3.7")
def test_an_episode_is_scored_by_its_text_as_it_is() -> None:
    assert Echo().score_episode(EXAMPLE, EnvironmentEpisode((), " aaa ")).score == 5.0


@clause("C3.8")
def test_a_text_is_left_alone_unless_an_author_says_otherwise() -> None:
    assert Countdown().normalize_response_text(EXAMPLE, " a ") == " a "


@clause("C3.9")
def test_episodes_of_a_multi_turn_environment_are_scored_as_they_are() -> None:
    episodes = [EnvironmentEpisode((), text) for text in ("a", "aaa", " aa ")]

    assert [result.score for result in Countdown().score_episodes(EXAMPLE, episodes)] == [1, 3, 4]


@clause("C3.9")
def test_episodes_go_through_a_batch_that_the_author_scores() -> None:
    class Batched(Echo):
        def score_responses(self, example: TaskExample, texts: Sequence[str]) -> list[RewardResult]:
            return [RewardResult(float(len(texts))) for _ in texts]

    episodes = [EnvironmentEpisode((), "a")] * 2

    assert [result.score for result in Batched().score_episodes(EXAMPLE, episodes)] == [2.0, 2.0]


@clause("C3.10")
def test_the_text_of_an_object_is_its_content() -> None:
    message = SimpleNamespace(
        content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    )

    assert Echo().extract_response_text(message) == "ab"


@clause("C5.1")
def test_thirty_two_answers_are_scored_at_once() -> None:
    assert Environment.max_score_concurrency == 32


@clause("C5.2")
def test_an_environment_keeps_its_pool_and_others_have_their_own() -> None:
    class Named(Echo):
        def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
            return RewardResult(1.0, metadata={"thread": threading.current_thread()})

    def threads_of(environment: Environment) -> set[threading.Thread]:
        results = environment.score_responses(EXAMPLE, ["a"] * 20)
        return {result.metadata["thread"] for result in results}

    first, second = Named(), Named()
    first.max_score_concurrency = 1 + 1

    assert len(threads_of(first) | threads_of(first)) <= 2
    assert not threads_of(first) & threads_of(second)


@clause("C5.2")
def test_frozen_environments_that_call_no_constructor_of_ours_are_scored() -> None:
    @dataclass(frozen=True)
    class Frozen(EnvironmentSingleTurn):
        bonus: float

        def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[Message]:
            return []

        def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
            return RewardResult(self.bonus)

    assert Frozen(2.0).score_responses(EXAMPLE, ["a", "b"])[1].score == 2.0
