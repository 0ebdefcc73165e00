"""Environments for tests with one flaw each, and the codes of what is to be found: that and no more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent

from tests.environment_folders import write_environment

# Capitals: a question, one right answer, a reward to be filled in.
_TASK = """
import random
import time

from freesolo.environments import EnvironmentSingleTurn, RewardResult

CAPITALS = {{
    "Austria": "Vienna", "Chile": "Santiago", "Egypt": "Cairo", "France": "Paris",
    "Ghana": "Accra", "Japan": "Tokyo", "Kenya": "Nairobi", "Nepal": "Kathmandu",
    "Norway": "Oslo", "Peru": "Lima", "Portugal": "Lisbon", "Senegal": "Dakar",
    "Spain": "Madrid", "Sudan": "Khartoum", "Sweden": "Stockholm", "Syria": "Damascus",
    "Togo": "Lome", "Turkey": "Ankara", "Uruguay": "Montevideo", "Vietnam": "Hanoi",
}}


class Capitals(EnvironmentSingleTurn):
    dataset = [{{"input": land, "output": city}} for land, city in CAPITALS.items()]
    seen = set()

    def build_prompt_messages(self, example, prompt_text):
        question = f"What is the capital of {{example.input}}? Answer with its name alone."
        return [{{"role": "user", "content": question}}]

    def score_response(self, example, response_text):
        answer, gold = response_text.strip(), example.output
{reward}


def load_environment():
    return Capitals()
"""


@dataclass(frozen=True)
class Flawed:
    """An environment's code and further files, by path, with the codes that `validate` must give:
    its errors and warnings, all of them.
    """

    code: str
    codes: frozenset[str]
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write it to `folder`."""
        write_environment(folder, self.code)
        for path, text in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder


def capitals(reward: str) -> str:
    """Return an environment whose reward is this body, of `answer` and `gold`."""
    return _TASK.format(reward=indent(dedent(reward).strip(), " " * 8))


def _reward(body: str, *codes: str) -> Flawed:
    return Flawed(capitals(body), frozenset(codes))


REWARD_FLAWS = {
    "constant": _reward("return RewardResult(1.0)", "reward_constant"),
    "zero on gold": _reward("return RewardResult(float(answer == gold[::-1]))", "gold_all_zero"),
    "gamed by keyword stuffing": _reward(
        "return RewardResult(float(gold in answer))", "reward_gamed"
    ),
    "gamed by an echo": _reward(
        "return RewardResult(float(answer == gold or example.input in answer))", "reward_gamed"
    ),
    "blind to content": _reward(
        "return RewardResult(min(1.0, len(answer) / len(gold)))", "reward_blind"
    ),
    "left to chance": _reward(
        "return RewardResult(float(answer == gold) * random.random())", "reward_varies"
    ),
    "left to chance now and then": _reward(
        "return RewardResult(float(answer == gold and random.random() < 0.7))", "reward_varies"
    ),
    "with a memory": _reward(
        """
        new = (gold, answer) not in self.seen
        self.seen.add((gold, answer))
        return RewardResult(float(answer == gold) * (1.0 if new else 0.5))
        """,
        "reward_stateful",
    ),
    "raising on no text": _reward(
        "return RewardResult(float(answer.split()[0] == gold))", "wrong_failed"
    ),
    "raising on another type": _reward(
        """
        import json
        try:
            answer = json.loads(answer)
        except ValueError:
            return RewardResult(float(answer == gold))
        return RewardResult(0.0 if answer is None else float(gold in answer))
        """,
        "wrong_failed",
    ),
    "not a number": _reward(
        'return RewardResult(1.0 if answer == gold else float("nan"))', "wrong_failed"
    ),
    "hanging": _reward("time.sleep(3600)", "gold_unusable"),
    "failing its own gold": _reward(
        "return RewardResult(float(answer == gold), threshold=1.5)", "gold_unsuccessful"
    ),
}

_EXACT = "return RewardResult(float(answer == gold))"
_SOUND = capitals(_EXACT)
_CONFIG = """
model = "org/name"
algorithm = "sft"
{top}
[environment]
id = "local/example"
params = {{ {params} }}
"""
_LEAKED = """
from environment import load_environment
from freesolo.environments import EnvironmentEvalSuite


def load_evaluations():
    environment = load_environment()
    rows = [{"input": "japan", "output": "Tokyo"}, {"input": "Italy", "output": "Rome"}]
    return EnvironmentEvalSuite(environment, load_dataset(rows).examples)
"""


def _files(code: str, *codes: str, **files: str) -> Flawed:
    """Return a flaw of code or of files; in the names of files `__` stands for `/`, `_` for `.`."""
    paths = {name.replace("__", "/").replace("_", "."): text for name, text in files.items()}
    return Flawed(code, frozenset(codes), paths)


def _rows(rows: str, *codes: str) -> Flawed:
    """Return a flaw of the rows that are loaded: of this list, which `CAPITALS` may be used in."""
    sound = '[{"input": land, "output": city} for land, city in CAPITALS.items()]'
    return Flawed(_SOUND.replace(sound, rows), frozenset(codes))


_ROWS = "".join(f'{{"input": "{n} + 1", "output": "{n + 1}"}}\n' for n in range(3))

FILE_FLAWS = {
    "an import that nothing brings": _files(f"import numpy\n{_SOUND}", "import_unknown"),
    "an import of the platform": _files(
        f"{_SOUND}\n\ndef later():\n    import hub_server.app\n", "import_unknown"
    ),
    "an async hook": _files(
        _SOUND.replace("def score_response(", "async def score_response("), "hook_async"
    ),
    "an async entry point": _files(
        _SOUND.replace("def load_environment(", "async def load_environment("),
        "entry_point_invalid",
    ),
    "a secret that is not declared": _files(
        f'import os\n{_SOUND}\nKEY = os.environ.get("JUDGE_API_KEY")\n', "secret_undeclared"
    ),
    "a secret that is not set": _files(
        _SOUND,
        "secret_missing",
        environment_toml='[environment]\nname = "example"\nsecrets = ["NEVER_SET_ANYWHERE"]\n',
    ),
    "a network that is not declared": _files(
        f"import urllib.request\n{_SOUND}", "network_undeclared"
    ),
    "a path of the author's machine": _files(
        f'{_SOUND}\n\ndef words():\n    return open("/home/ada/words.txt")\n', "absolute_path"
    ),
    "a module in another's place": _files(_SOUND, "module_shadows", turtle_py=""),
    "a parameter that is not taken": _files(
        _SOUND, "param_ignored", configs__sft_toml=_CONFIG.format(top="", params='splt = "a"')
    ),
    "a parameter that is not given": _files(
        _SOUND.replace("def load_environment()", "def load_environment(split)"),
        "param_missing",
        configs__sft_toml=_CONFIG.format(top="", params=""),
    ),
    "no thinking to train": _files(
        _SOUND,
        "think_tags_missing",
        configs__sft_toml=_CONFIG.format(top="thinking = true", params=""),
    ),
    "a broken line": _files(
        _SOUND, "dataset_unreadable", dataset__train_jsonl=f'{_ROWS}{{"input":\n'
    ),
    "a row without input": _files(
        _SOUND, "input_missing", dataset__train_jsonl=f'{_ROWS}{{"output": "7"}}\n'
    ),
    "a value too many": _files(
        _SOUND, "extra_values", dataset__train_csv="input,output\na,b\nc, d,e\n"
    ),
    "a held-out file that leaked": _files(
        _SOUND,
        "heldout_overlap",
        dataset__train_jsonl=_ROWS,
        dataset__heldout_jsonl='{"input": "2  + 1", "output": "3"}\n',
    ),
    "a held-out case that leaked": _files(
        _SOUND,
        "heldout_overlap",
        evaluations_py=f"from freesolo.datasets import load_dataset\n{_LEAKED}",
    ),
    "a row again": _rows(
        '[{"input": land, "output": city} for land, city in [*CAPITALS.items()] * 2][:21]',
        "duplicate_rows",
    ),
    "a row against another": _rows(
        '[{"input": land, "output": city} for land, city in CAPITALS.items()]'
        ' + [{"input": "Japan", "output": "Kyoto"}]',
        "contradictory_rows",
    ),
    "one answer to nearly all": _rows(
        '[{"input": f"{n}", "output": "no" if n else "yes"} for n in range(30)]',
        "labels_unbalanced",
    ),
    "nothing to ask": _rows(
        '[{"input": land, "output": city} for land, city in CAPITALS.items()]'
        ' + [{"input": " ", "output": "Rome"}]',
        "input_empty",
    ),
    "a key in a file": _files(_SOUND, "secret_found", notes_txt="key = hf_" + 34 * "a"),
}
