"""The evaluation itself: every case of a suite asked, played and scored."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Protocol

from freesolo.datasets.types import Message
from freesolo.domain.evaluations import CaseResult, Outcome
from freesolo.errors import Unavailable
from freesolo.evaluation.workers import side_by_side
from freesolo.runtime.client import EnvironmentHost
from freesolo.runtime.episodes import Ending, Transcript, play
from freesolo.runtime.values import Case, Score, Suite

# A model that has not answered one of so many questions is not asked the rest.
_PATIENCE = 20


class Ask(Protocol):
    """Asks a model for its next words. `sample` tells apart the answers to one case."""

    def __call__(self, messages: Sequence[Message], *, sample: int) -> str:
        """Return what the model says."""


@dataclass(frozen=True)
class Played:
    """What became of one answer, and the episode that it ended."""

    result: CaseResult
    transcript: Transcript


def run_suite(
    host: EnvironmentHost, ask: Ask, suite: Suite, *, samples: int = 1, concurrency: int = 1
) -> Iterator[Played]:
    """Ask a model every case of a suite `samples` times; yield what came of it, in order.

    One answer that is not to be had, or cannot be scored, is a result. What would fail every case
    alike is raised: an unknown model, a wrong key, a model that answers nothing at all.
    """
    tasks = list(product(suite.cases, range(samples)))
    answered = False
    work: Callable[[tuple[Case, int]], Played] = partial(_play, host, ask)
    with closing(side_by_side(work, tasks, workers=concurrency)) as results:
        for count, played in enumerate(results, start=1):
            answered = answered or played.result.outcome is not Outcome.UNANSWERED
            if not answered and count == _PATIENCE < len(tasks):
                raise Unavailable(
                    f"The model answered none of the first {count} questions.",
                    hint=played.result.error,
                )
            yield played


def _play(host: EnvironmentHost, ask: Ask, task: tuple[Case, int]) -> Played:
    case, sample = task
    transcript = play(host, case, partial(ask, sample=sample))
    answer = _answer(host, transcript)
    if transcript.failure is not None:
        unanswered = transcript.ending is Ending.MODEL_FAILED
        outcome = Outcome.UNANSWERED if unanswered else Outcome.UNSCORABLE
        result = _result(case, sample, answer, outcome=outcome, error=transcript.failure.message)
        return Played(result, transcript)
    score = host.score_case(case.suite, case.index, answer or "", transcript.episode())
    return Played(_scored(case, sample, answer, score), transcript)


def _answer(host: EnvironmentHost, transcript: Transcript) -> str | None:
    """Return what is graded: the last words, or what the environment of many turns made of them."""
    if not transcript.turns:
        return None
    return transcript.response_text if host.multi_turn else transcript.actions[-1]


def _scored(case: Case, sample: int, answer: str | None, score: Score) -> CaseResult:
    if score.error is not None:
        return _result(case, sample, answer, outcome=Outcome.UNSCORABLE, error=score.error.message)
    outcome = Outcome.PASSED if score.success else Outcome.FAILED
    return _result(case, sample, answer, outcome=outcome, score=score.reward)


def _result(
    case: Case,
    sample: int,
    answer: str | None,
    *,
    outcome: Outcome,
    score: float | None = None,
    error: str | None = None,
) -> CaseResult:
    return CaseResult(
        index=case.index,
        sample=sample,
        id=case.id,
        prompt=str(case.messages[-1]["content"]) if case.messages else "",
        expected=None if case.expected is None else str(case.expected),
        answer=None if answer is None else str(answer),
        outcome=outcome,
        score=score,
        error=error,
    )
