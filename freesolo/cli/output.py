"""Everything the command line prints: data to standard output, talk to standard error."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from freesolo.errors import FreesoloError

_PIPE_WIDTH = 1000
# Halves of characters, which no encoding can write.
_HALVES = r"\ud800-\udfff"
# What a terminal obeys instead of showing it: control characters but for tab and new line, and what
# turns the direction of writing. Much of what is printed was written by strangers.
_OBEYED = rf"\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069{_HALVES}"


def plain(text: str) -> str:
    """Return text in which whatever a terminal would obey stands as its escape, as in `\\x1b`."""
    return re.sub(f"[{_OBEYED}]", _escape, text)


def _json(document: Mapping[str, object]) -> str:
    """Return a document as JSON that can be written in any encoding of Unicode."""
    return re.sub(f"[{_HALVES}]", _escape, json.dumps(document, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


class Output:
    """Where a command's words go. With `json_mode`, standard output gets one JSON document."""

    def __init__(self) -> None:
        self.json_mode = False
        # A pipe has no width: what reads it wants whole lines.
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self._data = Console(soft_wrap=True, highlight=False, markup=False, width=width)
        self._talk = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

    def document(self, document: Mapping[str, object]) -> None:
        """Print a command's result as JSON, if JSON was asked for."""
        if self.json_mode:
            print(_json(document), flush=True)

    def data(self, text: str = "", *, style: str | None = None, end: str = "\n") -> None:
        """Print a line of the result for people; nothing in JSON mode."""
        if not self.json_mode:
            self._data.print(plain(text), style=style, end=end)

    def piece(self, text: str) -> None:
        """Print a part of a line at once, for answers that arrive word by word."""
        if not self.json_mode:
            print(plain(text), end="", flush=True)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows under headers; nothing in JSON mode."""
        if self.json_mode:
            return
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else plain(str(cell)) for cell in row))
        self._data.print(table)

    def fields(self, values: Mapping[str, object]) -> None:
        """Print names and values in two columns; nothing in JSON mode."""
        if self.json_mode:
            return
        width = max(len(name) for name in values)
        for name, value in values.items():
            self.data(f"{name:<{width}}  {'' if value is None else value}")

    def talk(self, text: str) -> None:
        """Say what is going on."""
        self._talk.print(plain(text))

    def next_step(self, text: str) -> None:
        """Say what the user may type next."""
        self._talk.print(plain(f"Next: {text}"), style="dim")

    def error(self, error: FreesoloError) -> None:
        """Show what went wrong and what to do: the envelope in JSON mode, else in words."""
        if self.json_mode:
            print(_json(error.to_wire()), file=sys.stderr, flush=True)
            return
        self._talk.print(plain(f"Error: {error.message}"), style="bold red")
        # The message often tells a single problem already.
        told = len(error.problems) == 1 and error.problems[0].message in error.message
        for problem in () if told else error.problems:
            self.talk(f"  {problem.path}: {problem.message}")
        if error.traceback:
            self._talk.print(plain(error.traceback.rstrip()), style="dim")
        if error.hint:
            self.talk(f"Hint: {error.hint}")

    @contextmanager
    def progress(
        self, description: str, total: int | None = None, *, of_bytes: bool = False
    ) -> Iterator["Bar"]:
        """Show a progress bar while the block runs; none when standard error is not a terminal."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True) if of_bytes else MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(
            *columns, console=self._talk, transient=True, disable=not self._talk.is_terminal
        ) as progress:
            yield Bar(progress, description, total)

    @property
    def has_screen(self) -> bool:
        """Whether talk goes to a terminal, on which a view can be drawn again and again."""
        return self._talk.is_terminal

    @contextmanager
    def screen(self) -> Iterator["Screen"]:
        """Keep a part of the terminal for a view; what it showed last stays there."""
        with Live(console=self._talk, auto_refresh=False) as live:
            yield Screen(live)

    @property
    def interactive(self) -> bool:
        """Whether a person sits at both ends."""
        return sys.stdin.isatty() and self._talk.is_terminal and not self.json_mode


class Screen:
    """A part of the terminal that is drawn anew with each `show`."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, view: RenderableType) -> None:
        """Draw a view in place of the one before. Whoever makes it keeps its texts `plain`."""
        self._live.update(view, refresh=True)


class Bar:
    """One progress bar."""

    def __init__(self, progress: Progress, description: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total, note="")

    def show(self, done: int, total: int | None, *, note: str = "") -> None:
        """Draw the bar at `done` of `total`."""
        self._progress.update(self._task, completed=done, total=total, note=note)

    def advance(self) -> None:
        """Move the bar by one."""
        self._progress.advance(self._task)
