"""Make dataset/: `python make_data.py` writes the same rows each time."""

import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path

DATASET = Path(__file__).parent / "dataset"
SIZES = {"train": 600, "heldout": 120}

DEEDS = (
    *("send me the {thing}", "print the {thing}", "find the {thing}", "bring me the {thing}"),
    *("show me the {thing}", "give me the {thing}", "pack the {thing}", "check the {thing}"),
)
THINGS = (
    *("invoice", "report", "map", "ticket", "contract", "photo", "letter", "recipe", "menu"),
    *("catalogue", "passport", "drawing", "timetable", "receipt", "form"),
)
TIMES = (
    *("by Friday", "before noon", "tonight", "tomorrow", "this week", "by Monday"),
    *("before lunch", "today", "by Thursday", "this afternoon"),
)
BLUNT = ("{Deed} {time}.", "Just {deed} {time}.", "You have to {deed} {time}.", "{Deed} {time}!")
POLITE = (
    "Could you please {deed} {time}?",
    "Would you be so kind as to {deed} {time}?",
    "I would be grateful if you could {deed} {time}.",
    "When you have a moment, could you please {deed} {time}?",
)


def make_rows(rng: random.Random) -> Iterator[dict[str, object]]:
    """Yield rows without end, none of which asks for what another asked for."""
    wishes = list(product(DEEDS, THINGS, TIMES))
    for deed, thing, time in rng.sample(wishes, len(wishes)):
        wish = deed.format(thing=thing)
        words = {"deed": wish, "Deed": wish.capitalize(), "time": time}
        yield {
            "input": rng.choice(BLUNT).format(**words),
            "output": rng.choice(POLITE).format(**words),
            "metadata": {"keep": [thing, time.split()[-1]]},
        }


def write_splits() -> None:
    """Write every split, each with rows that no other has."""
    rows = make_rows(random.Random(7))
    for split, size in SIZES.items():
        lines = [json.dumps(next(rows), ensure_ascii=False) for _ in range(size)]
        (DATASET / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_splits()
