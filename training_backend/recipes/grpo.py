"""GRPO: practise, be scored, and move towards what was better than its siblings."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from freesolo.domain.train_spec import GrpoSpec
from freesolo.domain.train_tables import GrpoTable
from freesolo.errors import EnvironmentFailed
from freesolo.runtime.examples import Examples
from training_backend.advantages import Credited, advantages
from training_backend.packing import Row
from training_backend.policy import Objective
from training_backend.policy_trainer import Practice, train_policy
from training_backend.recipes.practising import course_of, play, practising, refuse_unread
from training_backend.recipes.task import Task
from training_backend.rollout_metrics import metrics_of, samples_of
from training_backend.rollouts import Rollout, Stage

# Steps of an attempt in which no group has told anything yet, after which it is in vain to go on.
_VAIN_STEPS = 20


def train(task: Task) -> int:
    """Train an adapter by GRPO on the environment's rewards; return the last step.

    Goes on from where an earlier attempt stopped. Raise `LimitExceeded`, before the model is loaded,
    if the machine's memory is too small.
    """
    spec = task.lease.spec
    if not isinstance(spec, GrpoSpec):
        raise TypeError(f"{spec.algorithm} is not trained by GRPO")
    objective = Objective(
        spec.train.temperature, spec.train.kl_penalty_coef, spec.train.entropy_quantile
    )
    with practising(task, spec) as ready:
        return train_policy(
            ready.model,
            course_of(task, spec, ready, objective),
            GroupPractice(
                ready.stage,
                ready.examples,
                spec.train,
                hopeful=task.resume_from is not None,
            ).practise,
            device=ready.device,
            progress=task.progress,
        )


@dataclass
class GroupPractice:
    """Samples the groups of a step and says how much better than its siblings each rollout was.

    `hopeful` says that something was learned before.
    """

    stage: Stage
    examples: Examples
    train: GrpoTable
    hopeful: bool = False
    _silent: int = 0

    def practise(self, step: int, numbers: Sequence[int]) -> Practice:
        """Roll out, score, compare. Raise `EnvironmentFailed` where most rollouts have no score."""
        played = play(
            self.stage, self.examples, numbers, step=step, group_size=self.train.group_size
        )
        rollouts = played.rollouts
        refuse_failures(rollouts, step=step, context=self.stage.limits.context)
        shaped = [self._credited(rollout) for rollout in rollouts]
        compared = compare(rollouts, shaped, self.train)
        self._refuse_vain(compared, [rollout.reward for rollout in rollouts])
        learned = [
            turns if teaches(rollout) else ()
            for rollout, turns in zip(rollouts, compared, strict=True)
        ]
        return Practice(
            rows=[
                row
                for rollout, turns in zip(rollouts, compared, strict=True)
                for row in rows_of(rollout, turns)
            ],
            metrics={**metrics_of(rollouts, learned), **played.measured},
            samples=samples_of(rollouts, learned, played.rows),
        )

    def _credited(self, rollout: Rollout) -> Credited:
        penalty = self.train.thinking_length_penalty_coef * rollout.thinking
        reward = None if rollout.reward is None else rollout.reward - penalty
        by_turn = rollout.turn_rewards
        if by_turn:
            # It is the first turn's thinking that is counted.
            by_turn = (by_turn[0] - penalty, *by_turn[1:])
        return Credited(reward, rollout.turns, by_turn)

    def _refuse_vain(
        self, compared: Sequence[tuple[float, ...]], rewards: Sequence[float | None]
    ) -> None:
        """Raise where nothing was ever learned and nothing is worth anything.

        Rollouts that are all worth the same and something may have solved their task.
        """
        told = any(map(any, compared)) or any((reward or 0) > 0 for reward in rewards)
        self.hopeful = self.hopeful or told
        self._silent += 1
        if not self.hopeful and self._silent >= _VAIN_STEPS:
            raise EnvironmentFailed(
                f"In {self._silent} steps, no rollout was worth anything or better than another of its "
                "prompt: there is nothing to learn from.",
                hint="The task is too hard for this model, or the reward does not tell answers "
                "apart: `freesolo validate` tries it. Training by SFT first may help.",
            )


def compare(
    rollouts: Sequence[Rollout], credited: Sequence[Credited], train: GrpoTable
) -> list[tuple[float, ...]]:
    """Return the advantage of every turn of every rollout, group by group."""
    pairs = zip(rollouts, credited, strict=True)
    compared: list[tuple[float, ...]] = []
    for _, group in groupby(pairs, key=lambda pair: pair[0].place.group):
        compared += advantages([credit for _, credit in group], train.credit_assignment)
    return compared


def teaches(rollout: Rollout) -> bool:
    """Say whether a rollout carries loss.

    One that was cut off or has no score does not: that it did not come to an end says nothing about
    what it said.
    """
    return rollout.reward is not None and not rollout.truncated


def rows_of(rollout: Rollout, turns: Sequence[float]) -> list[Row]:
    """Return a rollout as rows to train on, with the advantage of each of its turns."""
    counts = teaches(rollout)
    return [
        Row(
            prompt=spoken.prompt,
            after=spoken.after,
            trained=tuple(counts and turn >= 0 for turn in spoken.turns),
            advantages=tuple(turns[turn] if turn >= 0 else 0.0 for turn in spoken.turns),
            logprobs=spoken.logprobs,
        )
        for spoken in rollout.rows
    ]


def refuse_failures(rollouts: Sequence[Rollout], *, step: int, context: int) -> None:
    """Raise where a step has next to nothing to learn from because of what failed."""
    refuse_unread(rollouts, step=step, context=context)
    failed = [rollout for rollout in rollouts if rollout.score and rollout.score.error]
    if 2 * len(failed) <= len(rollouts):
        return
    first = failed[0].score
    error = first.error if first else None
    raise EnvironmentFailed(
        f"{len(failed)} of {len(rollouts)} rollouts of step {step} could not be scored, the first "
        f"because: {error.message if error else 'unknown'}",
        hint="Mend the environment's code; `freesolo validate` tries its rewards.",
        traceback=error.traceback if error else None,
    )
