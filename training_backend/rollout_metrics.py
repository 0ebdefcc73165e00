"""What a step's rollouts say of a run, in numbers and in examples (pure)."""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, pstdev, quantiles

from freesolo.runtime.episodes import Transcript
from training_backend.recipes.task import Sample
from training_backend.rollouts import Rollout


def metrics_of(
    rollouts: Sequence[Rollout], advantages: Sequence[tuple[float, ...]]
) -> dict[str, float]:
    """Return a step's measurements by name. A mean over nothing is left out.

    `advantages` are those of each rollout's turns, none for a rollout that teaches nothing.
    """
    read = [rollout for rollout in rollouts if not rollout.unread]
    scored = [rollout for rollout in read if rollout.reward is not None]
    lengths = [rollout.said_tokens for rollout in read]
    found: dict[str, float] = {
        "rollout/unread_frac": 1 - len(read) / len(rollouts),
        "rollout/retried_frac": fmean(rollout.tries > 1 for rollout in rollouts),
        "rollout/errored_frac": fmean(
            rollout.transcript.failure is not None for rollout in rollouts
        ),
    }
    if read:
        ended = [rollout.said_tokens for rollout in read if not rollout.truncated]
        turns = sum(rollout.turns for rollout in read)
        found |= {
            # A prompt that is too long is no fault of the environment's code.
            "rollout/unscorable_frac": 1 - len(scored) / len(read),
            "completions/mean_length": fmean(lengths),
            "completions/min_length": min(lengths),
            "completions/max_length": max(lengths),
            "completions/clipped_ratio": fmean(rollout.truncated for rollout in read),
            "num_turns/mean": fmean(rollout.turns for rollout in read),
            "num_turns/max": max(rollout.turns for rollout in read),
            "tokens/sampled": sum(lengths),
        }
        if turns:
            found["ac_tokens_per_turn"] = sum(lengths) / turns
            found["ob_tokens_per_turn"] = sum(map(_heard_tokens, read)) / turns
        if ended:
            found["completions/mean_terminated_length"] = fmean(ended)
        if any(rollout.thinking for rollout in read):
            found["think_tokens/mean"] = fmean(rollout.thinking for rollout in read)
    if told := [advantage for turns in advantages for advantage in turns]:
        found |= {"advantage/min": min(told), "advantage/max": max(told)}
    return found | _reward_metrics(rollouts, scored)


def samples_of(
    rollouts: Sequence[Rollout],
    advantages: Sequence[tuple[float, ...]],
    examples: Sequence[int],
) -> list[Sample]:
    """Return rollouts to look at; `examples` are the numbers of their rows."""
    return [
        _sample(rollout, turns, example)
        for rollout, turns, example in zip(rollouts, advantages, examples, strict=True)
    ]


def _heard_tokens(rollout: Rollout) -> int:
    """Count what the model read: its prompt, and what the environment answered.

    A row of tokens for each turn was read anew for each.
    """
    return sum(len(row.prompt) + sum(turn < 0 for turn in row.turns) for row in rollout.rows)


def _reward_metrics(rollouts: Sequence[Rollout], scored: Sequence[Rollout]) -> dict[str, float]:
    rewards = [rollout.reward for rollout in scored if rollout.reward is not None]
    if not rewards:
        return {}
    groups = [
        [rollout.reward for rollout in group if rollout.reward is not None]
        for _, group in groupby(rollouts, key=lambda rollout: rollout.place.group)
    ]
    told = [group for group in groups if len(group) > 1]
    found = {
        "reward": fmean(rewards),
        "reward_std": fmean(pstdev(group) for group in told) if told else 0.0,
        "reward/min": min(rewards),
        "reward/max": max(rewards),
        "reward/p10": _quantile(rewards, 0),
        "reward/p90": _quantile(rewards, -1),
    }
    if told:
        found["frac_reward_zero_std"] = fmean(len(set(group)) == 1 for group in told)
    successes = [rollout.score.success for rollout in scored if rollout.score is not None]
    known = [success for success in successes if success is not None]
    if known:
        found["success_rate"] = fmean(known)
    return found | _success_by_group(rollouts)


def _success_by_group(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the shares of groups in which all rollouts that have a score succeeded, none, or some."""
    groups = [
        {rollout.score.success for rollout in group if rollout.score is not None} - {None}
        for _, group in groupby(rollouts, key=lambda rollout: rollout.place.group)
    ]
    told = [group for group in groups if group]
    if not told:
        return {}
    return {
        "by_group/frac_all_good": fmean(group == {True} for group in told),
        "by_group/frac_all_bad": fmean(group == {False} for group in told),
        "by_group/frac_mixed": fmean(len(group) == 2 for group in told),
    }


def _quantile(values: Sequence[float], tenth: int) -> float:
    """Return the first tenth's bound or, at -1, the last's."""
    return quantiles(values, n=10, method="inclusive")[tenth] if len(values) > 1 else values[0]


def _sample(rollout: Rollout, advantages: tuple[float, ...], example: int) -> Sample:
    error = rollout.score.error if rollout.score else None
    prompt, said = _messages(rollout.transcript)
    return Sample(
        example=example,
        rollout=rollout.place.number,
        messages=prompt,
        completion=said,
        reward=rollout.reward,
        advantage=fmean(advantages) if advantages else None,
        finish=str(rollout.transcript.ending),
        tokens=rollout.said_tokens,
        error=error.message if error else None,
        metrics={"turns": rollout.turns}
        | ({"thinking_tokens": rollout.thinking} if rollout.thinking else {}),
    )


def _messages(transcript: Transcript) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    messages = transcript.messages
    count = len(transcript.prompt)
    return messages[:count], messages[count:]
