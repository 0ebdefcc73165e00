"""Make dataset/: `python make_data.py` writes the same rows each time."""

import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path

DATASET = Path(__file__).parent / "dataset"
SIZES = {"train": 600, "heldout": 120}

WORDS = "two three four five six seven eight nine ten eleven twelve".split()
COLOURS = "black blue brown green grey orange purple red white yellow".split()
ITEMS = "basket bottle candle chair clock kettle lamp pillow plate towel vase".split()
NAMES = "Ada Ben Clara David Emma Grace Hugo Iris Jonas Kira Maya Noah Olga Priya".split()
CITIES = "Boston Cairo Dublin Ghent Kyoto Lagos Lima Lisbon Madrid Oslo Perth Prague".split()
TEXTS = (
    "{Number} {colour} {item}s for {name} in {city}, please.",
    "Please send {number} {colour} {item}s to {name} in {city}.",
    "{name} from {city} would like {number} {colour} {item}s.",
    "Order for {name}, {city}: {number} {item}s, {colour}.",
    "Could you ship {number} of the {colour} {item}s to {city}? The name is {name}.",
    "Hello, I am {name} and I need {number} {colour} {item}s delivered to {city}.",
    "We owe {name} {number} {item}s in {colour}; the address is in {city}.",
)


def make_rows(rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield rows without end, no two of the same order. Numbers are words or digits."""
    orders = list(product(range(2, 13), COLOURS, ITEMS, NAMES, CITIES))
    for quantity, colour, item, name, city in rng.sample(orders, len(orders)):
        order = {
            "quantity": quantity,
            "colour": colour,
            "item": item,
            "name": name,
            "city": city,
        }
        number = rng.choice((str(quantity), WORDS[quantity - 2]))
        text = rng.choice(TEXTS).format(number=number, Number=number.capitalize(), **order)
        yield {"input": text, "output": json.dumps(order)}


def write_splits() -> None:
    """Write every split, each with rows that no other has."""
    rows = make_rows(random.Random(7))
    for split, size in SIZES.items():
        lines = [json.dumps(next(rows), ensure_ascii=False) for _ in range(size)]
        (DATASET / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_splits()
