"""A dataset read page by page, whatever its size and shape."""

import psutil
import pytest

from freesolo.errors import EnvironmentFailed
from freesolo.runtime.host import MAX_ROW_CHARS
from tests.component.runtime.conftest import OpenHost
from tests.environment_folders import SOUND

MANY = 100_000


def with_dataset(dataset: str) -> str:
    start, _, end = SOUND.partition(
        'dataset = [{"input": f"{n} + 1", "output": str(n + 1)} for n in range(8)]'
    )
    return f"import os\nimport time\n{start}dataset = {dataset}{end}"


def test_a_dataset_is_a_sequence(host_of: OpenHost) -> None:
    examples = host_of(SOUND).examples()

    assert len(examples) == 8
    assert examples[-1] == examples[7]
    assert [example.output for example in examples[2:5]] == ["3", "4", "5"]
    assert [example.id for example in examples][-1] == "example_000007"
    assert next(example.input for example in reversed(examples)) == "7 + 1"
    with pytest.raises(IndexError):
        examples[8]


@pytest.mark.parametrize("brackets", ["[]", "()"], ids=["list", "generator"])
def test_a_hundred_thousand_rows_stay_where_they_are(host_of: OpenHost, brackets: str) -> None:
    rows = f"{brackets[0]}{{'input': f'{{n}} ' + 200 * 'x', 'output': str(n)}} for n in range({MANY}){brackets[1]}"
    host = host_of(with_dataset(rows))
    before = psutil.Process().memory_info().rss

    examples = host.examples()
    read = sum(int(example.output) for example in examples)  # type: ignore[call-overload]

    assert (len(examples), read) == (MANY, MANY * (MANY - 1) // 2)
    assert psutil.Process().memory_info().rss - before < 32 * 1024**2


def test_rows_can_be_read_in_any_order(host_of: OpenHost) -> None:
    examples = host_of(with_dataset(f"[{{'input': str(n)}} for n in range({MANY})]")).examples()
    rows = [(7919 * step) % MANY for step in range(200)]

    assert [examples[row].input for row in rows] == [str(row) for row in rows]


def test_long_rows_make_short_pages(host_of: OpenHost) -> None:
    rows = "[{'input': str(n) + 400_000 * 'x'} for n in range(40)]"
    examples = host_of(with_dataset(rows)).examples()

    assert [examples[row].input.strip("x") for row in (39, 0, 17, 16, 18)] == [
        "39",
        "0",
        "17",
        "16",
        "18",
    ]


def test_a_row_that_is_larger_than_any_message_is_named(host_of: OpenHost) -> None:
    rows = f"[{{'input': n * {MAX_ROW_CHARS} * 'x'}} for n in (0, 0, 1)]"
    examples = host_of(with_dataset(rows)).examples()

    assert examples[1].input == ""
    with pytest.raises(EnvironmentFailed, match="row 2 of the dataset has"):
        examples[2]


def test_a_dataset_of_another_length_after_a_restart_is_noticed(host_of: OpenHost) -> None:
    code = with_dataset("[{'input': str(n)} for n in range(1000 + os.getpid())]").replace(
        "return RewardResult", "os._exit(3)\n        return RewardResult"
    )
    host = host_of(code)
    examples = host.examples()
    host.score_responses(examples[0], ["leave"])

    with pytest.raises(EnvironmentFailed, match="and now has"):
        examples[999]


@pytest.mark.parametrize("text", ["\ud800", "\x00", '"' * 1000, "日本語", "\u2028"])
def test_any_text_in_a_row_arrives(host_of: OpenHost, text: str) -> None:
    host = host_of(with_dataset(f"[{{'input': 'q', 'output': {text!a}}}]"))

    assert host.examples()[0].output == text
