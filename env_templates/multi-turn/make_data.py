"""Make dataset/: `python make_data.py` writes the same rows each time.

The gold answer of a game is a whole episode: what the model says and what it is told, in turn.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

DATASET = Path(__file__).parent / "dataset"
SIZES = {"train": 600, "heldout": 120}
LARGEST = 300
WIDTHS = (8, 31)


def make_rows(rng: random.Random) -> Iterator[dict[str, object]]:
    """Yield rows without end, no two with the same bounds."""
    bounds = [(low, low + width - 1) for low in range(1, LARGEST) for width in range(*WIDTHS)]
    for low, high in rng.sample(bounds, len(bounds)):
        secret = rng.randint(low, high)
        yield {
            "input": f"at least {low} and at most {high}",
            "output": halve(low, high, secret),
            "metadata": {"low": low, "high": high, "secret": secret},
        }


def halve(low: int, high: int, secret: int) -> list[dict[str, str]]:
    """Return the episode of a player who always guesses the middle, rounded down."""
    episode = []
    while True:
        guess = (low + high) // 2
        episode.append({"role": "assistant", "content": str(guess)})
        if guess == secret:
            return episode
        higher = secret > guess
        low, high = (guess + 1, high) if higher else (low, guess - 1)
        episode.append({"role": "user", "content": "higher" if higher else "lower"})


def write_splits() -> None:
    """Write every split, each with rows that no other has."""
    rows = make_rows(random.Random(7))
    for split, size in SIZES.items():
        lines = [json.dumps(next(rows), ensure_ascii=False) for _ in range(size)]
        (DATASET / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_splits()
