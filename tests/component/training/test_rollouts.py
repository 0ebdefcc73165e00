"""Rollouts of a real environment host; who speaks reads from a script."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from freesolo.datasets.types import Message
from freesolo.errors import EnvironmentFailed, InvalidEnvironment
from freesolo.runtime.client import EnvironmentHost, HostOptions, SandboxMode, open_host
from freesolo.runtime.episodes import Ending
from tests.environment_folders import write_environment
from training_backend.chat import ChatFormat
from training_backend.recipes.grpo import refuse_failures, rows_of
from training_backend.rollouts import Limits, Place, Rollout, Stage, roll_out
from training_backend.sampling.sampler import Finish, Request, Sampled, seed_of

ECHO = '''
import os
import time

from freesolo.environments import EnvironmentMultiTurn, EnvironmentStepResult, RewardResult


class Echo(EnvironmentMultiTurn):
    """Repeats what is said, three times at the most; `end` ends it."""

    dataset = [{"input": "say"}, {"input": "x" * 300}]
    heard = 0

    def start_episode(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def max_episode_turns(self, example):
        return 3

    def step_episode(self, example, messages, action):
        self.heard += 1
        if action == "raise" or (action == "raise at first" and self.heard == 1):
            raise ValueError("I cannot hear that")
        if action == "leave":
            os._exit(3)
        if action == "hang":
            time.sleep(3600)
        if action.startswith("end"):
            return EnvironmentStepResult(done=True)
        return EnvironmentStepResult(done=False, messages=({"role": "user", "content": action},))

    def score_episode(self, example, episode):
        if episode.response_text == "end badly":
            raise ValueError("no reward for that")
        turns = sum(turn.role == "assistant" for turn in episode.turns)
        return RewardResult(float(turns), metadata={"per_turn_rewards": [1.0] * turns})


def load_environment():
    return Echo()
'''
SEED = 5

Script = Mapping[tuple[int, int], Sequence[str]]


class Scripted:
    """Says at each place, by the seed of its draws, what the script holds; `|` is where it is cut off."""

    def __init__(self, chat: ChatFormat, script: Script) -> None:
        self._chat = chat
        self._lines = {
            seed_of(SEED, 1, group, number, turn, tries): line
            for (group, number), lines in script.items()
            for turn, line in enumerate(lines)
            for tries in (1, 2)
        }
        self.requests: list[Request] = []

    def sample(self, requests: Sequence[Request]) -> list[Sampled]:
        self.requests += requests
        return [self._say(self._lines[request.seed], request.max_tokens) for request in requests]

    def policy_changed(self) -> None: ...

    def forget(self) -> None: ...

    def _say(self, line: str, most: int) -> Sampled:
        ids = self._chat.encode(line.removesuffix("|"))
        whole = ids + tuple(self._chat.stop_ids)
        if line.endswith("|") or len(whole) > most:
            return Sampled(ids[:most], (-1.0,) * len(ids[:most]), Finish.LENGTH)
        return Sampled(whole, (-1.0,) * len(whole), Finish.STOP)


Play = Callable[..., list[Rollout]]


@pytest.fixture
def play(chat: ChatFormat, tmp_path: Path) -> Iterator[Play]:
    """Play a script through a host; `example` is the row that every group is about."""
    with ExitStack() as hosts:

        def play_script(
            script: Script,
            *,
            example: int = 0,
            context: int = 200,
            form: ChatFormat = chat,
            code: str = ECHO,
        ) -> list[Rollout]:
            folder = write_environment(tmp_path / "echo", textwrap.dedent(code))
            options = HostOptions(tmp_path / "cache", sandbox=SandboxMode.OFF, call_timeout=2.0)
            host: EnvironmentHost = hosts.enter_context(open_host(folder, options))
            stage = Stage(host, Scripted(form, script), form, Limits(30, context), SEED)
            places = [Place(1, group, number) for group, number in script]
            return roll_out(stage, [host.examples()[example]] * len(places), places)

        yield play_script


def text_of(chat: ChatFormat, rollout: Rollout) -> str:
    (row,) = rollout.rows
    return chat.decode(row.ids, special=True)


def said_text(chat: ChatFormat, rollout: Rollout) -> list[str]:
    """Return what the model said in each turn, by the marks of the tokens."""
    (row,) = rollout.rows
    turns: dict[int, list[int]] = {}
    for token, turn in zip(row.after, row.turns, strict=True):
        turns.setdefault(turn, []).append(token)
    return [chat.decode(turns[turn], special=True) for turn in range(rollout.turns)]


def test_an_episode_is_one_row_in_which_only_the_model_s_tokens_have_a_turn(
    play: Play, chat: ChatFormat
) -> None:
    (rollout,) = play({(0, 0): ["hi", "you", "end"]})

    assert rollout.transcript.ending is Ending.DONE
    assert (rollout.reward, rollout.turns, rollout.tries) == (3.0, 3, 1)
    assert said_text(chat, rollout) == ["hi<|im_end|>", "you<|im_end|>", "end<|im_end|>"]
    # All of it is what the template makes of the messages.
    messages = rollout.transcript.messages
    assert text_of(chat, rollout) + "\n" == chat.render(messages, answer_next=False)


def test_episodes_of_different_lengths_are_played_side_by_side(play: Play) -> None:
    rollouts = play({(0, 0): ["end"], (0, 1): ["a", "end"], (1, 0): ["a", "b", "c"]})

    assert [rollout.turns for rollout in rollouts] == [1, 2, 3]
    assert [rollout.reward for rollout in rollouts] == [1.0, 2.0, 3.0]
    assert rollouts[2].transcript.ending is Ending.TURN_LIMIT


def test_a_turn_that_is_cut_off_is_never_shown_to_the_environment_and_carries_no_loss(
    play: Play,
) -> None:
    (rollout,) = play({(0, 0): ["a", "raise|"]})

    assert rollout.truncated
    assert rollout.transcript.failure is None
    assert rollout.reward == 2.0
    assert not any(any(row.trained) for row in rows_of(rollout, (1.0, 1.0)))


def test_a_turn_that_is_cut_off_while_the_model_thinks_counts_as_a_turn_that_said_nothing(
    play: Play, chat: ChatFormat
) -> None:
    form = ChatFormat(chat.tokenizer, stop_ids=chat.stop_ids, thinking=True)
    cut, good, late = play(
        {
            (0, 0): ["<think>hm|"],
            (0, 1): ["<think>hm</think>end"],
            (0, 2): ["<think>hm</think>a", "<think>hm|"],
        },
        form=form,
    )

    assert [one.turns for one in (cut, good, late)] == [1, 1, 2]
    assert (cut.truncated, cut.unread, cut.rows[0].after[:3]) == (True, False, form.encode("<th"))
    assert (good.reward, good.thinking, good.transcript.actions) == (1.0, 9, ("end",))
    for rollout in (cut, late):
        rows = rows_of(rollout, (0.5,) * rollout.turns)
        assert len(rows) == rollout.turns
        assert not any(any(row.trained) for row in rows)


def test_an_episode_that_fills_the_context_ends_there(play: Play) -> None:
    (rollout,) = play({(0, 0): ["a" * 20, "b" * 20, "end"]}, context=100)

    assert rollout.truncated
    assert len(rollout.rows[0].ids) <= 100


@pytest.mark.parametrize("line", ["raise", "leave", "hang"])
def test_a_failing_episode_is_played_once_more_and_then_unscorable_alone(
    play: Play, line: str
) -> None:
    failed, good = play({(0, 0): [line], (0, 1): ["end"]})

    assert (failed.reward, failed.tries) == (None, 2)
    assert failed.score is not None
    assert failed.score.error is not None
    assert (good.reward, good.tries) == (1.0, 1)
    assert not any(any(row.trained) for row in rows_of(failed, (0.0,)))


def test_an_episode_that_fails_by_accident_gets_its_score_at_the_second_try(play: Play) -> None:
    (rollout,) = play({(0, 0): ["raise at first", "end"]})
    assert (rollout.reward, rollout.tries) == (2.0, 2)


def test_a_reward_that_raises_makes_its_rollout_unscorable_with_the_author_s_words(
    play: Play,
) -> None:
    bad, good = play({(0, 0): ["end badly"], (0, 1): ["end"]})

    assert bad.reward is None
    assert bad.score is not None
    assert "no reward for that" in str(bad.score.error and bad.score.error.traceback)
    assert good.reward == 1.0


def test_a_step_in_which_most_rollouts_have_no_score_ends_the_run(play: Play) -> None:
    rollouts = play({(0, 0): ["raise"], (0, 1): ["raise"], (0, 2): ["end"]})
    with pytest.raises(EnvironmentFailed, match="2 of 3 rollouts of step 4") as refusal:
        refuse_failures(rollouts, step=4, context=200)
    assert "I cannot hear that" in str(refusal.value.traceback)


def test_a_prompt_longer_than_the_context_is_not_played(play: Play) -> None:
    rollouts = play({(0, 0): ["end"], (0, 1): ["end"]}, example=1)

    assert all(rollout.unread and rollout.reward is None for rollout in rollouts)
    with pytest.raises(InvalidEnvironment, match="No prompt of step 4 leaves room"):
        refuse_failures(rollouts, step=4, context=200)


def test_the_advantage_of_a_turn_stands_at_its_tokens(play: Play) -> None:
    (rollout,) = play({(0, 0): ["a", "end"]})
    (row,) = rows_of(rollout, (0.5, -0.5))

    (spoken,) = rollout.rows
    expected = {0: 0.5, 1: -0.5, -1: 0.0}
    assert row.advantages == tuple(expected[turn] for turn in spoken.turns)
    assert row.trained == tuple(turn >= 0 for turn in spoken.turns)


def test_what_was_said_is_never_encoded_anew(play: Play, chat: ChatFormat) -> None:
    # Half a character: as text it is a mark of its own, which has other tokens.
    (half,) = chat.encode("\u00e9")[:1]
    assert chat.encode(chat.decode([half], special=False)) != (half,)

    class Halving(ChatFormat):
        def encode(self, text: str) -> tuple[int, ...]:
            return (half,) if text == "half" else super().encode(text)

    form = Halving(chat.tokenizer, stop_ids=chat.stop_ids, thinking=False)
    (rollout,) = play({(0, 0): ["half", "end"]}, form=form)

    (row,) = rollout.rows
    assert row.after[0] == half
    assert row.turns[0] == 0
    assert rollout.transcript.actions[0] == "\ufffd"


def test_where_the_template_writes_earlier_turns_anew_each_turn_is_a_row_of_its_own(
    play: Play, chat: ChatFormat
) -> None:
    class Forgetful(ChatFormat):
        """A template that puts empty thinking before the newest answer only."""

        def render(self, messages: Sequence[Message], *, answer_next: bool) -> str:
            text = super().render(messages, answer_next=answer_next)
            return text + "<think></think>" if answer_next else text

    form = Forgetful(chat.tokenizer, stop_ids=chat.stop_ids, thinking=False)
    assert not form.appends

    (rollout,) = play({(0, 0): ["a", "end"]}, form=form)

    first, second = rollout.rows
    assert first.turns == (0, 0)
    assert second.turns == (1,) * 4
    assert second.prompt == form.prompt(rollout.transcript.messages[:3])
    assert chat.decode(second.prompt, special=True).count("<think>") == 1
    assert [row.advantages[0] for row in rows_of(rollout, (0.5, -0.5))] == [0.5, -0.5]


COUNTED = ECHO.replace(
    "        turns = sum(",
    """        with open(COUNT, "a") as asked:
            asked.write("asked ")
        turns = sum(""",
)


def test_a_second_try_keeps_the_scores_that_the_first_one_got(play: Play, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    code = COUNTED.replace("COUNT", repr(str(asked)), 1)
    play({(0, 0): ["raise"], (0, 1): ["end"], (0, 2): ["end"]}, code=code)
    assert asked.read_text() == "asked asked "


TOO_FEW = ECHO.replace(
    "    def score_episode(",
    """    def score_episodes(self, example, episodes):
        return [RewardResult(1.0)]

    def score_episode(""",
)


def test_a_reward_that_gives_too_few_scores_leaves_its_group_without_any(play: Play) -> None:
    rollouts = play({(0, 0): ["end"], (0, 1): ["end"]}, code=TOO_FEW)

    assert [rollout.reward for rollout in rollouts] == [None, None]
    with pytest.raises(EnvironmentFailed, match="2 of 2 rollouts"):
        refuse_failures(rollouts, step=1, context=200)
