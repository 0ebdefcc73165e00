"""A curve in one line of text."""

from collections.abc import Sequence
from itertools import pairwise

from freesolo.domain.statistics import mean

_LEVELS = "▁▂▃▄▅▆▇█"
# For a terminal that knows no others.
_ASCII_LEVELS = "_.:-=+*#"


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """Draw `values`, oldest first, as at most `width` characters, lowest to highest.

    Where there are more values than room, a character is the mean of those it stands for.
    """
    levels = _ASCII_LEVELS if ascii_only else _LEVELS
    heights = _shorten(values, width)
    if not heights:
        return ""
    low, high = min(heights), max(heights)
    if low == high:
        return levels[len(levels) // 2 - 1] * len(heights)
    top = len(levels) - 1
    return "".join(levels[round((height - low) / (high - low) * top)] for height in heights)


def _shorten(values: Sequence[float], width: int) -> Sequence[float]:
    if len(values) <= width:
        return values
    edges = [place * len(values) // width for place in range(width + 1)]
    return [mean(values[begin:end]) for begin, end in pairwise(edges)]
