"""Environments for tests with one flaw each, and the codes of what is to be found: that and no more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent

from tests.environment_folders import write_environment

# Capitals: a question, one right answer, a reward to be filled in.
_TASK = """
import random
import time

from freesolo.environments import EnvironmentSingleTurn, RewardResult

CAPITALS = {{
    "Austria": "Vienna", "Chile": "Santiago", "Egypt": "Cairo", "France": "Paris",
    "Ghana": "Accra", "Japan": "Tokyo", "Kenya": "Nairobi", "Nepal": "Kathmandu",
    "Norway": "Oslo", "Peru": "Lima", "Portugal": "Lisbon", "Senegal": "Dakar",
    "Spain": "Madrid", "Sudan": "Khartoum", "Sweden": "Stockholm", "Syria": "Damascus",
    "Togo": "Lome", "Turkey": "Ankara", "Uruguay": "Montevideo", "Vietnam": "Hanoi",
}}


class Capitals(EnvironmentSingleTurn):
    dataset = [{{"input": land, "output": city}} for land, city in CAPITALS.items()]
    seen = set()

    def build_prompt_messages(self, example, prompt_text):
        question = f"What is the capital of {{example.input}}? Answer with its name alone."
        return [{{"role": "user", "content": question}}]

    def score_response(self, example, response_text):
        answer, gold = response_text.strip(), example.output
{reward}


def load_environment():
    return Capitals()
"""


@dataclass(frozen=True)
class Flawed:
    """An environment's code and further files, by path, with the codes that `validate` must give:
    its errors and warnings, all of them.
    """

    code: str
    codes: frozenset[str]
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write it to `folder`."""
        write_environment(folder, self.code)
        for path, text in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder


def capitals(reward: str) -> str:
    """Return an environment whose reward is this body, of `answer` and `gold`."""
    return _TASK.format(reward=indent(dedent(reward).strip(), " " * 8))


def _reward(body: str, *codes: str) -> Flawed:
    return Flawed(capitals(body), frozenset(codes))


REWARD_FLAWS = {
    "constant": _reward("return RewardResult(1.0)", "reward_constant"),
    "zero on gold": _reward("return RewardResult(float(answer == gold[::-1]))", "gold_all_zero"),
    "gamed by keyword stuffing": _reward(
        "return RewardResult(float(gold in answer))", "reward_gamed"
    ),
    "gamed by an echo": _reward(
        "return RewardResult(float(answer == gold or example.input in answer))", "reward_gamed"
    ),
    "blind to content": _reward(
        "return RewardResult(min(1.0, len(answer) / len(gold)))", "reward_blind"
    ),
    "left to chance": _reward(
        "return RewardResult(float(answer == gold) * random.random())", "reward_varies"
    ),
    "with a memory": _reward(
        """
        new = (gold, answer) not in self.seen
        self.seen.add((gold, answer))
        return RewardResult(float(answer == gold) * (1.0 if new else 0.5))
        """,
        "reward_stateful",
    ),
    "raising on no text": _reward(
        "return RewardResult(float(answer.split()[0] == gold))", "wrong_failed"
    ),
    "not a number": _reward(
        'return RewardResult(1.0 if answer == gold else float("nan"))', "wrong_failed"
    ),
    "hanging": _reward("time.sleep(3600)", "gold_unusable"),
    "failing its own gold": _reward(
        "return RewardResult(float(answer == gold), threshold=1.5)", "gold_unsuccessful"
    ),
}
