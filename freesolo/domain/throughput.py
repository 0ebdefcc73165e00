"""How fast a run goes on a device: learnt from runs that ended there, else from published anchors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from types import MappingProxyType

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.devices import Device, answers_to

# However alike some runs were, the next is not sure to be.
_LEAST_SPREAD = 1.1
# Half of an anchor to twice as much.
_ANCHOR_SPREAD = 2.0


@dataclass(frozen=True)
class Span:
    """What is expected, and between which values it will lie with some luck."""

    low: float
    expected: float
    high: float

    def __add__(self, other: "Span") -> "Span":
        return Span(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def times(self, factor: float) -> "Span":
        """Return a multiple, by a factor that is not negative."""
        return Span(self.low * factor, self.expected * factor, self.high * factor)


@dataclass(frozen=True)
class RunSpeed:
    """What was measured of one run that ended, an entry for each of its last steps.

    Rates are tokens a second, the rest seconds. An algorithm that does not sample reports no rollouts.
    """

    trained: Sequence[float]
    sampled: Sequence[float] = ()
    scoring: Sequence[float] = ()
    start_up: float | None = None


@dataclass(frozen=True)
class Throughput:
    """The pace of a run, and in words where it was taken from.

    `trained` and `sampled` are seconds a token, `scoring` seconds a rollout, `start_up` seconds until
    the first step. `sampled` is None where nothing is known of sampling.
    """

    trained: Span
    sampled: Span | None
    scoring: Span
    start_up: Span
    source: str


@dataclass(frozen=True)
class _Anchor:
    """Tokens a second, trained and sampled, of a model with so many parameters each; their source."""

    trained: float
    trained_parameters: float
    sampled: float
    sampled_parameters: float
    source: str


# Measured by us: docs/benchmarks.md (8 rows of 68 tokens in 3.11 s), docs/guides/cost.md (sampling).
_CPU = _Anchor(8 * 68 / 3.11, 134.5e6, 47, 134.5e6, "SmolLM2-135M on two cores, docs/benchmarks.md")
# Of a 4B model. From the baselines that prime-rl published in January 2026 (LoRA of rank 16, rows of
# 16k tokens, one device or an eighth of eight). Sampling: vLLM with a 7B model on an H100, 6,300
# tokens a second, less a third for the adapter; on other devices by their memory's bandwidth.
_PUBLISHED = "published figures of prime-rl and vLLM"
_GPUS: Mapping[str, _Anchor] = MappingProxyType(
    {
        "h100": _Anchor(6229, 4.02e9, 4600, 7.6e9, f"{_PUBLISHED} for an H100"),
        "h200": _Anchor(6547, 4.02e9, 6600, 7.6e9, f"{_PUBLISHED} for an H200"),
        "a6000": _Anchor(1233, 4.02e9, 1050, 7.6e9, f"{_PUBLISHED} for an A6000"),
    }
)
# Small models leave a large device idle: 0.6B trains 2.1 times, not 6.7 times as fast as 4B on an H100.
_IDLE_EXPONENT = 0.4
# benchmarks/environment_host.py: a reward that is code takes a millisecond, one that asks a judge more.
_SCORING = Span(0.001, 0.005, 0.5)
_START_UP = Span(15, 30, 90)


def speed_of(
    steps: Sequence[Mapping[str, float]], *, rollouts: int, start_up: float | None
) -> RunSpeed:
    """Read a run's speed out of what its steps reported; each samples so many `rollouts`.

    `tokens_per_s` is over the whole step, of which an algorithm that samples trains for `time/update`.
    A step in which there was nothing to learn has none, and tells nothing of how fast training is.
    """
    trained, sampled, scoring = [], [], []
    for step in steps:
        whole = step.get("time/step", 0.0)
        rate, updating = step.get("tokens_per_s", 0.0), step.get("time/update", whole)
        if rate > 0 and updating > 0:
            trained.append(rate * whole / updating)
        # Practice is timed whole: to sample, to score, and with a teacher to be judged.
        apart = step.get("time/scoring", 0.0) + step.get("time/teacher", 0.0)
        if (sampling := step.get("time/rollouts", 0.0) - apart) > 0:
            said = rollouts * step.get("completions/mean_length", 0.0)
            sampled.append(said / sampling)
        if rollouts and "time/scoring" in step:
            scoring.append(step["time/scoring"] / rollouts)
    return RunSpeed(trained, sampled, scoring, start_up)


def measured(runs: Sequence[RunSpeed]) -> Throughput | None:
    """Return the pace of runs that ended on the device; None without any that tells it.

    The middle of all their steps is expected, and nine of ten of them lie within the span.
    """
    trained = [rate for run in runs for rate in run.trained if rate > 0]
    if not trained:
        return None
    sampled = [rate for run in runs for rate in run.sampled if rate > 0]
    scoring = [seconds for run in runs for seconds in run.scoring]
    starts = [run.start_up for run in runs if run.start_up is not None]
    told = sum(1 for run in runs if any(rate > 0 for rate in run.trained))
    return Throughput(
        trained=_middle([1 / rate for rate in trained]),
        sampled=_middle([1 / rate for rate in sampled]) if sampled else None,
        scoring=_middle(scoring) if scoring else _SCORING,
        start_up=_middle(starts) if starts else _START_UP,
        source=f"measured on {told} run{'' if told == 1 else 's'} here",
    )


def anchored(device: Device, model: BaseModelEntry) -> Throughput | None:
    """Return the pace that published figures promise; None for a device without any.

    On a CPU time grows with the model's parameters and shrinks with the cores. On an accelerator
    models below the anchor's size gain less than their size promises.
    """
    anchor = _anchor_of(device)
    if anchor is None:
        return None
    speed_up = 1.0 if device.gpu else device.cores / 2
    return Throughput(
        trained=_around(
            _relative_cost(model.parameters / anchor.trained_parameters, gpu=device.gpu)
            / (anchor.trained * speed_up)
        ),
        sampled=_around(
            _relative_cost(model.parameters / anchor.sampled_parameters, gpu=device.gpu)
            / (anchor.sampled * speed_up)
        ),
        scoring=_SCORING,
        start_up=_START_UP,
        source=f"anchor: {anchor.source}, scaled to {model.parameters / 1e6:,.0f} M parameters",
    )


def _anchor_of(device: Device) -> _Anchor | None:
    if not device.gpu:
        return _CPU
    return next((anchor for word, anchor in _GPUS.items() if answers_to(device.name, word)), None)


def _relative_cost(size: float, *, gpu: bool) -> float:
    return size**_IDLE_EXPONENT if gpu and size < 1 else size


def _around(value: float) -> Span:
    return Span(value / _ANCHOR_SPREAD, value, value * _ANCHOR_SPREAD)


def _middle(values: Sequence[float]) -> Span:
    middle = median(values)
    if len(values) == 1:
        return Span(middle / _ANCHOR_SPREAD, middle, middle * _ANCHOR_SPREAD)
    tenths = quantiles(values, n=20, method="inclusive")
    return Span(
        min(tenths[0], middle / _LEAST_SPREAD), middle, max(tenths[-1], middle * _LEAST_SPREAD)
    )
