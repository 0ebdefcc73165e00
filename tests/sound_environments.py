"""Environments without a flaw, each of another kind: `validate` has no error and no warning.

Each is its files by path; a manifest is added where there is none.
"""

_HEAD = """
import json
import random
import re
from pathlib import Path

from freesolo.datasets import load_dataset
from freesolo.environments import (
    EnvironmentEpisode,
    EnvironmentMultiTurn,
    EnvironmentSingleTurn,
    EnvironmentStepResult,
    RewardResult,
)
"""

_ASKING = """

class Task(EnvironmentSingleTurn):
    def __init__(self):
        self.dataset = ROWS

    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": f"{QUESTION} {example.input}"}]

    def score_response(self, example, response_text):
        return reward(example, response_text.strip())


def load_environment():
    return Task()
"""

EXACT_MATCH = """
QUESTION = "Write this word backwards:"
WORDS = "apple bread chair drum eagle flute grape horse igloo jelly kite lemon mouse night ocean " \\
    "piano queen river stone table uncle violin water yacht zebra".split()
ROWS = [{"input": word, "output": word[::-1]} for word in WORDS]


def reward(example, answer):
    return RewardResult(float(answer == example.output))
"""

NUMERIC_TOLERANCE = """
QUESTION = "To two decimals, what is the square root of"
ROWS = [{"input": str(n), "output": f"{n ** 0.5:.2f}"} for n in range(2, 40)]


def reward(example, answer):
    try:
        off = abs(float(answer) - float(example.output))
    except ValueError:
        return RewardResult(0.0)
    return RewardResult(1.0 if off <= 0.01 else 0.0)
"""

JSON_EXTRACTION = """
QUESTION = "Extract name and age as a JSON object:"
NAMES = "Ada Bela Cleo Dora Emil Finn Gina Hugo Iris Jan Kira Lars Mona Nils Olga".split()
ROWS = [
    {"input": f"{name} turned {20 + n} last week.", "output": {"name": name, "age": 20 + n}}
    for n, name in enumerate([*NAMES, *(name + "a" for name in NAMES)])
]


def reward(example, answer):
    try:
        found = json.loads(answer)
    except ValueError:
        return RewardResult(0.0)
    if not isinstance(found, dict):
        return RewardResult(0.0)
    right = sum(found.get(key) == value for key, value in example.output.items())
    return RewardResult(0.1 + 0.45 * right if set(found) == set(example.output) else 0.0, threshold=1)
"""

GAME = """

class Guess(EnvironmentMultiTurn):
    def __init__(self):
        self.dataset = [
            {"input": "Guess my number.", "metadata": {"number": n}, "output": gold(n)}
            for n in range(1, 31)
        ]

    def start_episode(self, example, prompt_text):
        return [{"role": "user", "content": "Guess my number from 1 to 30. Answer with a number."}]

    def max_episode_turns(self, example):
        return 5

    def step_episode(self, example, messages, assistant_response):
        number = example.metadata["number"]
        if not assistant_response.strip().isdecimal():
            return EnvironmentStepResult(done=True, final_response_text="")
        guess = int(assistant_response)
        if guess == number:
            return EnvironmentStepResult(done=True)
        hint = "Higher." if guess < number else "Lower."
        return EnvironmentStepResult(done=False, messages=({"role": "user", "content": hint},))

    def score_episode(self, example, episode):
        won = episode.response_text.strip() == str(example.metadata["number"])
        return RewardResult(float(won))


def gold(number):
    low, high, said = 1, 30, []
    while True:
        guess = (low + high) // 2
        said.append({"role": "assistant", "content": str(guess)})
        if guess == number:
            return {"messages": said}
        said.append({"role": "user", "content": "Higher." if guess < number else "Lower."})
        low, high = (guess + 1, high) if guess < number else (low, guess - 1)


def load_environment():
    return Guess()
"""

TOOL_USE = """
PRICES = {name: 3 + 7 * n for n, name in enumerate(
    "anvil brush crate drill easel flask glove hinge iron jack kettle ladder mop nail".split()
)}
CALL = re.compile(r"price\\((\\w+)\\)")


class Shop(EnvironmentMultiTurn):
    def __init__(self):
        pairs = [(a, b) for a in PRICES for b in PRICES if a < b][:24]
        self.dataset = [
            {"input": f"{a} and {b}", "output": gold(a, b), "metadata": {"wanted": [a, b]}}
            for a, b in pairs
        ]

    def start_episode(self, example, prompt_text):
        text = f"What do {example.input} cost together? Look up one price with price(NAME)."
        return [{"role": "user", "content": text}]

    def max_episode_turns(self, example):
        return 4

    def step_episode(self, example, messages, assistant_response):
        call = CALL.fullmatch(assistant_response.strip())
        if call is None:
            return EnvironmentStepResult(done=True)
        price = PRICES.get(call[1], "unknown")
        return EnvironmentStepResult(done=False, messages=({"role": "tool", "content": str(price)},))

    def score_episode(self, example, episode):
        total = sum(PRICES[name] for name in example.metadata["wanted"])
        return RewardResult(float(episode.response_text.strip() == str(total)))


def gold(*names):
    messages = []
    for name in names:
        messages.append({"role": "assistant", "content": f"price({name})"})
        messages.append({"role": "tool", "content": str(PRICES[name])})
    total = sum(PRICES[name] for name in names)
    return {"messages": [*messages, {"role": "assistant", "content": str(total)}]}


def load_environment():
    return Shop()
"""

CODE = """
import ast

QUESTION = "Write a Python expression of x that is right for these pairs:"
CASES = [(f"x * {a} + {b}", [(x, x * a + b) for x in range(4)]) for a in range(2, 7) for b in range(1, 6)]
ROWS = [
    {"input": repr(pairs), "output": text, "metadata": {"pairs": pairs}} for text, pairs in CASES
]


def value(node, x):
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.Name(id="x"):
            return x
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return value(left, x) + value(right, x)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return value(left, x) * value(right, x)
    raise ValueError("not an expression of x")


def reward(example, answer):
    if len(answer) > 200:
        return RewardResult(0.0)
    try:
        body = ast.parse(answer, mode="eval").body
        right = [value(body, x) == y for x, y in example.metadata["pairs"]]
    except (SyntaxError, ValueError):
        return RewardResult(0.0)
    return RewardResult(float(all(right)))
"""

PARTIAL_CREDIT = """
QUESTION = "Sort these numbers, with a blank between:"
ROWS = []
for seed in range(30):
    numbers = random.Random(seed).sample(range(10, 100), 5)
    ROWS.append({
        "input": " ".join(map(str, numbers)), "output": " ".join(map(str, sorted(numbers)))
    })


def reward(example, answer):
    gold, said = example.output.split(), answer.split()
    if len(said) != len(gold):
        return RewardResult(0.0, threshold=1.0)
    right = sum(a == b for a, b in zip(gold, said))
    return RewardResult(right / len(gold) if right == len(gold) else right / 10, threshold=1.0)
"""

NO_LABELS = """
QUESTION = "Write a sentence of five words that has the word"
ROWS = [{"input": word} for word in (
    "apple bread chair drum eagle flute grape horse igloo jelly kite lemon mouse night ocean "
    "piano queen river stone table uncle violin"
).split()]


def reward(example, answer):
    words = re.findall(r"[a-z]+", answer.lower())
    return RewardResult(float(len(words) == 5 and len(set(words)) == 5 and example.input in words))
"""

PENALTY = """
QUESTION = "Write in capital letters:"
ROWS = [{"input": word, "output": word.upper()} for word in (
    "apple bread chair drum eagle flute grape horse igloo jelly kite lemon"
).split()]


def reward(example, answer):
    return RewardResult(0.0 if answer == example.output else -1.0)
"""

SEVERAL_RIGHT_ANSWERS = """
QUESTION = "Name any prime number above"
PRIMES = [n for n in range(2, 1000) if all(n % d for d in range(2, n))]
ROWS = [{"input": str(n), "output": str(min(p for p in PRIMES if p > n))} for n in range(0, 120, 5)]
ROWS += [{"input": "50", "output": "97"}, {"input": "100", "output": "113"}]


def reward(example, answer):
    said = int(answer) if re.fullmatch("[0-9]{1,4}", answer) else 0
    return RewardResult(float(said in PRIMES and said > int(example.input)))
"""

LETTERS = """
QUESTION = "Answer with A, B, C or D."
ROWS = [
    {"input": f"Which is {n}?\\nA) {n if n % 4 == 0 else n + 1}\\nB) {n if n % 4 == 1 else n + 2}"
     f"\\nC) {n if n % 4 == 2 else n + 3}\\nD) {n if n % 4 == 3 else n + 4}", "output": "ABCD"[n % 4]}
    for n in range(48)
]


def reward(example, answer):
    letter = re.search("[A-D]", answer.upper())
    return RewardResult(float(letter is not None and letter[0] == example.output))
"""

BROKEN_PROGRAMS = """
QUESTION = "Mend the first line of this program:"
FOLDER = Path(__file__).parent / "programs"
ROWS = [{"input": path.read_text(), "output": "def run():"} for path in FOLDER.glob("*.py")]


def reward(example, answer):
    return RewardResult(float(answer == example.output))
"""

CSV_DATA = """
QUESTION = "Which unit is that a multiple of?"
ROWS = load_dataset(Path(__file__).parent / "dataset" / "train.csv").examples


def reward(example, answer):
    return RewardResult(float(answer.casefold() == example.output))
"""
_UNITS = ["metre", "gram", "second", "ampere", "kelvin", "candela"]
_PREFIXES = ["kilo", "milli", "mega", "micro", "nano"]
_CSV = "input,output\n" + "".join(f"{p}{u},{u}\n" for p in _PREFIXES for u in _UNITS)

OWN_DEPENDENCY = """
import six

QUESTION = "Spell out:"
ROWS = [{"input": str(n), "output": six.ensure_text(word)} for n, word in enumerate(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty".split()
)]


def reward(example, answer):
    return RewardResult(float(answer == example.output))
"""
_SIX = """
[environment]
name = "example"
dependencies = ["six==1.17.0"]
"""


def _single(code: str, **files: str) -> dict[str, str]:
    return {"environment.py": f"{_HEAD}{code}{_ASKING}", **files}


SOUND_ENVIRONMENTS = {
    "exact match": _single(EXACT_MATCH),
    "numeric tolerance": _single(NUMERIC_TOLERANCE),
    "JSON extraction": _single(JSON_EXTRACTION),
    "a game of several turns": {"environment.py": f"{_HEAD}{GAME}"},
    "tool use": {"environment.py": f"{_HEAD}{TOOL_USE}"},
    "code": _single(CODE),
    "partial credit": _single(PARTIAL_CREDIT),
    "no labels": _single(NO_LABELS),
    "CSV data": _single(CSV_DATA) | {"dataset/train.csv": _CSV},
    "only penalties": _single(PENALTY),
    "several right answers": _single(SEVERAL_RIGHT_ANSWERS),
    "letters to choose from": _single(LETTERS),
    "programs to be mended": _single(
        BROKEN_PROGRAMS, **{"programs/first.py": "def run(:\n    pass\n"}
    ),
    "its own dependency": _single(OWN_DEPENDENCY) | {"environment.toml": _SIX},
}
