"""The task `$task` of the library reasoning-gym, as an environment.

The library makes the rows, from a seed, and scores the answers. What is ours is how it is asked.
"""

from stand_ins import put_stand_ins

from freesolo.datasets import TaskExample
from freesolo.environments import EnvironmentSingleTurn, RewardResult

put_stand_ins()

from reasoning_gym import create_dataset  # noqa: E402 - it imports what may be stood in for
from reasoning_gym.utils import extract_answer  # noqa: E402

TASK = "$task"
HOW_TO_ANSWER = (
    "You may think first. End with your answer alone, in tags, in the form that is asked for: "
    "<answer>your answer</answer>"
)
# Row i is made from the seed plus i: what is held out begins far from what is trained on.
HELD_OUT_FROM = 10_000_000
# Some tasks repeat themselves: of so many rows for each that is wanted, those that differ are taken.
TRIES = 3


class Task(EnvironmentSingleTurn):
    """`size` rows from `seed` on. `config` says how hard they are, in the library's own words."""

    def __init__(self, size: int, seed: int, config: dict[str, object]) -> None:
        self.seed, self.config = seed, config
        self.scorer = create_dataset(TASK, seed=seed, size=1, **config)
        self.dataset = self.rows(size, seed, without=set())

    def held_out(self, size: int) -> list[dict[str, object]]:
        """Return rows as hard as those of `dataset`, and none of its questions."""
        asked = {same_question(row["input"]) for row in self.dataset}
        return self.rows(size, self.seed + HELD_OUT_FROM, without=asked)

    def rows(self, size: int, seed: int, *, without: set[str]) -> list[dict[str, object]]:
        """Return up to `size` rows from `seed` on, whose questions all differ."""
        entries = create_dataset(TASK, seed=seed, size=TRIES * size, **self.config)
        rows: dict[str, dict[str, object]] = {}
        for index in range(TRIES * size):
            if len(rows) == size:
                break
            entry = entries[index]
            question = same_question(entry["question"])
            if question not in without:
                rows.setdefault(question, row_of(entry))
        return list(rows.values())

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return the question, and in which form it is to be answered."""
        return [{"role": "user", "content": f"{example.input}\n\n{HOW_TO_ANSWER}"}]

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Let the library score what stands in the last pair of tags: from 0 to 1, which is solved."""
        answer = extract_answer(response_text)
        if answer is None:
            return RewardResult(0.0, success=False, reason="there is no <answer>")
        try:
            score = float(self.scorer.score_answer(answer, example.record["entry"]))
        except Exception as error:  # noqa: BLE001 - scorers parse, and not all expect nonsense
            return RewardResult(0.0, success=False, reason=f"not understood: {error!r}")
        return RewardResult(score, threshold=1.0)


def same_question(question: str) -> str:
    """Return what a question has in common with others that differ in case and spacing alone."""
    return " ".join(question.casefold().split())


def row_of(entry: dict[str, object]) -> dict[str, object]:
    """Return an entry of the library as a row; scoring needs all that it holds."""
    answer = entry["answer"]
    return {
        "input": entry["question"],
        "output": None if answer is None else f"<answer>{answer}</answer>",
        "entry": entry,
    }


def load_environment(size: int = 500, seed: int = 1, **config: object) -> Task:
    """Return the environment."""
    return Task(size, seed, config)
