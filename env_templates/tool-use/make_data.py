"""Make dataset/: `python make_data.py` writes the same rows each time.

Each row has books of its own, so that no price is worth remembering, and a gold episode, which is
made by running the tools.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools import Shop, run_tool

DATASET = Path(__file__).parent / "dataset"
SIZES = {"train": 600, "heldout": 120}

ITEMS = "lamp clock basket pillow mirror kettle vase blanket teapot chair rug mug".split()
CITIES = "Oslo Turin Porto Graz Ghent Bergen Lyon Krakow Seville Tartu Aarhus Bern".split()
WORDINGS = {
    "city": ("Where does order {order} go?", "Which city is order {order} sent to?"),
    "price": ("What does one piece of order {order} cost?", "What is the price in order {order}?"),
    "total": ("What does order {order} cost in all?", "How much is to be paid for order {order}?"),
}


def make_rows(rng: random.Random) -> Iterator[dict[str, object]]:
    """Yield rows without end, each about an order of its own."""
    for order in rng.sample(range(1000, 10_000), 9000):
        items = rng.sample(ITEMS, 3)
        others = rng.sample([number for number in range(1000, 10_000) if number != order], 2)
        shop = {
            "orders": {
                str(number): {
                    "item": item,
                    "quantity": rng.randint(2, 9),
                    "city": rng.choice(CITIES),
                }
                for number, item in zip((order, *others), items, strict=True)
            },
            "prices": {item: rng.randint(3, 40) for item in sorted(items)},
        }
        kind = rng.choice(list(WORDINGS))
        calls, answer = solve(kind, order, shop)
        yield {
            "input": rng.choice(WORDINGS[kind]).format(order=order),
            "output": play(calls, answer, shop),
            "metadata": {"shop": shop, "needed": needed(calls), "answer": str(answer)},
        }


def solve(kind: str, order: int, shop: Shop) -> tuple[list[dict[str, Any]], object]:
    """Return the calls that a question needs, and its answer."""
    ordered = shop["orders"][str(order)]
    price = shop["prices"][ordered["item"]]
    calls = [{"tool": "get_order", "arguments": {"order": order}}]
    if kind == "city":
        return calls, ordered["city"]
    calls.append({"tool": "get_price", "arguments": {"item": ordered["item"]}})
    if kind == "price":
        return calls, price
    factors = {"a": ordered["quantity"], "b": price}
    return [*calls, {"tool": "multiply", "arguments": factors}], ordered["quantity"] * price


def needed(calls: list[dict[str, Any]]) -> list[str]:
    """Return what has to be looked up; who can multiply need not call for it."""
    looked_up = [call for call in calls if call["tool"] != "multiply"]
    return [
        f"{call['tool'].removeprefix('get_')} {argument}"
        for call in looked_up
        for argument in call["arguments"].values()
    ]


def play(calls: list[dict[str, Any]], answer: object, shop: Shop) -> list[dict[str, str]]:
    """Return the episode: each call, what it brought, and the answer."""
    episode = []
    for call in calls:
        episode.append({"role": "assistant", "content": json.dumps(call)})
        episode.append({"role": "user", "content": json.dumps(run_tool(shop, call))})
    return [*episode, {"role": "assistant", "content": json.dumps({"answer": answer})}]


def write_splits() -> None:
    """Write every split, each with rows that no other has."""
    rows = make_rows(random.Random(7))
    for split, size in SIZES.items():
        lines = [json.dumps(next(rows), ensure_ascii=False) for _ in range(size)]
        (DATASET / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_splits()
