"""Wrong answers made of right ones, to try a reward with.

Those that are surely wrong are told from mere variants of the gold answer, which one sound reward
takes and another refuses. Whatever says the same as the gold answer is left out of the wrong ones.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice


class Kind(StrEnum):
    """What was done to make an answer."""

    GOLD = "gold"
    EMPTY = "empty"
    BLANK = "blank"
    NULL = "null"
    REFUSAL = "refusal"
    OTHER_GOLD = "other_gold"
    OTHER_RIGHT = "other_right"
    PROMPT = "prompt"
    INPUT = "input"
    EVERY_LABEL = "every_label"
    LABEL_LINES = "label_lines"
    LONG = "long"
    TRUNCATED = "truncated"
    SHUFFLED = "shuffled"
    CASE = "case"
    PADDED = "padded"
    CHATTER = "chatter"
    LONG_WITH_GOLD = "long_with_gold"
    IN_JSON = "in_json"
    IN_LIST = "in_list"
    IN_WORDS = "in_words"
    WRONG_TYPE = "wrong_type"
    GARBAGE = "garbage"


@dataclass(frozen=True)
class Perturbation:
    """An answer that is not the gold one. `wrong` says that no sound reward takes it for it."""

    kind: Kind
    text: str
    wrong: bool


@dataclass(frozen=True)
class Question:
    """What is asked of a model: the row's `input`, and the last message of the prompt."""

    row: int
    input: str
    prompt: str


REFUSAL = "I'm sorry, but I can't help with that."
_FILLER = "This is a long answer, and it says nothing about what was asked. "
LONG_CHARS = 20_000

_NULLS = ("None", "null", "[]", "{}")
# What a reward that parses an answer may trip over: each is of another type than most gold answers.
_TYPES = (
    *_NULLS,
    "42",
    "-0.5",
    "true",
    '"text"',
    '["text", 1]',
    '{"answer": null}',
    "NaN",
    "-Infinity",
    "1e999",
    "\N{SUPERSCRIPT TWO}",
    "{",
    "0x1F, 1/0",
)
_NOTHING = frozenset({"", "none", "null", "n/a", "na", "nothing", "[]", "{}"})
_REFUSES = re.compile(r"\b(sorry|cannot|can.t|can not|unable|won.t|refuse|not able)\b")
_NUMBER = re.compile(r"[-+]?[$€£]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?%?")
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_TOKEN = re.compile(r"[\w.:/-]+", re.ASCII)
_MOST_LABELS = 20
_OTHER_GOLDS = 3
# Answers longer than this are not strung together.
_LABEL_CHARS = 1000
# Half of so short a word may well be an abbreviation of it.
_TOKEN_CHARS = 4
# Two numbers that are no further apart may both be right to a reward with a tolerance.
_NUMBER_TOLERANCE = 0.1


@dataclass(frozen=True)
class Label:
    """A gold answer of the dataset, and the `input` of each row that it answers."""

    text: str
    inputs: frozenset[str]


def labels_of(golds: Iterable[tuple[str, str]]) -> list[Label]:
    """Return the different answers among `golds`, pairs of an `input` and its gold answer."""
    inputs: dict[object, set[str]] = {}
    texts: dict[object, str] = {}
    for asked, text in golds:
        key = _canonical(text)
        texts.setdefault(key, text)
        inputs.setdefault(key, set()).add(asked)
    return [Label(text, frozenset(inputs[key])) for key, text in texts.items()]


def perturb(
    gold: str | None, question: Question, labels: Sequence[Label]
) -> Iterator[Perturbation]:
    """Yield answers that are not `gold`, the surely wrong ones first.

    Without a gold answer they are some that hardly any question is answered by.
    """
    seen = set()
    for kind, text in _wrong(gold, question, labels):
        if text not in seen and (gold is None or not same_answer(text, gold)):
            seen.add(text)
            yield Perturbation(kind, text, wrong=True)
    for kind, text in _variants(gold):
        if text not in seen and text != gold:
            seen.add(text)
            yield Perturbation(kind, text, wrong=False)


def same_answer(first: str, second: str) -> bool:
    """Say whether two answers say the same: as text whatever its case, spacing, quotes and closing
    dot, as JSON, as numbers that are close, or as ways to say nothing.
    """
    if first == second:
        return True
    one, other = _canonical(first), _canonical(second)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _NUMBER_TOLERANCE * max(abs(one), abs(other))
    return one == other


def filler(chars: int) -> str:
    """Return about so much text that answers nothing."""
    return _FILLER * (chars // len(_FILLER))


def _wrong_labels(gold: str, question: Question, labels: Sequence[Label]) -> list[str]:
    """Return some of the labels that are no answer to `question`, others for each row, and from all
    over the dataset: a neighbour may be like this row.
    """
    start = question.row % max(1, len(labels))
    step = max(1, len(labels) // _MOST_LABELS)
    turned = [*labels[start:], *labels[:start]]
    wrong = (
        label.text
        for label in (label for first in range(step) for label in turned[first::step])
        if question.input not in label.inputs and not same_answer(label.text, gold)
    )
    return list(islice(wrong, _MOST_LABELS))


def _wrong(
    gold: str | None, question: Question, labels: Sequence[Label]
) -> Iterator[tuple[Kind, str]]:
    yield Kind.EMPTY, ""
    yield Kind.BLANK, " \n\t "
    yield Kind.NULL, _NULLS[question.row % len(_NULLS)]
    if gold is None or not _REFUSES.search(gold.casefold()):
        yield Kind.REFUSAL, REFUSAL
    for kind, text in ((Kind.PROMPT, question.prompt), (Kind.INPUT, question.input)):
        if text.strip():
            yield kind, text
    yield Kind.LONG, filler(LONG_CHARS)
    if gold is not None:
        yield from _misplaced(gold, _wrong_labels(gold, question, labels))


def _misplaced(gold: str, others: Sequence[str]) -> Iterator[tuple[Kind, str]]:
    """Yield answers to other questions, the gold answer among such, and half of it."""
    if others:
        for other in others[:: math.ceil(len(others) / _OTHER_GOLDS)]:
            yield Kind.OTHER_GOLD, other
        yield from _strung_together(gold, others)
    if _is_one_token(gold):
        yield Kind.TRUNCATED, gold.strip()[: len(gold.strip()) // 2]


def _variants(gold: str | None) -> Iterator[tuple[Kind, str]]:
    """Yield what may be right, and what is only to be scored without a failure."""
    if gold is not None:
        yield from _rewritten(gold)
    for text in _TYPES:
        yield Kind.WRONG_TYPE, text


def _rewritten(gold: str) -> Iterator[tuple[Kind, str]]:
    text = gold.strip()
    words = text.split()
    if len(text) > 1:
        yield Kind.TRUNCATED, text[: len(text) // 2]
    if len(words) > 1:
        yield Kind.SHUFFLED, " ".join(words[1::2] + words[::2])
    yield Kind.CASE, gold.swapcase()
    yield Kind.PADDED, f"\n  {gold}\n"
    yield Kind.CHATTER, f"The answer is {text}. I hope that this helps!"
    yield Kind.LONG_WITH_GOLD, f"{filler(LONG_CHARS)}{text}"
    yield Kind.IN_JSON, json.dumps({"answer": text}, ensure_ascii=False)
    yield Kind.IN_LIST, json.dumps([text], ensure_ascii=False)
    if len(text) <= 2 and text.isdecimal() and int(text) < len(_WORDS):
        yield Kind.IN_WORDS, _WORDS[int(text)]


def _strung_together(gold: str, labels: Sequence[str]) -> Iterator[tuple[Kind, str]]:
    """Yield the gold answer among wrong ones, never first or last: one may look just there."""
    short = [label for label in labels if len(label) <= _LABEL_CHARS]
    if not short or not gold.strip() or len(gold) > _LABEL_CHARS:
        return
    half = len(short) // 2
    before, after = short[:half] or short, short[half:]
    answers = [*before, gold, *after]
    yield Kind.EVERY_LABEL, " ".join(answers)
    # Functions one below the other are a program that passes the tests of each of them.
    if not any("\n" in answer.strip() for answer in answers):
        yield Kind.LABEL_LINES, "\n".join(answers)


def _is_one_token(gold: str) -> bool:
    """Say whether half of the gold answer is no answer, as it may be of a sentence or a formula."""
    text = gold.strip()
    return len(text) >= _TOKEN_CHARS and _TOKEN.fullmatch(text) is not None


def _canonical(text: str) -> object:
    plain = unicodedata.normalize("NFKC", text).strip()
    plain = re.sub(r"^```\w*\s*|\s*```$", "", plain).casefold()
    plain = " ".join(plain.split()).strip("\"'`*").rstrip(".!").strip()
    if plain in _NOTHING:
        return ""
    if _NUMBER.fullmatch(plain):
        return float(re.sub(r"[$€£,%]", "", plain))
    try:
        value = json.loads(plain)
    except (ValueError, RecursionError):
        return plain
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else plain
