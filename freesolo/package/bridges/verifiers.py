"""Environments of the library verifiers as environments of ours.

Only their places are looked at here: their code runs in a host, when the new environment is loaded.
"""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement

from freesolo.errors import InvalidInput, TaskNotFound
from freesolo.package.bridges.writing import BRIDGES, filled_in
from freesolo.package.files import collect_files

# The releases whose `load_environment` returns what can be played; later ones have another interface.
LIBRARY = "verifiers>=0.3,<0.4"
_FILES = BRIDGES / "verifiers-library"
_SOURCE = PurePosixPath("source")


@dataclass(frozen=True)
class VerifiersEnvironment:
    """An environment of the library: the module that loads it, and what must be there for that.

    `source` are the files of one that is not installed, by their place in it. `origin` says where it
    came from, for people to read.
    """

    module: str
    dependencies: tuple[str, ...]
    origin: str
    source: dict[PurePosixPath, Path] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What an environment was made from, for people to read."""
        return f"the verifiers environment {self.module}, from {self.origin}"

    def files(self) -> Iterator[tuple[PurePosixPath, bytes]]:
        """Yield the environment's files."""
        # A list of texts is written alike in JSON and in TOML.
        dependencies = json.dumps([*self.dependencies, LIBRARY])
        yield from filled_in(
            _FILES, module=self.module, dependencies=dependencies, origin=self.origin
        )
        for place, path in self.source.items():
            yield _SOURCE / place, path.read_bytes()


def find_environment(reference: str) -> VerifiersEnvironment:
    """Return the environment that `reference` names.

    That is a file, a folder, or a requirement on a distribution of the package index; after that, with
    a colon, the module that defines `load_environment` if it is not called like the distribution.
    Raise `TaskNotFound` if there is no such file or module, `InvalidInput` for a reference of no form.
    """
    if reference.endswith(".py") or "/" in reference or Path(reference).is_dir():
        return _local(Path(reference))
    requirement, _, module = reference.partition(":")
    try:
        name = Requirement(requirement).name
    except InvalidRequirement:
        raise InvalidInput(
            f"{reference!r} names no environment.",
            hint="Write a file, a folder, or a distribution such as `verifiers:my-env==0.1.0`.",
        ) from None
    return VerifiersEnvironment(module or _module_of(name), (requirement,), requirement)


def _local(path: Path) -> VerifiersEnvironment:
    if path.is_file():
        return VerifiersEnvironment(path.stem, (), path.name, {PurePosixPath(path.name): path})
    if not path.is_dir():
        raise TaskNotFound(f"There is no file or folder {path}.")
    name, dependencies = _project(path)
    module = _module_of(name)
    source = {place: path / place for place in map(PurePosixPath, collect_files(path))}
    if not {PurePosixPath(f"{module}.py"), PurePosixPath(module, "__init__.py")} & source.keys():
        raise TaskNotFound(
            f"{path} has no module {module}.",
            hint=f"{module}.py or {module}/__init__.py must define `load_environment`.",
        )
    return VerifiersEnvironment(module, dependencies, name, source)


def _project(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Return the name and the dependencies of a folder by its pyproject.toml, if it has one."""
    path = folder / "pyproject.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}.") from None
    project = document.get("project", {})
    return project.get("name", folder.resolve().name), tuple(project.get("dependencies", ()))


def _module_of(name: str) -> str:
    return name.replace("-", "_")
