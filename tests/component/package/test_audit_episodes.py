"""The reward audit of environments of several turns: scripts are played against a guessing game."""

from functools import partial
from pathlib import Path

import pytest

from freesolo.package.audit import audit_rewards
from freesolo.package.audit_facts import AuditResult
from freesolo.package.findings import Severity
from freesolo.runtime.client import HostOptions, open_host
from tests.environment_folders import write_environment

# Guess a number in four turns; the environment says whether it is higher or lower.
GAME = """
import random

from freesolo.environments import EnvironmentMultiTurn, EnvironmentStepResult, RewardResult


class Game(EnvironmentMultiTurn):
    dataset = [
        {"input": "from 1 to 9", "metadata": {"secret": n}, "output": OUTPUT} for n in range(1, 10)
    ]

    def start_episode(self, example, prompt_text):
        return [{"role": "user", "content": f"Guess my number, {example.input}."}]

    def max_episode_turns(self, example):
        return 4

    def step_episode(self, example, messages, assistant_response):
        guess, secret = assistant_response.strip(), example.metadata["secret"]
        if guess == str(secret):
            return EnvironmentStepResult(done=True)
        hint = "No number." if not guess.isdecimal() else "Lower." if int(guess) > secret else "Higher."
        return EnvironmentStepResult(done=False, messages=({"role": "user", "content": hint},))

    def score_episode(self, example, episode):
        won = episode.response_text.strip() == str(example.metadata["secret"])
        return RewardResult(float(won))


def load_environment():
    return Game()
"""
TURNS = '{"messages": [{"role": "assistant", "content": t} for t in ("5", str(n))]}'
SAYS = "hint = "
LOWER = '"Lower."'
WON = "RewardResult(float(won))"


def audited(folder: Path, options: HostOptions, code: str) -> AuditResult:
    """Audit the reward of an environment made of `code`."""
    reopen = partial(open_host, write_environment(folder, code), options)
    with reopen() as host:
        return audit_rewards(host, host.examples(), reopen=reopen)


def game(output: str = TURNS, **changes: str) -> str:
    """Return the game with another `output`, and with some of its text replaced."""
    code = GAME.replace("OUTPUT", output)
    for old, new in changes.items():
        code = code.replace(globals()[old], new)
    return code


def codes(result: AuditResult) -> set[str]:
    """Return the codes of all that is no mere information."""
    return {finding.code for finding in result.findings if finding.severity is not Severity.INFO}


@pytest.mark.parametrize("output", [TURNS, "str(n)", "None", 'f"the number {n}"'])
def test_a_sound_game_is_left_in_peace_whatever_its_gold_answers(
    tmp_path: Path, options: HostOptions, output: str
) -> None:
    assert codes(audited(tmp_path, options, game(output))) == set()


def test_gold_turns_beat_nonsense(tmp_path: Path, options: HostOptions) -> None:
    facts = audited(tmp_path, options, game()).facts

    assert facts
    assert facts.separation
    assert facts.separation.auc == 1.0
    rewards = {kind.kind: kind.mean_reward for kind in facts.kinds}
    assert rewards == {"gold": 1, "empty": 0, "garbage": 0, "prompt": 0, "null": 0, "long": 0}


def test_an_output_that_is_no_way_to_act_is_mentioned(tmp_path: Path, options: HostOptions) -> None:
    result = audited(tmp_path, options, game('f"the number {n}"'))

    assert [finding.code for finding in result.findings] == ["gold_not_scored"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"TURNS": TURNS.replace("5", "0").replace("str(n)", '"0"')}, "gold_all_zero"),
        ({"SAYS": "int(guess)\n        hint = "}, "wrong_failed"),
        ({"LOWER": "str(random.random())"}, "episode_varies"),
        ({"WON": "RewardResult(float(won) * random.random())"}, "reward_varies"),
        ({"WON": "RewardResult(1.0)"}, "reward_constant"),
        ({"WON": "RewardResult(float(won or episode.response_text != 'null'))"}, "reward_blind"),
        ({"WON": "RewardResult(float(won or not episode.response_text))"}, "reward_gamed"),
        ({"WON": 'RewardResult(1.0, metadata={"per_turn_rewards": [1]})'}, "turn_rewards_unusable"),
    ],
)
def test_a_flawed_game_is_told_by_its_flaw(
    tmp_path: Path, options: HostOptions, changes: dict[str, str], code: str
) -> None:
    assert code in codes(audited(tmp_path, options, game(**changes)))


def test_a_failing_step_shows_the_authors_frames(tmp_path: Path, options: HostOptions) -> None:
    result = audited(tmp_path, options, game(SAYS="int(guess)\n        hint = "))

    (finding,) = [finding for finding in result.findings if finding.code == "wrong_failed"]
    assert "ValueError" in finding.message
    assert 'File "environment.py"' in str(finding.traceback)
