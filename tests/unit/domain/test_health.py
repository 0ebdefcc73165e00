"""What is said about a run, by what was measured."""

import random
from collections.abc import Mapping, Sequence

import pytest

from freesolo.domain.health import Mood, Steps, health_hints, recent, seconds_left, series


def run(count: int = 30, **metrics: float | Sequence[float]) -> Steps:
    """Return a run's steps: a number is the same in each, two are where it begins and ends."""
    return _steps(count, metrics)


def _steps(count: int, metrics: Mapping[str, float | Sequence[float]]) -> Steps:
    return [
        {"step": place + 1.0}
        | {name.replace("__", "/"): _at(value, place, count) for name, value in metrics.items()}
        for place in range(count)
    ]


def _at(value: float | Sequence[float], place: int, count: int) -> float:
    if isinstance(value, int | float):
        return float(value)
    first, last = value
    return first + (last - first) * place / (count - 1)


def codes(steps: Steps) -> list[str]:
    return [hint.code for hint in health_hints(steps)]


HEALTHY: dict[str, float | Sequence[float]] = {
    "reward": 0.4,
    "reward_std": 0.3,
    "frac_reward_zero_std": 0.3,
    "loss": 0.01,
    "grad_norm": 0.5,
    "entropy": 0.8,
    "completions__clipped_ratio": 0.02,
    "sampling__logp_difference_mean": 0.002,
    "rollout__unscorable_frac": 0.0,
}


def practised(**changes: float | Sequence[float]) -> Steps:
    """Return a healthy run of GRPO with some metrics changed."""
    return _steps(30, HEALTHY | changes)


@pytest.mark.parametrize(
    ("steps", "expected", "words"),
    [
        (practised(reward=0, reward_std=0, frac_reward_zero_std=1), "nothing_scores", "validate"),
        (
            practised(reward=1, reward_std=0, frac_reward_zero_std=1),
            "everything_scores",
            "nothing is left to learn",
        ),
        (practised(frac_reward_zero_std=0.95), "groups_tell_nothing", "95 %"),
        (practised(completions__clipped_ratio=0.35), "answers_are_cut", "max_completion_tokens"),
        (practised(rollout__unscorable_frac=0.12), "unscorable", "12 %"),
        (practised(rollout__errored_frac=0.5), "errored", "runs samples"),
        (practised(sampling__logp_difference_mean=(0.002, 0.3)), "sampler_differs", "0.2"),
        (_steps(100, HEALTHY | {"entropy": (0.8, 0.0)}), "entropy_collapses", "temperature"),
        (practised(reward=(0.11, 0.72)), "learns", "rose from 0.2"),
        (practised(reward=(0.7, 0.1)), "reward_falls", "learning_rate"),
        (run(loss=(3.0, 1.0)), "learns", "loss fell from 2.86 to 1.31"),
        (run(loss=2.0), "loss_does_not_fall", "train.learning_rate"),
        (run(loss=(1.0, 2.0)), "loss_does_not_fall", "1.84 now"),
        (run(400, loss=(0.5, 0.001), epoch=(0, 9)), "overfits", "by heart"),
        (run(teacher_kl=(0.9, 0.1), loss=0.5), "learns", "distance to the teacher fell"),
        (run(teacher_kl=(0.1, 0.9), loss=0.5), "teacher_is_lost", "grew"),
    ],
)
def test_a_hint_says_what_the_metrics_mean_and_what_to_do(
    steps: Steps, expected: str, words: str
) -> None:
    (hint,) = [hint for hint in health_hints(steps) if hint.code == expected]
    assert words in hint.message
    assert (hint.mood is Mood.GOOD) == (expected == "learns")


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_what_explodes_is_told(name: str) -> None:
    steps = [*practised(), *run(6, **{name: 80.0})]
    assert "explodes" in codes(steps)


def test_a_single_outlier_is_no_explosion() -> None:
    assert "explodes" not in codes([*practised(), *run(1, grad_norm=80.0), *practised()])


def test_nothing_is_said_of_a_healthy_run_that_only_scatters() -> None:
    scatter = random.Random(7)  # noqa: S311
    steps = [{**values, "reward": scatter.gauss(0.4, 0.1)} for values in practised()]
    assert codes(steps) == []


def test_nothing_is_said_of_too_few_steps() -> None:
    assert codes([]) == []
    assert codes(run(4, reward=0, reward_std=0, frac_reward_zero_std=1, loss=2.0)) == []


def test_one_cause_is_told_once() -> None:
    flat = {"frac_reward_zero_std": 1.0, "reward_std": 0.0}
    assert codes(practised(reward=0, **flat)) == ["nothing_scores"]
    assert codes(practised(reward=1, entropy=(0.5, 0.0), **flat)) == ["everything_scores"]
    assert codes(practised(rollout__unscorable_frac=0.5, rollout__errored_frac=0.5)) == [
        "unscorable"
    ]


def test_a_run_that_got_out_of_trouble_is_well() -> None:
    stuck = practised(reward=0, reward_std=0, frac_reward_zero_std=1)
    assert codes([*stuck, *practised()]) == ["learns"]


def test_warnings_come_before_good_news() -> None:
    steps = practised(reward=(0.1, 0.7), completions__clipped_ratio=0.5)
    assert codes(steps) == ["answers_are_cut", "learns"]


def test_an_imitation_that_grows_sure_of_itself_is_no_collapse() -> None:
    assert codes(run(loss=(3.0, 1.0), entropy=(2.0, 0.0))) == ["learns"]


def test_a_sampler_that_was_always_a_bit_off_is_not_growing_apart() -> None:
    assert codes(practised(sampling__logp_difference_mean=0.06)) == []


def test_the_time_left_is_that_of_the_newest_steps() -> None:
    steps = [*run(20, **{"time/step": 60.0}), *run(20, **{"time/step": 2.0})]
    assert seconds_left(steps, 50) == 2.0 * 30
    assert seconds_left(steps, None) is None
    assert seconds_left([], 50) is None


def test_a_series_has_the_steps_that_measured_it() -> None:
    steps = [{"step": 1.0, "loss": 3.0}, {"step": 2.0}, {"step": 3.0, "loss": 1.0}]
    assert series(steps, "loss") == [3.0, 1.0]
    assert recent(steps, "loss") == 2.0
    assert recent(steps, "reward") is None
