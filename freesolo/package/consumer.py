"""`freesolo.toml`: which environments somebody's own code wants, and on which Pythons.

[project]
requires-python = ">=3.11"

[environments]
"acme/math" = ">=1.2,<2"      # what may follow the `@` of a reference, `*` for any release
"""

import os
import platform
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tomlkit
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from tomlkit.items import Table

from freesolo.domain.fields import PythonRangeText, range_text
from freesolo.domain.problems import problems_from_validation
from freesolo.domain.refs import EnvRef, Selector, SelectorKind
from freesolo.errors import InvalidConsumerFile, InvalidRef
from freesolo.package.resolution import Want, identity

CONSUMER_FILE = "freesolo.toml"
_ANY = "*"


def _environments(value: dict[str, str]) -> dict[str, str]:
    names = [identity(_read(name, selector)) for name, selector in value.items()]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise ValueError(f"{list(value)[position]!r} is there twice")
    return value


def parse_name(text: str) -> EnvRef:
    """Read `org/name`. Raise `InvalidRef` for a reference that says more than that."""
    if "@" in text:
        raise InvalidRef(
            f"{text!r} is not the name of an environment.",
            hint=f"Write it without a version; {CONSUMER_FILE} says which are wanted.",
        )
    return EnvRef.parse(text)


def _read(name: str, selector: str) -> EnvRef:
    ref = parse_name(name)
    return ref if selector.strip() == _ANY else EnvRef.parse(f"{name}@{selector}")


class _Project(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    requires_python: PythonRangeText = Field(default="", alias="requires-python")


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    project: _Project = _Project()
    environments: Annotated[dict[str, str], AfterValidator(_environments)] = {}


@dataclass(frozen=True)
class Consumer:
    """What a consumer's folder wants. `text` is the file as it was read, comments and all."""

    requires_python: str
    environments: tuple[EnvRef, ...]
    text: str = field(default="", repr=False, compare=False)

    @property
    def wanted(self) -> list[Want]:
        """The environments as the resolver wants them."""
        return [Want(ref, by=CONSUMER_FILE) for ref in self.environments]

    def find(self, ref: EnvRef) -> EnvRef | None:
        """Return what is wanted of the environment that `ref` names, None if nothing is."""
        return next((one for one in self.environments if identity(one) == identity(ref)), None)


def new_consumer() -> Consumer:
    """Return a consumer that wants nothing yet, for this Python and those after it."""
    major, minor, _ = platform.python_version_tuple()
    return parse_consumer(f'[project]\nrequires-python = ">={major}.{minor}"\n\n[environments]\n')


def read_consumer(folder: Path) -> Consumer | None:
    """Return what the folder wants, None if it has no `freesolo.toml`."""
    path = folder / CONSUMER_FILE
    if not path.is_file():
        return None
    try:
        return parse_consumer(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidConsumerFile(f"{CONSUMER_FILE} is not UTF-8: {error}.") from None


def write_consumer(folder: Path, consumer: Consumer) -> None:
    """Replace the folder's `freesolo.toml`."""
    replace_file(folder / CONSUMER_FILE, consumer.text)


def replace_file(path: Path, text: str) -> None:
    """Replace a file by `text` in one step, so that there is never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def parse_consumer(text: str) -> Consumer:
    """Read the text of `freesolo.toml`. Raise `InvalidConsumerFile` listing every problem."""
    try:
        document = _Document.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidConsumerFile(f"{CONSUMER_FILE} is not valid TOML: {error}.") from None
    except ValidationError as error:
        problems = problems_from_validation(error, _Document)
        first = problems[0]
        raise InvalidConsumerFile(
            f"{CONSUMER_FILE}: {first.path}: {first.message}",
            hint='An environment is written as `"org/name" = ">=1,<2"` under [environments].',
            problems=problems,
        ) from None
    refs = tuple(_read(name, selector) for name, selector in document.environments.items())
    return Consumer(document.project.requires_python, refs, text)


def with_environment(consumer: Consumer, ref: EnvRef) -> Consumer:
    """Return the consumer wanting `ref`, in place of what it wanted of the same environment."""
    document = tomlkit.parse(consumer.text)
    table = document.setdefault("environments", tomlkit.table())
    name = _written_name(table, ref) or ref.full_name
    table[name] = _written(ref.selector)
    return parse_consumer(tomlkit.dumps(document))


def without_environment(consumer: Consumer, ref: EnvRef) -> Consumer:
    """Return the consumer no longer wanting the environment that `ref` names, which it wants."""
    document = tomlkit.parse(consumer.text)
    table = document["environments"]
    assert isinstance(table, Table)  # noqa: S101 - it was read from there
    del table[_written_name(table, ref) or ref.full_name]
    return parse_consumer(tomlkit.dumps(document))


def compatible_range(version: Version) -> str:
    """Return the range from `version` to the next one that may break: `>=1.2.0,<2`, `>=0.3.1,<0.4`."""
    following = f"{version.major + 1}" if version.major else f"0.{version.minor + 1}"
    return f">={version},<{following}"


def _written(selector: Selector) -> str:
    if selector.kind is SelectorKind.RANGE:
        return range_text(SpecifierSet(selector.text))
    return selector.text or _ANY


def _written_name(table: Table, ref: EnvRef) -> str | None:
    """Return how the file writes the name of an environment, None if it is not there."""
    return next((key for key in table if identity(EnvRef.parse(key)) == identity(ref)), None)
