"""Whether a run that was made again came out the same, and what was not the same about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_ABSENT = object()


@dataclass(frozen=True)
class StepPair:
    """What two runs saved after a step, by the tree digests of their adapters; None for nothing."""

    step: int
    original: str
    reproduced: str | None

    @property
    def identical(self) -> bool:
        """Whether the step came out the same."""
        return self.original == self.reproduced


@dataclass(frozen=True)
class Difference:
    """One input that two runs do not share, by its path in their provenance."""

    path: str
    original: object
    reproduced: object

    def __str__(self) -> str:
        return f"{self.path}: {self.original!r} and {self.reproduced!r}"


def pair_steps(original: Mapping[int, str], reproduced: Mapping[int, str]) -> list[StepPair]:
    """Set each step that the original saved against the same step of the other."""
    return [
        StepPair(step, digest, reproduced.get(step)) for step, digest in sorted(original.items())
    ]


def differences(
    original: Mapping[str, object], reproduced: Mapping[str, object], *, under: str = ""
) -> Iterator[Difference]:
    """Yield what two provenances do not share, leaf by leaf."""
    for key in sorted({*original, *reproduced}):
        path = f"{under}{key}"
        first, second = original.get(key, _ABSENT), reproduced.get(key, _ABSENT)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            yield from differences(first, second, under=f"{path}.")
        elif first != second:
            yield Difference(path, *(None if each is _ABSENT else each for each in (first, second)))
