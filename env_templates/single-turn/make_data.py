"""Make dataset/: `python make_data.py` writes the same rows each time."""

import json
import random
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

DATASET = Path(__file__).parent / "dataset"
SIZES = {"train": 600, "heldout": 120}
FIRST, LAST = date(1950, 1, 1), date(2049, 12, 31)

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
SPELLINGS = (
    *("{month} {day}, {year}", "{month} {nth}, {year}", "{month} the {nth}, {year}"),
    *("{day} {month} {year}", "{nth} {month} {year}", "{nth} of {month}, {year}"),
    *("the {nth} of {month} {year}", "{year}, {month} {day}"),
    *("{short} {day}, {year}", "{short}. {nth}, {year}", "{day} {short} {year}"),
    "{day}-{short}-{year}",
)


def make_rows(rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield rows without end, each about a day of its own."""
    days = (LAST - FIRST).days + 1
    for offset in rng.sample(range(days), days):
        day = FIRST + timedelta(days=offset)
        yield {"input": rng.choice(SPELLINGS).format(**parts_of(day)), "output": day.isoformat()}


def parts_of(day: date) -> dict[str, str]:
    """Return what a date is spelled with."""
    month = MONTHS[day.month - 1]
    ending = "th" if 11 <= day.day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return {
        "year": str(day.year),
        "month": month,
        "short": month[:3],
        "day": str(day.day),
        "nth": f"{day.day}{ending}",
    }


def write_splits() -> None:
    """Write every split, each with rows that no other has."""
    rows = make_rows(random.Random(7))
    for split, size in SIZES.items():
        lines = [json.dumps(next(rows), ensure_ascii=False) for _ in range(size)]
        (DATASET / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_splits()
