"""Intervals for held-out scores."""

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054


def wilson_interval(successes: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (E. B. Wilson, 1927), 95 % by default.

    It stays inside [0, 1] and is honest at 0 and at `total`, where the normal one has no width.
    """
    if total == 0:
        return (0.0, 1.0)
    proportion = successes / total
    denominator = 1 + z**2 / total
    centre = (proportion + z**2 / (2 * total)) / denominator
    half = (
        z / denominator * math.sqrt(proportion * (1 - proportion) / total + (z / (2 * total)) ** 2)
    )
    return (max(0.0, centre - half), min(1.0, centre + half))


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean, 0.0 of nothing."""
    return math.fsum(values) / len(values) if values else 0.0
