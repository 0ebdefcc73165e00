"""A dataset that stays in its environment's process and is read from there page by page.

A page crosses as the JSON text of its rows, and is kept so: a row becomes an example when it is
asked for. However many rows a dataset has, the caller holds a few pages of it.
"""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

from freesolo.datasets.records import stable_example_id
from freesolo.datasets.types import TaskExample
from freesolo.errors import EnvironmentFailed

PAGE_ROWS = 256
_KEPT_PAGES = 16


@dataclass(frozen=True)
class Page:
    """Rows of a dataset from `start` on, each as JSON text; `total` is how many it has in all."""

    start: int
    rows: tuple[str, ...]
    total: int

    def __contains__(self, index: int) -> bool:
        return self.start <= index < self.start + len(self.rows)


class Examples(Sequence[TaskExample]):
    """The examples of an environment. What they hold of the author's objects is their JSON view.

    `read` returns the page of at most so many rows from an index on. Reading may raise
    `EnvironmentFailed`.
    """

    def __init__(self, read: Callable[[int, int], Page]) -> None:
        self._read = read
        self._lock = threading.Lock()
        first = read(0, PAGE_ROWS)
        self._total = first.total
        self._pages = [first]

    def __len__(self) -> int:
        return self._total

    @overload
    def __getitem__(self, index: int) -> TaskExample: ...
    @overload
    def __getitem__(self, index: slice) -> list[TaskExample]: ...
    def __getitem__(self, index: int | slice) -> TaskExample | list[TaskExample]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(self._total))]
        row = range(self._total)[index]
        with self._lock:
            page = self._page_of(row)
        return _example(page.rows[row - page.start], row)

    def _page_of(self, row: int) -> Page:
        page = next((page for page in reversed(self._pages) if row in page), None)
        if page is None:
            # Rows in no order still find their neighbours; large rows make a page end before them.
            follows = any(page.start + len(page.rows) == row for page in self._pages)
            page = self._fetch(row if follows else row - row % PAGE_ROWS)
            page = page if row in page else self._fetch(row)
        elif page is not self._pages[-1]:
            self._pages.remove(page)
            self._pages.append(page)
        return page

    def _fetch(self, start: int) -> Page:
        page = self._read(start, PAGE_ROWS)
        if page.total != self._total:
            raise EnvironmentFailed(
                f"The environment's dataset had {self._total} rows and now has {page.total}.",
                hint="`load_environment` must make the same dataset each time.",
            )
        self._pages = [*self._pages, page][-_KEPT_PAGES:]
        return page


def read_page(value: object, start: int) -> Page:
    """Check a page of rows as the child sent it. Raise `EnvironmentFailed` if it holds none."""
    match value:
        case {"rows": [], "total": 0}:
            raise EnvironmentFailed(
                "The environment's dataset is empty.", hint="Put at least one row into `dataset`."
            )
        case {"rows": [_, *_] as rows, "total": int() as total}:
            if all(isinstance(row, str) for row in rows) and start + len(rows) <= total:
                return Page(start, tuple(rows), total)
    raise _malformed()


def _example(text: str, row: int) -> TaskExample:
    try:
        return TaskExample(**json.loads(text) | {"id": stable_example_id(row)})
    except (TypeError, ValueError, RecursionError):
        raise _malformed() from None


def _malformed() -> EnvironmentFailed:
    return EnvironmentFailed("The environment's process answered `examples` with something else.")
