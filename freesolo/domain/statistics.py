"""Intervals for held-out scores, and tests of two models on the same questions."""

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

Z_95 = 1.959963984540054

# Up to so many differences, each way to sign them is tried; beyond, so many ways are drawn.
_EXACT_SIGNS = 15
_DRAWN_SIGNS = 20_000


def wilson_interval(successes: float, total: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (E. B. Wilson, 1927), 95 % by default.

    It stays inside [0, 1] and is honest at 0 and at `total`, where the normal one has no width.
    `successes` may be the sum of any values in [0, 1]: no such values vary more than yes and no
    with the same mean, so that the interval of their mean is then rather too wide than too narrow.
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


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's interval (1908) of the mean of a population that `values` were drawn from.

    None for values that are all alike, or only one: they say nothing of how far others lie. Where one question was
    answered several times, pass one mean for each question: answers to the same one are not drawn
    independently (E. Miller, "Adding error bars to evals", 2024).
    """
    if len(set(values)) < 2:
        return None
    centre = mean(values)
    squares = math.fsum((value - centre) ** 2 for value in values)
    error = math.sqrt(squares / (len(values) - 1) / len(values))
    half = student_quantile(len(values) - 1, confidence) * error
    return (centre - half, centre + half)


def student_quantile(degrees: int, confidence: float) -> float:
    """Return the t that Student's distribution stays within, on both sides, with `confidence`."""
    low, high = 0.0, 1.0
    while _student_within(high, degrees) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if _student_within(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return high


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (1947) that two models are as good.

    The arguments count the questions that just one of the two got right; those on which they agree
    say nothing. Each of them is as likely to be the one's as the other's if the models are alike.
    """
    discordant = only_first + only_second
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    # Whole numbers to the end: no power of two is too large for them.
    return min(1.0, float(2 * tail / 2**discordant))


def paired_difference_interval(
    only_first: int, only_second: int, total: int, z: float = Z_95
) -> tuple[float, float]:
    """Return the interval of the second model's share of right answers less the first one's.

    It is the adjusted Wald interval of D. G. Bonett and R. M. Price (2012) for paired proportions.
    """
    first, second = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    centre = second - first
    half = z * math.sqrt((first + second - centre**2) / (total + 2))
    return (max(-1.0, centre - half), min(1.0, centre + half))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of a paired permutation test that two models score alike.

    If they do, each difference could as well have had the other sign (R. A. Fisher, 1935). Few
    differences are flipped in every way there is. Of many, ways are drawn, always the same ones, and
    the one seen is counted among them (B. Phipson and G. K. Smyth, 2010).
    """
    moved = [difference for difference in differences if difference]
    seen = abs(math.fsum(moved))
    # What rounding alone may take from a sum that is as far from zero.
    far = seen - 1e-9 * math.fsum(map(abs, moved))
    if len(moved) <= _EXACT_SIGNS:
        ways: Iterable[int] = range(2 ** len(moved))
        return mean([abs(total) >= far for total in _flipped(moved, ways)])
    drawn = random.Random(0)  # noqa: S311 - the same data are to give the same p-value
    ways = (drawn.getrandbits(len(moved)) for _ in range(_DRAWN_SIGNS))
    as_far = sum(abs(total) >= far for total in _flipped(moved, ways))
    return (1 + as_far) / (1 + _DRAWN_SIGNS)


def _flipped(differences: Sequence[float], ways: Iterable[int]) -> Iterable[float]:
    """Yield the sum of the differences for each way to sign them, a bit for each."""
    width = -(-len(differences) // 8)
    # The sums of eight differences, for each of the 256 ways to sign those.
    tables = [_signed_sums(differences[start : start + 8]) for start in range(0, 8 * width, 8)]
    for way in ways:
        signs = way.to_bytes(width, "little")
        yield math.fsum(table[byte] for table, byte in zip(tables, signs, strict=True))


def _signed_sums(differences: Sequence[float]) -> list[float]:
    sums = [0.0]
    for difference in differences:
        sums = [total + difference for total in sums] + [total - difference for total in sums]
    return sums


def _student_within(t: float, degrees: int) -> float:
    """Return the chance that |T| <= t, by its finite series (Abramowitz and Stegun, 26.7.3-4)."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def area_under_curve(better: Sequence[float], worse: Sequence[float]) -> float:
    """Return how often one of `better` is above one of `worse`, ties counting half.

    That is the area under the ROC curve (Hanley and McNeil, 1982): 1 if all are above, 0.5 if
    there is no difference. Neither may be empty.
    """
    ordered = sorted(worse)
    wins = sum(bisect_left(ordered, value) + bisect_right(ordered, value) for value in better)
    return wins / (2 * len(better) * len(worse))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of `values` lie below, linear between two of them.

    There must be at least one.
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
