"""The files that bridges write: those of a folder here, with the words that stand for something."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from string import Template

BRIDGES = files("freesolo.package.bridges")


def filled_in(folder: Traversable, **words: str) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the files below `folder`, each `$word` replaced by what it stands for; others stay."""
    return _filled_in(folder, PurePosixPath(), words)


def _filled_in(
    folder: Traversable, below: PurePosixPath, words: dict[str, str]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _filled_in(entry, below / entry.name, words)
        else:
            yield below / entry.name, Template(entry.read_text()).safe_substitute(words).encode()
