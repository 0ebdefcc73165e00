"""Rollouts: the policy plays episodes of an environment, and each is kept as the tokens it was.

All episodes of a step advance together, a turn at a time, so that the sampler has a full batch. An
episode that the environment failed is played once more from its beginning; one that fails again is
unscorable, which is not zero.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from freesolo.datasets.types import TaskExample
from freesolo.runtime.client import EnvironmentHost
from freesolo.runtime.episodes import Ending, Transcript, act, begin, score, truncate
from freesolo.runtime.values import PER_TURN_REWARDS, Score
from training_backend.chat import ChatFormat
from training_backend.sampling.sampler import Finish, Ids, Request, Sampled, Sampler, seed_of

# An environment may fail once by accident: a service that was away, a process that was killed.
_TRIES = 2


@dataclass(frozen=True)
class Place:
    """Where a rollout stands in its run; its draws depend on nothing else.

    A step's groups are counted from 0, and so are the rollouts of a group.
    """

    step: int
    group: int
    number: int


@dataclass(frozen=True)
class Limits:
    """Tokens that an episode may have: `turn` for each answer, `context` for all it reads and says."""

    turn: int
    context: int


@dataclass(frozen=True)
class Spoken:
    """Tokens in a row of which the model said some.

    The other fields have an item for each token of `after`: `turns` is the number of the turn in
    which the model said it, counted from 0, or -1 for what others said; `logprobs` is what it was
    to the sampler.
    """

    prompt: Ids
    after: Ids = ()
    turns: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()

    @property
    def ids(self) -> Ids:
        """All of it, as the model reads it next."""
        return self.prompt + self.after

    def said(self, sampled: Sampled, turn: int) -> "Spoken":
        """Return this with a turn of the model's behind it."""
        return self._longer(sampled.ids, turn, sampled.logprobs)

    def heard(self, ids: Ids) -> "Spoken":
        """Return this with what others said behind it."""
        return self._longer(ids, -1, (0.0,) * len(ids))

    def _longer(self, ids: Ids, turn: int, logprobs: tuple[float, ...]) -> "Spoken":
        return Spoken(
            self.prompt,
            self.after + ids,
            self.turns + (turn,) * len(ids),
            self.logprobs + logprobs,
        )


@dataclass(frozen=True)
class Rollout:
    """One episode: what was said, as messages and as tokens, and what it was worth.

    `rows` is one row of tokens, or one for each turn where the model's template rewrites what was
    said before. `thinking` counts the tokens of the first turn's thinking.
    """

    place: Place
    transcript: Transcript
    rows: tuple[Spoken, ...]
    score: Score | None = None
    thinking: int = 0
    tries: int = 1

    @property
    def reward(self) -> float | None:
        """What the environment gave, None if the rollout is unscorable."""
        return self.score.reward if self.score else None

    @property
    def turns(self) -> int:
        """How often the model spoke."""
        return len(self.transcript.turns)

    @property
    def unread(self) -> bool:
        """Whether the model could not even begin: what it was to read fills its context."""
        return self.truncated and not self.rows

    @property
    def truncated(self) -> bool:
        """Whether the model ran out of tokens."""
        return self.transcript.ending is Ending.TRUNCATED

    @property
    def said_tokens(self) -> int:
        """How many tokens the model said."""
        return sum(turn >= 0 for row in self.rows for turn in row.turns)

    @property
    def turn_rewards(self) -> Sequence[float] | None:
        """What the environment credits each turn with, if it does."""
        return self.score.metadata.get(PER_TURN_REWARDS) if self.score else None


@dataclass
class Stage:
    """What rollouts need: the environment, who speaks, in which format, how long, and the run's seed.

    `scoring_seconds` adds up how long the environment took to score.
    """

    host: EnvironmentHost
    sampler: Sampler
    chat: ChatFormat
    limits: Limits
    seed: int
    stop_sequences: tuple[str, ...] = ()
    scoring_seconds: float = 0.0


@dataclass
class _Episode:
    """An episode under way; `reading` is what the model reads next."""

    place: Place
    example: TaskExample
    tries: int
    transcript: Transcript
    reading: Spoken = Spoken(())
    closed: list[Spoken] = field(default_factory=list)
    thinking: int = 0

    @property
    def live(self) -> bool:
        return self.transcript.ending is None

    def rollout(self) -> Rollout:
        rows = (*self.closed, self.reading) if self.reading.after else tuple(self.closed)
        return Rollout(self.place, self.transcript, rows, thinking=self.thinking, tries=self.tries)


def roll_out(
    stage: Stage, examples: Sequence[TaskExample], places: Sequence[Place]
) -> list[Rollout]:
    """Play and score an episode at each place; `examples` are theirs. Those of one group are neighbours.

    Raise what the sampler raises. A failure of the environment is a rollout's own.
    """
    rollouts = _scored(stage, examples, _play(stage, examples, places, tries=1))
    for tries in range(2, _TRIES + 1):
        again = [
            place
            for place, rollout in enumerate(rollouts)
            if rollout.reward is None and not rollout.unread
        ]
        if not again:
            break
        played = _play(
            stage, [examples[at] for at in again], [places[at] for at in again], tries=tries
        )
        for at, rollout in zip(again, played, strict=True):
            rollouts[at] = rollout
        rollouts = _scored(stage, examples, rollouts)
    stage.sampler.forget()
    return rollouts


def _play(
    stage: Stage, examples: Sequence[TaskExample], places: Sequence[Place], *, tries: int
) -> list[Rollout]:
    episodes = [
        _begin(stage, example, place, tries)
        for example, place in zip(examples, places, strict=True)
    ]
    while live := [episode for episode in episodes if episode.live]:
        requests = [_request(stage, episode) for episode in live]
        for episode, sampled in zip(live, stage.sampler.sample(requests), strict=True):
            _take_turn(stage, episode, sampled)
    return [episode.rollout() for episode in episodes]


def _begin(stage: Stage, example: TaskExample, place: Place, tries: int) -> _Episode:
    episode = _Episode(place, example, tries, begin(stage.host, example))
    if episode.live:
        _read_next(stage, episode, Spoken(stage.chat.prompt(episode.transcript.messages)))
    return episode


def _request(stage: Stage, episode: _Episode) -> Request:
    place, ids = episode.place, episode.reading.ids
    turn = len(episode.transcript.turns)
    return Request(
        ids=ids,
        seed=seed_of(stage.seed, place.step, place.group, place.number, turn, episode.tries),
        max_tokens=min(stage.limits.turn, stage.limits.context - len(ids)),
    )


def _take_turn(stage: Stage, episode: _Episode, sampled: Sampled) -> None:
    """Let the environment answer what the model said, and read on unless that was the end."""
    turn = len(episode.transcript.turns)
    action = stage.chat.text(sampled.ids, stop_sequences=stage.stop_sequences)
    episode.reading = episode.reading.said(sampled, turn)
    if turn == 0:
        episode.thinking = stage.chat.thinking_tokens(sampled.ids)
    if sampled.finish is Finish.LENGTH:
        episode.transcript = truncate(episode.transcript, action)
        return
    before = len(episode.transcript.messages) + 1
    episode.transcript = act(stage.host, episode.example, episode.transcript, action)
    if not episode.live:
        return
    messages = episode.transcript.messages
    if stage.chat.appends:
        heard = stage.chat.between(sampled.ids, messages[before:])
        _read_next(stage, episode, episode.reading.heard(heard))
    else:
        episode.closed.append(episode.reading)
        _read_next(stage, episode, Spoken(stage.chat.prompt(messages)))


def _read_next(stage: Stage, episode: _Episode, reading: Spoken) -> None:
    """Let the model read this next, if there is room for an answer."""
    if len(reading.ids) < stage.limits.context:
        episode.reading = reading
    else:
        episode.transcript = truncate(episode.transcript)


def _scored(
    stage: Stage, examples: Sequence[TaskExample], rollouts: Sequence[Rollout]
) -> list[Rollout]:
    """Score every group in which a rollout has no score yet."""
    began = time.monotonic()
    scored: list[Rollout] = []
    pairs = zip(examples, rollouts, strict=True)
    for _, found in groupby(pairs, key=lambda pair: pair[1].place.group):
        group = list(found)
        example, members = group[0][0], [rollout for _, rollout in group]
        scored += members if all(map(_settled, members)) else _score_group(stage, example, members)
    stage.scoring_seconds += time.monotonic() - began
    return scored


def _settled(rollout: Rollout) -> bool:
    return rollout.score is not None or rollout.unread


def _score_group(stage: Stage, example: TaskExample, group: Sequence[Rollout]) -> list[Rollout]:
    """Score what has no score yet; all of the group anew if the environment compares its members."""
    scored = list(group)
    due = [
        number
        for number, rollout in enumerate(group)
        if not (_settled(rollout) if stage.host.scores_apart else rollout.unread)
    ]
    scores = score(stage.host, example, [group[number].transcript for number in due])
    for number, found in zip(due, scores, strict=True):
        scored[number] = replace(group[number], score=found)
    return scored
