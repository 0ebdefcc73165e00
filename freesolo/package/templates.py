"""New environments: the templates that the package `env_templates` ships, and how any is written.

Where an environment comes from is a `Source`: a template is one, and so is whatever makes an
environment out of a task of another library.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template as Placeholders
from typing import Protocol

from freesolo.domain.refs import check_name
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import FolderNotEmpty, TemplateNotFound

_PACKAGE = "env_templates"
# Files in which `$name` and `$org` stand for the new environment's name and its org's.
_SUBSTITUTED = frozenset({".toml", ".md"})
_NOT_SHIPPED = frozenset({"__pycache__"})


class Source(Protocol):
    """Where a new environment comes from."""

    @property
    def title(self) -> str:
        """What it was made from, for people to read."""

    def files(self) -> Iterator[tuple[PurePosixPath, bytes]]:
        """Yield the files: each path in the environment's folder, and its content."""


@dataclass(frozen=True)
class Template:
    """An environment to start from. `summary` says in a line what it shows."""

    name: str
    summary: str

    @property
    def title(self) -> str:
        """What it was made from, for people to read."""
        return f"the template {self.name}"

    def files(self) -> Iterator[tuple[PurePosixPath, bytes]]:
        """Yield the template's files."""
        return _files_below(files(_PACKAGE) / self.name, PurePosixPath())


# The simplest first. The first is what `init` takes unless told otherwise.
TEMPLATES = (
    Template("single-turn", "one question, one right answer: dates as YYYY-MM-DD"),
    Template("extraction", "text to JSON, scored by the facts that are right"),
    Template("rubric", "free text, scored by a weighted rubric: replies to customers"),
    Template("code", "Python functions, run against hidden tests in a process of their own"),
    Template("judge", "free text, scored by a language model: needs a key and the network"),
    Template("multi-turn", "a game of several turns: find a number, told higher or lower"),
    Template("tool-use", "a question answered by calling tools, one call a turn"),
)


def find_template(name: str) -> Template:
    """Return a template by its name. Raise `TemplateNotFound` naming the nearest one, or all."""
    by_name = {template.name: template for template in TEMPLATES}
    if name not in by_name:
        listed = "; ".join(f"{template.name} ({template.summary})" for template in TEMPLATES)
        raise TemplateNotFound(
            f"There is no template {name!r}.",
            hint=did_you_mean(name, by_name) or f"There are: {listed}.",
        )
    return by_name[name]


def write_environment(source: Source, folder: Path, *, name: str, org: str) -> list[str]:
    """Write the environment `name` of `org` to `folder` and return the paths written, sorted.

    Raise `InvalidRef` for a name that cannot be published, and `FolderNotEmpty` rather than
    overwrite anything.
    """
    check_new(folder, name)
    check_name(org, "org")
    written = []
    for path, content in source.files():
        if path.suffix in _SUBSTITUTED:
            content = Placeholders(content.decode()).safe_substitute(name=name, org=org).encode()
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        written.append(str(path))
    return sorted(written)


def check_new(folder: Path, name: str) -> None:
    """Raise as `write_environment` does if the environment `name` cannot be made in `folder`."""
    check_name(name, "environment")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderNotEmpty(
            f"{folder} is not an empty folder.", hint="Choose another, or empty it first."
        )


def _files_below(
    source: Traversable, below: PurePosixPath
) -> Iterator[tuple[PurePosixPath, bytes]]:
    for entry in source.iterdir():
        path = below / entry.name
        if entry.is_dir() and entry.name not in _NOT_SHIPPED:
            yield from _files_below(entry, path)
        elif entry.is_file():
            yield path, entry.read_bytes()
