"""What the measurements of a run say about it, in words that its owner can act on.

Each rule looks at the measured steps, oldest first, and gives one hint or none. The thresholds are
ours: where most runs that went wrong were beyond, and most that went well were not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median, variance

from freesolo.domain.statistics import mean

# By name what was measured in each step.
Steps = Sequence[Mapping[str, float]]

# One step alone says little: a rule looks at the mean of so many, the newest or the first.
WINDOW = 10
# Fewer do not make a trend.
_FEWEST = 5
_HALVES = 2 * _FEWEST

_FULL_MARKS = (0.999, 1.001)
_FLAT_GROUPS = 0.9
_CLIPPED = 0.2
_UNSCORABLE = 0.05
_ERRORED = 0.05
_MISMATCH = 0.05
_LOW_ENTROPY = 0.05
_COLLAPSED = 1 / 3
_EXPLODED = 10.0
# How far beyond its own scatter the mean has to move to count as moving.
_CLEARLY = 3.0
_NOT_FALLING = 0.02
_OVERFIT = 0.02


class Mood(StrEnum):
    """Whether a hint is good news, or asks for something."""

    GOOD = "good"
    WARNING = "warning"


@dataclass(frozen=True)
class Hint:
    """One thing to know about a run. `code` is for programs, `message` for people."""

    code: str
    mood: Mood
    message: str


def health_hints(steps: Steps) -> list[Hint]:
    """Return what there is to know about a run, warnings first."""
    hints = [hint for rule in _RULES if (hint := rule(steps)) is not None]
    return sorted(hints, key=lambda hint: hint.mood is Mood.GOOD)


def series(steps: Steps, name: str) -> list[float]:
    """Return the values of one metric, oldest first, where it was measured."""
    return [values[name] for values in steps if name in values]


def seconds_left(steps: Steps, total_steps: int | None) -> float | None:
    """Estimate how long a run still takes, from its newest steps; None if nothing tells."""
    pace = recent(steps, "time/step")
    if pace is None or not total_steps:
        return None
    return pace * max(0.0, total_steps - steps[-1]["step"])


def recent(steps: Steps, name: str) -> float | None:
    """Return the mean of a metric over the newest steps that have it, None without any."""
    values = series(steps, name)[-WINDOW:]
    return mean(values) if values else None


def _nothing_scores(steps: Steps) -> Hint | None:
    rewards, spreads = series(steps, "reward")[-WINDOW:], series(steps, "reward_std")[-WINDOW:]
    if len(rewards) < _FEWEST or any(rewards) or any(spreads):
        return None
    return _warning(
        "nothing_scores",
        f"Every rollout of the last {len(rewards)} steps scores 0: the task is too hard, or the "
        "reward is broken. `freesolo validate` tries the reward on gold answers; SFT first, or "
        "easier examples, give a model something to build on.",
    )


def _everything_scores(steps: Steps) -> Hint | None:
    rewards = series(steps, "reward")[-WINDOW:]
    spreads = series(steps, "reward_std")[-WINDOW:]
    low, high = _FULL_MARKS
    if len(rewards) < _FEWEST or any(std > high - low for std in spreads):
        return None
    if not all(low <= reward <= high for reward in rewards):
        return None
    return _warning(
        "everything_scores",
        f"Every rollout of the last {len(rewards)} steps scores full marks, "
        f"{_number(mean(rewards))}: nothing is left to learn here. Stop, or train on harder examples.",
    )


def _groups_tell_nothing(steps: Steps) -> Hint | None:
    flat = recent(steps, "frac_reward_zero_std")
    known = _nothing_scores(steps) or _everything_scores(steps)
    if flat is None or flat < _FLAT_GROUPS or known or len(steps) < _FEWEST:
        return None
    return _warning(
        "groups_tell_nothing",
        f"In {_percent(flat)} of the groups all rollouts score the same, and teach nothing. Raise "
        "`train.group_size` or `train.temperature`, or choose examples of middling difficulty.",
    )


def _answers_are_cut(steps: Steps) -> Hint | None:
    clipped = recent(steps, "completions/clipped_ratio")
    if clipped is None or clipped <= _CLIPPED:
        return None
    return _warning(
        "answers_are_cut",
        f"{_percent(clipped)} of the answers are cut off before they end. Raise "
        "`train.max_completion_tokens`.",
    )


def _rollouts_are_unscorable(steps: Steps) -> Hint | None:
    share = recent(steps, "rollout/unscorable_frac")
    if share is None or share <= _UNSCORABLE:
        return None
    return _warning(
        "unscorable",
        f"{_percent(share)} of the rollouts could not be scored and are left out. "
        "`freesolo runs samples` shows the errors; `freesolo validate` finds what raises or hangs.",
    )


def _rollouts_fail(steps: Steps) -> Hint | None:
    share = recent(steps, "rollout/errored_frac")
    if share is None or share <= _ERRORED or _rollouts_are_unscorable(steps):
        return None
    return _warning(
        "errored",
        f"In {_percent(share)} of the rollouts the environment failed. `freesolo runs samples` shows "
        "the errors.",
    )


def _sampler_differs(steps: Steps) -> Hint | None:
    gaps = series(steps, "sampling/logp_difference_mean")
    if len(gaps) < _FEWEST:
        return None
    now, first = mean(gaps[-WINDOW:]), mean(gaps[:WINDOW])
    if now <= _MISMATCH or (len(gaps) >= 2 * WINDOW and now < 2 * first):
        return None
    return _warning(
        "sampler_differs",
        f"Sampler and trainer disagree about the probability of a token by {_number(now)} nats on "
        f"average, {_number(first)} at first: the rollouts are not the policy's own. Lower "
        "`train.learning_rate`.",
    )


def _entropy_collapses(steps: Steps) -> Hint | None:
    # What imitates is meant to become sure.
    if not series(steps, "reward"):
        return None
    entropy = series(steps, "entropy")
    if len(entropy) < _HALVES:
        return None
    first, now = mean(entropy[:_FEWEST]), mean(entropy[-_FEWEST:])
    if now >= _LOW_ENTROPY or now >= _COLLAPSED * first or _everything_scores(steps):
        return None
    return _warning(
        "entropy_collapses",
        f"The model hardly varies its answers any more: entropy fell from {_number(first)} to "
        f"{_number(now)}. Lower `train.learning_rate`, or raise `train.temperature` or "
        "`train.kl_penalty_coef`.",
    )


def _explodes(steps: Steps) -> Hint | None:
    for name in ("grad_norm", "loss"):
        values = [abs(value) for value in series(steps, name)]
        if len(values) < _HALVES:
            continue
        usual, now = median(values[:-_FEWEST]), median(values[-_FEWEST:])
        if usual > 0 and now > _EXPLODED * usual and now > 1:
            return _warning(
                "explodes",
                f"`{name}` grew from {_number(usual)} to {_number(now)}: the run is coming apart. "
                "Lower `train.learning_rate`, and go on from an earlier checkpoint.",
            )
    return None


def _reward_moves(steps: Steps) -> Hint | None:
    moved = _moved(series(steps, "reward"))
    if moved is None:
        return None
    first, now = moved
    if now > first:
        return _good(
            "learns", f"It learns: the reward rose from {_number(first)} to {_number(now)}."
        )
    return _warning(
        "reward_falls",
        f"The reward fell from {_number(first)} to {_number(now)}. Lower `train.learning_rate`, or go "
        "on from an earlier checkpoint.",
    )


def _teacher_is_followed(steps: Steps) -> Hint | None:
    moved = _moved(series(steps, "teacher_kl"))
    if moved is None:
        return None
    first, now = moved
    if now < first:
        message = (
            f"It learns: the distance to the teacher fell from {_number(first)} to {_number(now)}."
        )
        return _good("learns", message)
    return _warning(
        "teacher_is_lost",
        f"The distance to the teacher grew from {_number(first)} to {_number(now)}. Lower "
        "`train.learning_rate`.",
    )


def _imitation_loss(steps: Steps) -> Hint | None:
    # A policy gradient's loss says nothing about learning.
    if series(steps, "reward") or series(steps, "teacher_kl"):
        return None
    losses = series(steps, "loss")
    if len(losses) < 2 * WINDOW:
        return None
    first, now = mean(losses[:_FEWEST]), mean(losses[-WINDOW:])
    if now < first * (1 - _NOT_FALLING):
        return _good("learns", f"It learns: the loss fell from {_number(first)} to {_number(now)}.")
    return _warning(
        "loss_does_not_fall",
        f"The loss does not fall: {_number(first)} at first, {_number(now)} now. Raise "
        "`train.learning_rate` or `train.lora_rank`, or look at the gold answers.",
    )


def _imitation_overfits(steps: Steps) -> Hint | None:
    if series(steps, "reward") or series(steps, "teacher_kl"):
        return None
    losses = series(steps, "loss")
    epoch = recent(steps[-1:], "epoch")
    if epoch is None or epoch < 2 or len(losses) < 2 * WINDOW:
        return None
    now = mean(losses[-WINDOW:])
    if now > _OVERFIT:
        return None
    return _warning(
        "overfits",
        f"After {_number(epoch)} passes the loss is {_number(now)}: the model knows the answers by "
        "heart. Lower `train.epochs`, or add examples; `freesolo eval` shows what is held out.",
    )


def _moved(values: Sequence[float]) -> tuple[float, float] | None:
    """Return where a series began and where it is now, None if that is no more than its scatter."""
    window = min(WINDOW, len(values) // 2)
    if window < _FEWEST:
        return None
    begin, end = values[:window], values[-window:]
    scatter = math.sqrt((variance(begin) + variance(end)) / window)
    first, now = mean(begin), mean(end)
    moved = now != first and abs(now - first) >= _CLEARLY * scatter
    return (first, now) if moved else None


def _good(code: str, message: str) -> Hint:
    return Hint(code, Mood.GOOD, message)


def _warning(code: str, message: str) -> Hint:
    return Hint(code, Mood.WARNING, message)


def _number(value: float) -> str:
    return f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


_RULES: Sequence[Callable[[Steps], Hint | None]] = (
    _explodes,
    _nothing_scores,
    _everything_scores,
    _groups_tell_nothing,
    _rollouts_are_unscorable,
    _rollouts_fail,
    _answers_are_cut,
    _entropy_collapses,
    _sampler_differs,
    _imitation_overfits,
    _reward_moves,
    _teacher_is_followed,
    _imitation_loss,
)
