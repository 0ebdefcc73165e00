"""Environments as people who know only the public SDK write them: files by their paths."""

from pathlib import Path
from textwrap import dedent
from typing import Protocol

from freesolo.runtime.client import EnvironmentHost

# One answer to a question, rows from a spreadsheet, held-out rows graded by the reward.
CAPITALS = {
    "environment.py": """
        from pathlib import Path

        from freesolo.datasets import TaskExample
        from freesolo.datasets.records import load_task_examples
        from freesolo.environments import EnvironmentSingleTurn, RewardResult

        ROOT = Path(__file__).parent


        class CapitalsEnv(EnvironmentSingleTurn):
            def __init__(self, split: str) -> None:
                self.dataset = load_task_examples(ROOT / "dataset" / f"{split}.csv")

            def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[dict]:
                return [{"role": "user", "content": f"Name the capital of {example.input}."}]

            def normalize_response_text(self, example, text):
                return text.strip().rstrip(".")

            def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
                right = response_text.casefold() == str(example.output).casefold()
                return RewardResult(score=1.0 if right else 0.0, threshold=1.0)


        def load_environment(split="train", **kwargs):
            return CapitalsEnv(split)
    """,
    "evaluations.py": """
        from environment import ROOT, load_environment
        from freesolo.datasets import load_dataset
        from freesolo.environments import EnvironmentEvalSuite


        def load_evaluations(**kwargs):
            cases = load_dataset(ROOT / "dataset" / "heldout.csv").examples
            return [EnvironmentEvalSuite(load_environment(), cases, name="heldout")]
    """,
    "dataset/train.csv": "input,output\nFrance,Paris\nPeru,Lima\nNowhere\n",
    "dataset/heldout.csv": "input,output\nKenya,Nairobi\n",
}

# A conversation with a tool that is called in text, and a suite that grades what was played.
SHOP = {
    "environment.py": """
        import re

        from freesolo.datasets import load_dataset
        from freesolo.environments import (
            EnvironmentEpisode,
            EnvironmentMultiTurn,
            EnvironmentStepResult,
            RewardResult,
        )

        CALL = re.compile(r"<tool>(\\w+)\\((.*?)\\)</tool>", re.DOTALL)
        PRICES = {"pear": "0.40", "plum": "0.25"}


        class ShopEnv(EnvironmentMultiTurn):
            def __init__(self):
                self.dataset = load_dataset([
                    {
                        "input": "What do two pears cost?",
                        "output": {"messages": [
                            {"role": "assistant", "content": "<tool>price(pear)</tool>"},
                            {"role": "user", "content": "<result>0.40</result>"},
                            {"role": "assistant", "content": "0.80"},
                        ]},
                        "metadata": {"total": "0.80"},
                    }
                ])

            def start_episode(self, example, prompt_text):
                rules = "Look prices up with <tool>price(item)</tool>, then answer."
                return [
                    {"role": "system", "content": rules + prompt_text},
                    {"role": "user", "content": example.input},
                ]

            def max_episode_turns(self, example):
                return 3

            def step_episode(self, example, messages, assistant_response):
                assert messages[-1]["content"] == assistant_response
                call = CALL.search(assistant_response)
                if call is None:
                    return EnvironmentStepResult(
                        final_response_text=assistant_response.strip(), metadata={"tool": None}
                    )
                result = PRICES.get(call[2], "There is none.")
                said = {"role": "user", "content": f"<result>{result}</result>"}
                return EnvironmentStepResult(
                    done=False, messages=(said,), metadata={"tool": call[1]}
                )

            def score_episode(self, example, episode: EnvironmentEpisode):
                right = episode.response_text == example.metadata["total"]
                calls = [step["tool"] for step in episode.metadata.get("steps", [])]
                return RewardResult(
                    float(right),
                    metadata={
                        "calls": calls,
                        "turns": [turn.role for turn in episode.turns],
                        "heard": len(episode.messages),
                        "per_turn_rewards": [0.1 if tool else float(right) for tool in calls],
                    },
                )


        def load_environment(**params):
            return ShopEnv()
    """,
    "evaluations.py": """
        from flash.envs.evaluations import BaseEvalSuite, EvalCase, EvalResult


        class Totals(BaseEvalSuite):
            name = "totals"
            grades_episodes = True

            def __init__(self, environment):
                self.environment = environment

            def cases(self):
                metadata = {"total": "0.25"}
                return [EvalCase("What does a plum cost?", id="plum", metadata=metadata)]

            def score(self, case, response, state):
                row = {"metadata": case.metadata, "input": case.input}
                score, error, text = self.environment.reward_with_error(response, row, state)
                return EvalResult(
                    case_id=case.id,
                    passed=score == 1.0 and len(state["messages"]) > 3,
                    score=score,
                    response=text,
                    error=error or None,
                )


        def load_evaluations(environment=None):
            return [Totals(environment)]
    """,
}

# A judge that needs no model: it counts what a rubric asks for, and dislikes long thinking.
RUBRIC = {
    "environment.py": """
        from freesolo.environments import EnvironmentSingleTurn, RewardMetric, RewardResult


        class RubricEnv(EnvironmentSingleTurn):
            max_score_concurrency = 1
            dataset = [
                {"input": {"topic": "tea"}, "output": None, "metadata": {"wants": ["leaf", "hot"]}},
            ]

            def build_prompt_messages(self, example, prompt_text):
                return [{"role": "user", "content": example.input}]

            def score_response(self, example, response_text):
                metrics = tuple(
                    RewardMetric(name=word, score=float(word in response_text.lower()))
                    for word in example.metadata["wants"]
                )
                score = sum(metric.score for metric in metrics) / len(metrics)
                if len(getattr(response_text, "thinking", "")) > 20:
                    score /= 2
                return RewardResult(score, metrics=metrics, threshold=0.75)


        def load_environment():
            return RubricEnv()
    """,
    "evaluations.py": """
        from flash.envs.meta.evaluations import BaseEvalSuite, EvalCase


        class Fraction(BaseEvalSuite):
            name = "fraction"

            def __init__(self, environment):
                self.environment = environment

            def cases(self):
                return [EvalCase("milk", metadata={"wants": ["cold", "white"]})]

            def score(self, case, response):
                row = {"input": case.input, "metadata": case.metadata}
                return self.environment.reward(response, row)


        class Polite:
            name = "polite"

            def cases(self):
                return [EvalCase("milk", id="please", expected="thank")]

            def score(self, case, response):
                return case.expected in response


        class Contained(BaseEvalSuite):
            name = "contained"

            def cases(self):
                return [EvalCase("How many?", 3)]


        def load_evaluations(environment=None, **kwargs):
            assert environment._env.dataset == environment.dataset
            yield from (Fraction(environment), Polite(), Contained())
    """,
}


class HostOf(Protocol):
    """Opens a host on files, with parameters for `load_environment`."""

    def __call__(self, files: dict[str, str], **params: object) -> EnvironmentHost:
        """Write the files and open the host."""
        ...


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write files by their paths below `folder`, and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return folder
