"""Episodes: the model acts, the environment answers, until one of them is at an end.

A `Transcript` is all that happened in one. It never changes: `act` returns a longer one. So a caller
may run one episode to its end with `play`, or keep many under way and act in each when it likes::

    transcript = begin(host, example)
    while transcript.ending is None:
        transcript = act(host, example, transcript, sample(transcript.messages))

An environment that raises, hangs or crashes ends its episode and nothing else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from freesolo.datasets.types import Message, TaskExample
from freesolo.environments.types import EnvironmentEpisode, EnvironmentTurn
from freesolo.errors import (
    ContextLengthExceeded,
    EnvironmentFailed,
    FreesoloError,
    InvalidInput,
    LimitExceeded,
    Unavailable,
)
from freesolo.runtime.client import EnvironmentHost
from freesolo.runtime.host import answer_document, answer_of
from freesolo.runtime.values import Case, Score, Step, read_step, unscorable

Ask = Callable[[list[Message]], str]
"""Returns the model's next action on some messages: text, or an `Answer` with its thinking."""


class Ending(StrEnum):
    """How an episode ended."""

    DONE = "done"
    TURN_LIMIT = "turn_limit"
    ENVIRONMENT_FAILED = "environment_failed"
    MODEL_FAILED = "model_failed"
    TRUNCATED = "truncated"


@dataclass(frozen=True)
class Failure:
    """Why an episode has no proper end; `traceback` is the author's own, if their code raised."""

    message: str
    traceback: str | None = None


@dataclass(frozen=True)
class Turn:
    """One action of the model, and how the environment answered: `step` is None if it failed."""

    action: str
    step: Step | None


@dataclass(frozen=True)
class Transcript:
    """An episode so far: what it began with and each turn. `ending` is None while it goes on."""

    prompt_text: str
    prompt: tuple[Message, ...]
    max_turns: int
    turns: tuple[Turn, ...] = ()
    ending: Ending | None = None
    failure: Failure | None = None

    @property
    def messages(self) -> list[Message]:
        """All messages in their order, as the model sees them next."""
        return [*self.prompt, *self._said()]

    @property
    def actions(self) -> tuple[str, ...]:
        """What the model did, turn by turn."""
        return tuple(turn.action for turn in self.turns)

    @property
    def response_text(self) -> str:
        """The text that is scored: what the last step made of the last action, or that action."""
        if not self.turns:
            return ""
        last = self.turns[-1]
        final = last.step.final_response_text if last.step else None
        return last.action if final is None else final

    @property
    def metadata(self) -> dict[str, Any]:
        """What the environment noted at each step, under `steps`."""
        return {"steps": [dict(turn.step.metadata) for turn in self.turns if turn.step]}

    def episode(self) -> EnvironmentEpisode:
        """Return the episode as the environment scores it."""
        return EnvironmentEpisode(
            messages=tuple(self.messages),
            response_text=self.response_text,
            turns=tuple(
                EnvironmentTurn(message["role"], message.get("content") or "", message.get("name"))
                for message in self._said()
            ),
            metadata=self.metadata,
        )

    def document(self) -> dict[str, Any]:
        """Return the transcript as JSON, from which `read_transcript` makes it again."""
        return {
            "prompt_text": self.prompt_text,
            "prompt": list(self.prompt),
            "max_turns": self.max_turns,
            "turns": [
                {
                    "action": answer_document(turn.action),
                    "step": turn.step and _step_document(turn.step),
                }
                for turn in self.turns
            ],
            "ending": self.ending,
            "failure": self.failure and vars(self.failure),
        }

    def _said(self) -> Iterator[Message]:
        for turn in self.turns:
            yield {"role": "assistant", "content": turn.action}
            if turn.step is not None:
                yield from turn.step.messages


@dataclass(frozen=True)
class Divergence:
    """Where a replay differs from what was recorded: the turn, counted from 1, or 0 before it."""

    turn: int
    what: str
    recorded: object
    replayed: object


def play(
    host: EnvironmentHost, example: TaskExample | Case, ask: Ask, *, prompt_text: str = ""
) -> Transcript:
    """Run one episode to its end.

    `ask` may raise what fails one answer and not every other alike: `ContextLengthExceeded`,
    `LimitExceeded` and `Unavailable` end the episode as the model's failure.
    """
    transcript = begin(host, example, prompt_text=prompt_text)
    while transcript.ending is None:
        try:
            action = ask(transcript.messages)
        except (ContextLengthExceeded, LimitExceeded, Unavailable) as error:
            return abandon(transcript, error)
        transcript = act(host, example, transcript, action)
    return transcript


def begin(
    host: EnvironmentHost, example: TaskExample | Case, *, prompt_text: str = ""
) -> Transcript:
    """Start an episode: its transcript has no turns yet, and an ending only if that failed."""
    try:
        prompt = host.start_episode(example, prompt_text)
        return Transcript(prompt_text, tuple(prompt), host.max_episode_turns(example))
    except EnvironmentFailed as error:
        return _failed(Transcript(prompt_text, (), 0), error)


def act(
    host: EnvironmentHost, example: TaskExample | Case, transcript: Transcript, action: str
) -> Transcript:
    """Let the environment answer the model's action; return the longer transcript."""
    if transcript.ending is not None:
        raise ValueError(f"The episode has ended: {transcript.ending}")
    acted = replace(transcript, turns=(*transcript.turns, Turn(action, None)))
    try:
        step = host.step_episode(example, acted.messages, action)
    except EnvironmentFailed as error:
        return _failed(acted, error)
    answered = replace(acted, turns=(*transcript.turns, Turn(action, step)))
    if step.done:
        return replace(answered, ending=Ending.DONE)
    if len(answered.turns) >= answered.max_turns:
        return replace(answered, ending=Ending.TURN_LIMIT)
    return answered


def truncate(transcript: Transcript, action: str | None = None) -> Transcript:
    """End an episode because the model had no tokens left, in the middle of `action` or before it.

    The environment never sees an action that was cut off, which is empty where the model was still
    thinking; it scores what there is.
    """
    turns = transcript.turns if action is None else (*transcript.turns, Turn(action, None))
    return replace(transcript, turns=turns, ending=Ending.TRUNCATED)


def abandon(transcript: Transcript, error: FreesoloError) -> Transcript:
    """End an episode because the model gave no action."""
    return replace(transcript, ending=Ending.MODEL_FAILED, failure=Failure(error.message))


def score(
    host: EnvironmentHost, example: TaskExample, transcripts: Sequence[Transcript]
) -> list[Score]:
    """Score episodes of one example together, in their order; those that failed are unscorable.

    Raise `ValueError` for one that goes on.
    """
    if any(transcript.ending is None for transcript in transcripts):
        raise ValueError("An episode that goes on cannot be scored")
    whole = [transcript.episode() for transcript in transcripts if transcript.failure is None]
    scores = iter(host.score_episodes(example, whole))
    return [
        next(scores) if transcript.failure is None else _unscorable(transcript.failure)
        for transcript in transcripts
    ]


def replay(
    host: EnvironmentHost, example: TaskExample | Case, recorded: Transcript
) -> Divergence | None:
    """Take the recorded actions again; return the first difference, None if there is none."""
    replayed = begin(host, example, prompt_text=recorded.prompt_text)
    for action in recorded.actions:
        if replayed.ending is not None:
            break
        replayed = act(host, example, replayed, action)
    return next(_divergences(recorded, replayed), None)


def read_transcript(document: Mapping[str, Any]) -> Transcript:
    """Return the transcript that a document was made of. Raise `InvalidInput` if it is none."""
    try:
        return Transcript(
            prompt_text=document["prompt_text"],
            prompt=tuple(document["prompt"]),
            max_turns=document["max_turns"],
            turns=tuple(
                Turn(answer_of(turn["action"]), turn["step"] and read_step(turn["step"]))
                for turn in document["turns"]
            ),
            ending=document["ending"] and Ending(document["ending"]),
            failure=document["failure"] and Failure(**document["failure"]),
        )
    except (KeyError, TypeError, ValueError, EnvironmentFailed) as error:
        raise InvalidInput(f"This is no transcript of an episode: {error}.") from error


def _divergences(recorded: Transcript, replayed: Transcript) -> Iterator[Divergence]:
    for what in ("prompt", "max_turns"):
        before, after = getattr(recorded, what), getattr(replayed, what)
        if before != after:
            yield Divergence(0, what, before, after)
    for number, (old, new) in enumerate(zip(recorded.turns, replayed.turns, strict=False), start=1):
        if old.step != new.step:
            yield Divergence(number, "step", old.step, new.step)
    # The model is not asked again, so its failure cannot come again.
    ending = None if recorded.ending is Ending.MODEL_FAILED else recorded.ending
    if ending != replayed.ending:
        yield Divergence(len(replayed.turns), "ending", ending, replayed.ending)


def _step_document(step: Step) -> dict[str, Any]:
    text = step.final_response_text
    return {
        "done": step.done,
        "messages": list(step.messages),
        "final_response_text": None if text is None else answer_document(text),
        "metadata": dict(step.metadata),
    }


def _failed(transcript: Transcript, error: EnvironmentFailed) -> Transcript:
    failure = Failure(error.message, error.traceback)
    return replace(transcript, ending=Ending.ENVIRONMENT_FAILED, failure=failure)


def _unscorable(failure: Failure) -> Score:
    return unscorable(EnvironmentFailed(failure.message, traceback=failure.traceback))
