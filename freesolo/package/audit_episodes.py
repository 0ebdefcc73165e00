"""The reward of an environment of several turns, tried by playing scripts against it.

A script needs no model: it says what its row's gold answer says, turn by turn, or nothing, or
nonsense. Each is played to the end of its episode, and the gold one taken again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from freesolo.datasets import TaskExample
from freesolo.datasets.types import Message
from freesolo.package.audit_outcomes import Outcome, Tried
from freesolo.package.perturbations import LONG_CHARS, Kind, Perturbation, filler
from freesolo.runtime.client import EnvironmentHost
from freesolo.runtime.episodes import Transcript, play, replay, score

GARBAGE = "qx zzv 0x1f ]]}> %%% wub"


@dataclass(frozen=True)
class EpisodeProbe:
    """Plays scripts on rows: `golds` are the actions that each row's gold answer consists of."""

    examples: Mapping[int, TaskExample]
    golds: Mapping[int, Sequence[str]]

    def __call__(self, host: EnvironmentHost, row: int, *, perturbed: bool) -> Outcome:
        """Play the gold script of a row and, if asked for, the wrong ones."""
        example, actions = self.examples[row], self.golds.get(row)
        gold = first = again = strayed = None
        if actions is not None:
            gold = "\n".join(actions)
            transcript = play(host, example, scripted(actions))
            (first,) = score(host, example, [transcript])
            if first.error is None:
                (again,) = score(host, example, [transcript])
                strayed = _stray(host, example, transcript)
        tried = self._wrong(host, example) if perturbed and not (first and first.error) else []
        return Outcome(row, gold, first, again, tried, strayed)

    def _wrong(self, host: EnvironmentHost, example: TaskExample) -> list[Tried]:
        played = [(kind, play(host, example, ask)) for kind, ask in _WRONG]
        scores = score(host, example, [transcript for _, transcript in played])
        return [
            Tried(Perturbation(kind, "\n".join(transcript.actions), wrong=True), points)
            for (kind, transcript), points in zip(played, scores, strict=True)
        ]


def scripted(actions: Sequence[str]) -> Callable[[list[Message]], str]:
    """Return a player that takes these actions, and the last one again where there are more turns.

    There must be at least one.
    """
    left = list(reversed(actions))
    return lambda _: left.pop() if len(left) > 1 else left[0]


def _has_acted(messages: list[Message]) -> bool:
    return any(message["role"] == "assistant" for message in messages)


def _echo(messages: list[Message]) -> str:
    content = messages[-1].get("content")
    return content if isinstance(content, str) else ""


_WRONG: tuple[tuple[Kind, Callable[[list[Message]], str]], ...] = (
    (Kind.EMPTY, lambda _: ""),
    (Kind.GARBAGE, lambda _: GARBAGE),
    (Kind.PROMPT, _echo),
    (Kind.NULL, lambda _: "null"),
    # Once is enough: an episode may have a thousand turns, and each call holds all before it.
    (Kind.LONG, lambda messages: GARBAGE if _has_acted(messages) else filler(LONG_CHARS)),
)


def _stray(host: EnvironmentHost, example: TaskExample, transcript: Transcript) -> str | None:
    divergence = replay(host, example, transcript)
    return f"{divergence.what} of turn {divergence.turn}" if divergence else None
