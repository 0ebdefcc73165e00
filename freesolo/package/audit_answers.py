"""The reward of an environment of one turn, asked about answers to a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freesolo.datasets import TaskExample
from freesolo.errors import EnvironmentFailed
from freesolo.package.audit_outcomes import Outcome, Tried
from freesolo.package.perturbations import Label, Perturbation, Question, perturb
from freesolo.runtime.client import EnvironmentHost
from freesolo.runtime.values import Score


@dataclass(frozen=True)
class AnswerProbe:
    """Asks the reward about rows: their gold answers in `golds`, and answers made from them.

    Without `variants`, only surely wrong answers are made.
    """

    examples: Mapping[int, TaskExample]
    golds: Mapping[int, str]
    labels: Sequence[Label]
    variants: bool

    def __call__(self, host: EnvironmentHost, row: int, *, perturbed: bool) -> Outcome:
        """Ask about the gold answer of a row, twice, and if `perturbed` about others, together."""
        example, gold = self.examples[row], self.golds.get(row)
        first = again = None
        if gold is not None:
            (first,) = host.score_responses(example, [gold])
            if first.error is None:
                (again,) = host.score_responses(example, [gold])
        answers = []
        if perturbed and not (first and first.error):
            answers = self._answers(_question(host, example, row), gold)
        return Outcome(row, gold, first, again, _try(host, example, answers))

    def _answers(self, question: Question, gold: str | None) -> list[Perturbation]:
        answers = perturb(gold, question, self.labels)
        return [answer for answer in answers if answer.wrong or self.variants]


def takes_both(host: EnvironmentHost, example: TaskExample, other: TaskExample) -> bool:
    """Say whether the reward of `example` takes the gold answer of `other` for as good as its own."""
    try:
        golds = [text for each in (example, other) for text in gold_turns(host, each)[-1:]]
    except EnvironmentFailed:
        return False
    match host.score_responses(example, golds):
        case [Score(reward=float() as own), Score(reward=float() as another)]:
            return another >= own > 0
    return False


def gold_turns(host: EnvironmentHost, example: TaskExample) -> list[str]:
    """Return what the gold answer of a row says, turn by turn; calls of tools alone say nothing."""
    messages = host.sft_completion(example)
    spoken = [message.get("content") for message in messages if message["role"] == "assistant"]
    return [text for text in spoken if isinstance(text, str)]


def _try(
    host: EnvironmentHost, example: TaskExample, answers: Sequence[Perturbation]
) -> list[Tried]:
    """Score answers together, but one of them first: if it hangs, the others may do so too."""
    texts = [answer.text for answer in answers]
    scores = host.score_responses(example, texts[:1])
    if not any(score.error and not score.raised for score in scores):
        scores += host.score_responses(example, texts[1:])
    return [Tried(*pair) for pair in zip(answers, scores, strict=False)]


def _question(host: EnvironmentHost, example: TaskExample, row: int) -> Question:
    try:
        content = host.start_episode(example)[-1].get("content")
    except EnvironmentFailed:
        # The reward may be sound for all that; whoever reads the prompts tells of this one.
        content = None
    return Question(row, example.input, content if isinstance(content, str) else "")
