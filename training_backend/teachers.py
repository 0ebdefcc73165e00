"""Teachers: how likely what a student said is to somebody who knows better.

A teacher with the student's tokenizer reads exactly what the student read and said. Another reads the
same conversation in its own template and tokens, and is asked about the characters that the student's
tokens stand for. No torch here.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Protocol

from freesolo.client.transport import repeating
from freesolo.datasets.types import Message
from freesolo.errors import ContextLengthExceeded, InvalidTrainSpec
from training_backend.alignment import align, fit, pieces, shared_gaps
from training_backend.chat import ChatFormat, Ids
from training_backend.rollouts import Rollout, Spoken
from training_backend.vllm_client import VllmClient

# Stands for the end of a turn, which each tokenizer writes in its own way.
_END = "\N{END OF TRANSMISSION BLOCK}"
_PROBE = "Grüße, 東京! 3.14 * 42 = 131.88\n\tdef f(x): return x  # ✓"
_TEACHER_SECONDS = 300.0
_TEACHER_TRIES = 4
_TEACHER_REQUESTS = 16


@dataclass(frozen=True)
class Lesson:
    """One row of a rollout, and how likely its tokens were to the student; 0 for what others said."""

    rollout: Rollout
    spoken: Spoken
    logprobs: Sequence[float]


@dataclass(frozen=True)
class Question:
    """Tokens that a teacher reads, and which of those after the prompt it is asked about."""

    prompt: Ids
    after: Ids
    asked: tuple[bool, ...]

    @property
    def tokens(self) -> int:
        """How many tokens are read."""
        return len(self.prompt) + len(self.after)


@dataclass(frozen=True)
class Reading:
    """How likely the tokens after a prompt are to a teacher, nan where it was not asked.

    `texts` is what they stand for, as far as a server tells.
    """

    logprobs: tuple[float, ...]
    texts: tuple[str | None, ...] = ()


def question_of(spoken: Spoken) -> Question:
    """Ask about what the model said in a row."""
    return Question(spoken.prompt, spoken.after, tuple(turn >= 0 for turn in spoken.turns))


class Reader(Protocol):
    """A model that reads tokens of its own."""

    def read(self, questions: Sequence[Question]) -> list[Reading | None]:
        """Answer all questions, in their order; None for one with more tokens than it can read."""


class Tongue(Protocol):
    """How a teacher writes conversations as tokens. `end` is what ends a turn, perhaps nothing."""

    @property
    def end(self) -> Ids: ...

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> list[Ids]:
        """Return what the teacher reads before it would answer each of them."""

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the tokens of each text."""

    def pieces(self, ids: Ids, told: Sequence[str | None], text: str) -> list[str]:
        """Return the parts of `text` that tokens stand for; `told` is what the reader says of them."""


class Teacher(Protocol):
    """Says of each token how much likelier it was to the student than to itself."""

    def gaps(self, lessons: Sequence[Lesson]) -> list[tuple[float, ...]]:
        """Return a number for each token after each lesson's prompt, nan where there is none."""

    @property
    def tokens(self) -> int:
        """How many tokens it has read."""


@dataclass
class SameTokens:
    """A teacher with the student's tokenizer."""

    reader: Reader
    tokens: int = 0

    def gaps(self, lessons: Sequence[Lesson]) -> list[tuple[float, ...]]:
        """Compare token by token."""
        questions = [question_of(lesson.spoken) for lesson in lessons]
        self.tokens += sum(question.tokens for question in questions)
        return [
            (math.nan,) * len(lesson.logprobs)
            if reading is None
            else tuple(
                mine - theirs
                for mine, theirs in zip(lesson.logprobs, reading.logprobs, strict=True)
            )
            for lesson, reading in zip(lessons, self.reader.read(questions), strict=True)
        ]


@dataclass(frozen=True)
class _Turn:
    """One turn of a lesson: where its tokens stand, the text that each adds, what came before.

    `ended` says that the last token is the end of the turn, which has no text.
    """

    lesson: int
    places: range
    pieces: list[str]
    ended: bool
    before: list[Message]

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class OtherTokens:
    """A teacher with another tokenizer: what it says of characters is shared by the student's tokens."""

    reader: Reader
    tongue: Tongue
    student: ChatFormat
    tokens: int = 0

    def gaps(self, lessons: Sequence[Lesson]) -> list[tuple[float, ...]]:
        """Compare by the fewest tokens of both that stand for the same characters."""
        turns = [
            turn for number, lesson in enumerate(lessons) for turn in self._turns(number, lesson)
        ]
        prompts = self.tongue.prompts([turn.before for turn in turns])
        said = self.tongue.encode([turn.text for turn in turns])
        questions = [
            _question(prompt, ids + self.tongue.end if turn.ended else ids)
            for turn, prompt, ids in zip(turns, prompts, said, strict=True)
        ]
        self.tokens += sum(question.tokens for question in questions)
        found = [[math.nan] * len(lesson.logprobs) for lesson in lessons]
        readings = self.reader.read(questions)
        for turn, ids, reading in zip(turns, said, readings, strict=True):
            if reading is None:
                continue
            mine = [lessons[turn.lesson].logprobs[place] for place in turn.places]
            theirs = self.tongue.pieces(ids, reading.texts[: len(ids)], turn.text)
            end = [_END] if turn.ended else []
            groups = align(turn.pieces + end, theirs + (end if self.tongue.end else []))
            for place, gap in shared_gaps(groups, mine, reading.logprobs).items():
                found[turn.lesson][turn.places.start + place] = gap
        return [tuple(of_lesson) for of_lesson in found]

    def _turns(self, number: int, lesson: Lesson) -> list[_Turn]:
        """Return the turns that the student said in a row."""
        turns = []
        spoken, transcript = lesson.spoken, lesson.rollout.transcript
        for turn in sorted({turn for turn in spoken.turns if turn >= 0}):
            start = spoken.turns.index(turn)
            places = range(start, start + spoken.turns.count(turn))
            ids = spoken.after[places.start : places.stop]
            ended = ids[-1] in self.student.stop_ids
            before = replace(transcript, turns=transcript.turns[:turn]).messages
            said = pieces(ids[:-1] if ended else ids, self._decode)
            turns.append(_Turn(number, places, said, ended=ended, before=before))
        return turns

    def _decode(self, ids: Sequence[int]) -> str:
        return self.student.decode(ids, special=True)


def _question(prompt: Ids, after: Ids) -> Question:
    return Question(prompt, after, (True,) * len(after))


@dataclass(frozen=True)
class ChatTongue:
    """The tokens of a teacher whose tokenizer is here."""

    chat: ChatFormat

    @property
    def end(self) -> Ids:
        """What the template writes behind a turn of the model's, if the model says that itself."""
        first = self.chat.between((), ())[:1]
        return first if self.chat.stop_ids.issuperset(first) else ()

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> list[Ids]:
        """Return each conversation in the teacher's template."""
        return [self.chat.prompt(messages) for messages in conversations]

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the tokens of each text."""
        return [self.chat.encode(text) for text in texts]

    def pieces(self, ids: Ids, told: Sequence[str | None], text: str) -> list[str]:
        """Return what each token adds to the text."""
        return pieces(ids, lambda some: self.chat.decode(some, special=True))


def same_tokens(one: ChatFormat, other: ChatFormat) -> bool:
    """Say whether two tokenizers write the same text as the same tokens, marks of chats included."""
    text = one.render([{"role": "user", "content": _PROBE}], answer_next=True)
    return one.encode(text) == other.encode(text)


@dataclass
class EndpointTeacher:
    """A vLLM server that reads and tells how likely each token was. A `Reader` and a `Tongue`."""

    client: VllmClient
    model: str
    thinking: bool
    _end: Ids | None = None

    def knows(self, student: ChatFormat) -> bool:
        """Say whether the server's tokenizer is the student's.

        Raise `InvalidTrainSpec` if it does not tell how likely the tokens of a prompt are.
        """
        prompt = student.render([{"role": "user", "content": _PROBE}], answer_next=True)
        (mine,) = self.encode([prompt])
        if self._ask(_question(mine[:1], mine[1:])) is None:
            raise InvalidTrainSpec(
                f"The teacher {self.client.named} gives no prompt logprobs.",
                hint="`train.teacher_model` must name a vLLM server that answers `prompt_logprobs`.",
            )
        return mine == student.encode(prompt)

    def read(self, questions: Sequence[Question]) -> list[Reading | None]:
        """Ask the server about all of them, a few at a time."""
        with ThreadPoolExecutor(max_workers=_TEACHER_REQUESTS) as threads:
            return list(threads.map(self._ask, questions))

    @property
    def end(self) -> Ids:
        """What the server's template writes behind a turn of the model's."""
        if self._end is None:
            # Two answers of which nothing is the same: what follows both is the end of a turn.
            one, other = self._tokenize_all([_answered("1"), _answered("b")])
            pairs = zip(reversed(one), reversed(other), strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            self._end = one[len(one) - same :][:1]
        return self._end

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> list[Ids]:
        """Return each conversation in the server's template."""
        options = {"chat_template_kwargs": {"enable_thinking": self.thinking}}
        return self._tokenize_all(
            [{"messages": list(messages), **options} for messages in conversations]
        )

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the tokens of each text."""
        return self._tokenize_all([{"prompt": text, "add_special_tokens": False} for text in texts])

    def pieces(self, ids: Ids, told: Sequence[str | None], text: str) -> list[str]:
        """Return what the server says that each token stands for, completed from the text."""
        lost = "\N{REPLACEMENT CHARACTER}"
        return fit([piece if piece and lost not in piece else "" for piece in told], text)

    def _ask(self, question: Question) -> Reading | None:
        ids = question.prompt + question.after
        options = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        asked = repeating(_TEACHER_TRIES, within=_TEACHER_SECONDS)
        try:
            answer = asked(
                self.client.complete, self.model, ids, seconds=_TEACHER_SECONDS, options=options
            )
        except ContextLengthExceeded:
            return None
        told = answer.read[len(question.prompt) :]
        if any(token is None for token in told) or len(told) != len(question.after):
            return None
        return Reading(
            tuple(
                token.logprob if token is not None and asked_about else math.nan
                for token, asked_about in zip(told, question.asked, strict=True)
            ),
            tuple(token.text for token in told if token is not None),
        )

    def _tokenize_all(self, bodies: Sequence[Mapping[str, object]]) -> list[Ids]:
        with ThreadPoolExecutor(max_workers=_TEACHER_REQUESTS) as threads:
            return list(threads.map(self._tokenize, bodies))

    def _tokenize(self, body: Mapping[str, object]) -> Ids:
        asked = repeating(_TEACHER_TRIES, within=_TEACHER_SECONDS)
        tokens: Ids = asked(self.client.tokenize, {"model": self.model, **body})
        return tokens


def _answered(answer: str) -> dict[str, object]:
    """Ask for the tokens of a conversation that ends with this answer."""
    asked: Message = {"role": "user", "content": "?"}
    said: Message = {"role": "assistant", "content": answer}
    return {"messages": [asked, said], "add_generation_prompt": False}
