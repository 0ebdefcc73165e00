"""Pages of a dataset: what is fetched, what is kept, what is refused."""

import json

import pytest

from freesolo.errors import EnvironmentFailed
from freesolo.runtime.examples import Examples, Page, read_page


def row(index: int) -> str:
    return json.dumps({"record": {}, "input": str(index), "id": "whatever it says"})


class Dataset:
    """Rows to read, and which pages of them were read."""

    def __init__(self, total: int, *, longest_page: int = 1000) -> None:
        self.total = total
        self.longest_page = longest_page
        self.read: list[int] = []

    def __call__(self, start: int, count: int) -> Page:
        self.read.append(start)
        end = min(start + min(count, self.longest_page), self.total)
        return Page(start, tuple(row(index) for index in range(start, end)), self.total)


def test_rows_are_numbered_by_their_place_in_the_dataset() -> None:
    examples = Examples(Dataset(700))

    assert (examples[600].id, examples[600].input) == ("example_000600", "600")


def test_a_page_that_is_at_hand_is_not_read_again() -> None:
    dataset = Dataset(700)
    examples = Examples(dataset)

    assert [example.input for example in examples] == [str(index) for index in range(700)]
    assert [examples[index].input for index in (300, 5, 699)] == ["300", "5", "699"]
    assert dataset.read == [0, 256, 512]


def test_the_page_that_was_used_least_lately_is_given_up() -> None:
    dataset = Dataset(256 * 18)
    examples = Examples(dataset)
    for page in range(1, 16):
        examples[page * 256]
    examples[0]

    examples[16 * 256]
    examples[0]
    examples[256]

    assert dataset.read[-2:] == [16 * 256, 256]


def test_a_page_that_ends_before_the_row_is_followed_by_one_that_begins_with_it() -> None:
    dataset = Dataset(100, longest_page=3)
    examples = Examples(dataset)

    assert examples[50].input == "50"
    assert dataset.read == [0, 0, 50]


def test_rows_too_large_for_a_whole_page_are_read_once_when_read_in_order() -> None:
    dataset = Dataset(9, longest_page=3)

    assert [example.input for example in Examples(dataset)] == [str(index) for index in range(9)]
    assert dataset.read == [0, 3, 6]


def test_a_dataset_of_another_length_is_another_dataset() -> None:
    dataset = Dataset(700)
    examples = Examples(dataset)
    dataset.total = 701

    with pytest.raises(EnvironmentFailed, match="had 700 rows and now has 701"):
        examples[300]


def test_a_row_beyond_the_last_is_an_index_error() -> None:
    examples = Examples(Dataset(3))

    for index in (3, -4):
        with pytest.raises(IndexError):
            examples[index]


@pytest.mark.parametrize("rows", [None, [], [3], [{"input": "q"}], ["{}", "{}"]])
@pytest.mark.parametrize("total", [None, 1])
def test_a_page_must_hold_rows_as_text(rows: object, total: object) -> None:
    with pytest.raises(EnvironmentFailed, match="something else"):
        read_page({"rows": rows, "total": total}, 0)


def test_an_empty_dataset_is_told() -> None:
    with pytest.raises(EnvironmentFailed, match="is empty"):
        read_page({"rows": [], "total": 0}, 0)


@pytest.mark.parametrize("text", ["", "3", "[]", "[" * 20_000, '{"unknown": 1}', '{"record": {}}'])
def test_rows_must_be_examples(text: str) -> None:
    examples = Examples(lambda start, count: Page(0, (text,), 1))

    with pytest.raises(EnvironmentFailed, match="something else"):
        examples[0]
