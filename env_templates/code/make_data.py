"""Make dataset/: `python make_data.py` writes the same rows each time.

Change the kinds of functions here to make the task yours. A row is only kept if it can tell right
from wrong: what its function returns differs between the tests and is never what was given.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

DATASET = Path(__file__).parent / "dataset"
SIZES = {"train": 600, "heldout": 120}
TESTS = 5

# Parameter, what is returned, how. {a} and {b} are numbers, {p} and {q} letters.
KINDS = (
    ("number", "the number times {a}, plus {b}", "number * {a} + {b}"),
    ("number", "the number minus {b}, times {a}", "(number - {b}) * {a}"),
    ("number", "the square of the number, plus {b}", "number ** 2 + {b}"),
    ("numbers", "each number plus {b}", "[n + {b} for n in numbers]"),
    ("numbers", "each number times {b}", "[n * {b} for n in numbers]"),
    ("numbers", "the numbers above {b}", "[n for n in numbers if n > {b}]"),
    ("numbers", "the sum of the numbers below {b}", "sum(n for n in numbers if n < {b})"),
    ("numbers", "the largest number plus {b}", "max(numbers) + {b}"),
    ("numbers", "the sum of all numbers, minus {b}", "sum(numbers) - {b}"),
    ("text", "the text in capitals, {a} times", "text.upper() * {a}"),
    ("text", "the first {a} letters of the text", "text[:{a}]"),
    ("text", "the last {a} letters of the text", "text[-{a}:]"),
    ("text", "the text with every '{p}' replaced by '{q}'", "text.replace('{p}', '{q}')"),
    ("text", "the length of the text plus {b}", "len(text) + {b}"),
    ("text", "the text reversed, then '{p}{q}'", "text[::-1] + '{p}{q}'"),
)
WORDINGS = ("that returns {what}.", "which gives back {what}.", "returning {what}.")
WORDS = "banana lantern teapot garden orange seaside elephant umbrella mountain basket".split()


def make_rows(rng: random.Random) -> Iterator[dict[str, object]]:
    """Yield rows without end, none of which asks for what another asked for."""
    seen: set[str] = set()
    while True:
        parameter, what, expression = rng.choice(KINDS)
        p, q = rng.sample("abcdefghilmnoprstu", 2)
        chosen = {"a": rng.randint(2, 6), "b": rng.randint(2, 40), "p": p, "q": q}
        what, expression = what.format(**chosen), expression.format(**chosen)
        source = f"def solve({parameter}):\n    return {expression}"
        tests = make_tests(rng, parameter, source)
        if what not in seen and tells_apart(tests):
            seen.add(what)
            wording = rng.choice(WORDINGS).format(what=what)
            yield {
                "input": f"`solve({parameter})` {wording}",
                "output": source,
                "metadata": {"tests": tests},
            }


def make_tests(rng: random.Random, parameter: str, source: str) -> list[dict[str, object]]:
    """Return calls of a gold function, which is our own, and what each returns."""
    names: dict[str, object] = {}
    exec(source, names)
    tests = []
    for word in rng.sample(WORDS, TESTS):
        numbers = [rng.randint(-20, 60) for _ in range(rng.randint(3, 6))]
        given = {"number": numbers[0], "numbers": numbers, "text": word}[parameter]
        tests.append({"given": [given], "expected": names["solve"](given)})
    return tests


def tells_apart(tests: list[dict[str, object]]) -> bool:
    """Say whether neither a constant nor what was given passes the tests."""
    expected = [json.dumps(test["expected"]) for test in tests]
    unchanged = any(test["expected"] == test["given"][0] for test in tests)
    return len(set(expected)) == len(expected) and not unchanged


def write_splits() -> None:
    """Write every split, each with rows that no other has."""
    rows = make_rows(random.Random(7))
    for split, size in SIZES.items():
        lines = [json.dumps(next(rows), ensure_ascii=False) for _ in range(size)]
        (DATASET / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_splits()
