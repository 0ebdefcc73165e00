"""Make dataset/: `python make_data.py` writes the same rows each time.

Each row has a note, the reply that people would prefer, and one that they would reject.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

DATASET = Path(__file__).parent / "dataset"
SIZES = {"train": 600, "heldout": 120}

NAMES = "Ada Ben Chloe Dev Elif Finn Grace Hugo Ines Jonas Kira Liam Mona Noah Olga Pia".split()
ITEMS = "lamp clock basket pillow mirror kettle vase blanket teapot chair rug mug".split()
MONTHS = "January March April May June July August October November December".split()
# What happened; what the customer is told of it; what will arrive.
TROUBLES = (
    ("has not arrived", "is late", "Order {order} will reach you on {date}."),
    ("arrived broken", "arrived broken", "A new one for order {order} will reach you on {date}."),
    ("was lost on the way", "was lost", "We will send order {order} again, to arrive on {date}."),
    (
        "has the wrong colour",
        "has the wrong colour",
        "The right one for order {order} will come on {date}.",
    ),
)
SORROWS = ("we are sorry that your {item} {told}.", "we apologise that the {item} {told}.")


def make_rows(rng: random.Random) -> Iterator[dict[str, object]]:
    """Yield rows without end, each about an order of its own."""
    for order in rng.sample(range(1000, 10_000), 9000):
        facts = {
            "name": rng.choice(NAMES),
            "item": rng.choice(ITEMS),
            "order": str(order),
            "date": f"{rng.randint(1, 28)} {rng.choice(MONTHS)}",
        }
        happened, told, arrival = rng.choice(TROUBLES)
        parts = [
            f"Dear {facts['name']},",
            rng.choice(SORROWS).format(**facts, told=told),
            arrival.format(**facts),
            "The Lantern Shop",
        ]
        yield {
            "input": f"Customer: {facts['name']}. Order {order}: the {facts['item']} {happened}. "
            f"It can arrive on {facts['date']}.",
            "output": " ".join(parts),
            "metadata": {"facts": facts, "rejected": spoil(rng, parts)},
        }


def spoil(rng: random.Random, parts: list[str]) -> str:
    """Return a reply that leaves one or two things out, or says them as no customer wants."""
    worse = list(parts)
    worse[rng.choice((1, 2))] = rng.choice(
        ("We have many orders these days.", "Please be patient and do not write again.")
    )
    if rng.random() < 0.5:
        worse[rng.choice((0, 3))] = ""
    return " ".join(part for part in worse if part)


def write_splits() -> None:
    """Write every split, each with rows that no other has."""
    rows = make_rows(random.Random(7))
    for split, size in SIZES.items():
        lines = [json.dumps(next(rows), ensure_ascii=False) for _ in range(size)]
        (DATASET / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_splits()
