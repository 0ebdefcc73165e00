"""Replies: answer a customer's complaint as the house rules want it, graded by a rubric.

A rubric is a list of things that a good answer does, each checked by a few lines of code and each
with a weight. The reward is the weighted share; its parts are kept as metrics, so that it can be
seen which of them a model has learned. A reply that is no honest reply at all gets nothing: without
such a gate, a rubric is won by writing down everything that it looks for.
"""

import re
from collections.abc import Callable
from pathlib import Path

from freesolo.datasets import TaskExample, load_dataset
from freesolo.environments import EnvironmentSingleTurn, RewardMetric, RewardResult

DATASET = Path(__file__).parent / "dataset"
RULES = (
    "Write a short reply to this customer. Greet them by name, say sorry for what happened, say "
    "what arrives when, and sign as The Lantern Shop."
)
SIGNATURE = "The Lantern Shop"
MOST_WORDS = 45
SORRY = re.compile(r"(?<!not )(?<!never )\b(sorry|apologi[sz]e)\b")
DENIED = re.compile(r"\b(not|never)\b")
STUTTERED = re.compile(r"\b(\w+)\W+\1\b", re.IGNORECASE)

Facts = dict[str, str]


class Replies(EnvironmentSingleTurn):
    """One complaint, one reply. `dataset` holds the rows that training uses."""

    def __init__(self, split: str) -> None:
        self.dataset = load_dataset(DATASET / f"{split}.jsonl").examples

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return what the model is asked. `prompt_text` is the system prompt, added for us."""
        return [{"role": "user", "content": f"{RULES}\n{example.input}"}]

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Give the weighted share of the rubric that the reply fulfils, 0 if it is no honest one."""
        facts = example.metadata["facts"]
        objection = find_objection(example.input, response_text)
        if objection:
            return RewardResult(0.0, success=False, reason=objection)
        fulfilled = [check(facts, response_text) for check in RUBRIC]
        points = sum(weight for weight, hit in zip(RUBRIC.values(), fulfilled, strict=True) if hit)
        metrics = [
            RewardMetric(check.__name__, score=float(hit), weight=weight)
            for (check, weight), hit in zip(RUBRIC.items(), fulfilled, strict=True)
        ]
        score = points / sum(RUBRIC.values())
        return RewardResult(score, success=all(fulfilled), metrics=tuple(metrics))


def greets(facts: Facts, reply: str) -> bool:
    """The reply begins with the customer's name."""
    return reply.lstrip().startswith(f"Dear {facts['name']},")


def apologises(facts: Facts, reply: str) -> bool:
    """A sentence is sorry about the thing that was ordered."""
    return any(
        SORRY.search(sentence) and re.search(rf"\b{facts['item']}\b", sentence)
        for sentence in sentences(reply)
    )


def promises(facts: Facts, reply: str) -> bool:
    """A sentence says that this order will arrive, and on which day."""
    return any(
        all(part in sentence for part in (" will ", facts["order"], facts["date"]))
        and not DENIED.search(sentence)
        for sentence in sentences(reply)
    )


def signs(facts: Facts, reply: str) -> bool:
    """The reply ends with the name of the shop, and has it nowhere else."""
    return reply.rstrip().endswith(SIGNATURE) and reply.count(SIGNATURE) == 1


# What a good reply does, and how much it counts.
RUBRIC: dict[Callable[[Facts, str], bool], int] = {greets: 1, apologises: 3, promises: 4, signs: 2}


def find_objection(note: str, reply: str) -> str | None:
    """Return why a text is no honest reply, None if it is one."""
    words = reply.split()
    said = sentences(reply)
    if not 8 <= len(words) <= MOST_WORDS:
        return f"{len(words)} words; 8 to {MOST_WORDS} are wanted"
    if STUTTERED.search(reply):
        return "a word twice in a row"
    if len(said) < 2 or len(said) != len(set(said)) or any(len(s.split()) < 5 for s in said):
        return "not made of whole sentences, each of them once"
    invented = set(re.findall(r"\d+", reply)) - set(re.findall(r"\d+", note))
    return f"{', '.join(sorted(invented))}: not in the note" if invented else None


def sentences(reply: str) -> list[str]:
    """Return the sentences of a reply, without the signature."""
    body = reply.strip().removesuffix(SIGNATURE)
    return [part.strip() for part in re.split(r"[.!?]", body) if part.strip()]


def load_environment(split: str = "train") -> Replies:
    """Return the environment over `dataset/<split>.jsonl`."""
    return Replies(split)
