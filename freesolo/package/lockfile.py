"""`freesolo.lock`: the exact versions that `freesolo.toml` came to, by digest.

Sorted and without times, so that the same wishes give the same bytes. Each environment gets a
virtual environment of its own; the Python packages in it are in a `pylock` file beside the lock,
which the lock pins by digest.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tomlkit
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from freesolo.domain.distributions import Distribution
from freesolo.domain.fields import EnvRefText, EnvRequirementText, PythonRangeText
from freesolo.domain.problems import problems_from_validation
from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidLockFile, LockOutdated, Problem
from freesolo.package.consumer import CONSUMER_FILE, Consumer, replace_file
from freesolo.package.resolution import accepts, describe, find_circle, identity
from freesolo.schemas.base import Digest
from freesolo.schemas.environments import ResolvedVersion

LOCK_FILE = "freesolo.lock"
_HEADER = "# Written by `freesolo lock`; not meant to be edited.\n"
_DAMAGED = "Bring back the committed one, or delete it and run `freesolo lock`."


def _version(value: str) -> str:
    try:
        return str(Version(value))
    except InvalidVersion:
        raise ValueError(f"{value!r} is not a version") from None


class PipLock(BaseModel):
    """The file with the Python packages of one environment, and the digest of its bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lock: str = Field(pattern=r"^pylock\.[a-z0-9-]+\.toml$")
    digest: Digest


class LockedEnvironment(BaseModel):
    """One version of an environment; `source` is the hub that it came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: EnvRefText
    version: Annotated[str, AfterValidator(_version)]
    tree: Digest
    archive: Digest
    size: int = Field(ge=0)
    source: str
    dependencies: tuple[EnvRequirementText, ...] = ()
    pip: PipLock | None = None

    @property
    def name(self) -> Distribution:
        """What identifies the environment."""
        return identity(EnvRef.parse(self.id))

    @property
    def builds_on(self) -> tuple[EnvRef, ...]:
        """The environments that this one builds on."""
        return tuple(EnvRef.parse(text) for text in self.dependencies)

    @property
    def pinned(self) -> ResolvedVersion:
        """The version as the hub would resolve it."""
        return ResolvedVersion(
            ref=self.id,
            version=self.version,
            tree_digest=self.tree,
            archive_digest=self.archive,
            size=self.size,
        )

    def __str__(self) -> str:
        return f"{self.id} {self.version}"


class Lock(BaseModel):
    """The content of `freesolo.lock`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    requires_python: PythonRangeText = Field(default="", alias="requires-python")
    environment: tuple[LockedEnvironment, ...] = ()

    def find(self, ref: EnvRef) -> LockedEnvironment | None:
        """Return what is locked of the environment that `ref` names, None if nothing is."""
        return next((one for one in self.environment if one.name == identity(ref)), None)

    def holds(self, ref: EnvRef) -> bool:
        """Say whether a version is locked that `ref` accepts; of a channel, that is any."""
        found = self.find(ref)
        return found is not None and accepts(ref.selector, Version(found.version), found.tree)

    def closure(self, ref: EnvRef) -> list[LockedEnvironment]:
        """Return an environment of the lock and what it builds on, itself first."""
        found: dict[Distribution, LockedEnvironment] = {}
        waiting = [ref]
        while waiting:
            entry = self.find(waiting.pop())
            if entry is not None and entry.name not in found:
                found[entry.name] = entry
                waiting += entry.builds_on
        return list(found.values())

    def only(self, refs: Iterable[EnvRef]) -> "Lock":
        """Return the part of the lock that holds these environments and what they build on."""
        needed = {one.name for ref in refs for one in self.closure(ref)}
        kept = tuple(one for one in self.environment if one.name in needed)
        return self.model_copy(update={"environment": kept})

    def without(self, refs: Iterable[EnvRef]) -> "Lock":
        """Return the lock without these environments."""
        dropped = {identity(ref) for ref in refs}
        kept = tuple(one for one in self.environment if one.name not in dropped)
        return self.model_copy(update={"environment": kept})


def pylock_name(name: Distribution) -> str:
    """Return the name of an environment's pylock: `pylock.acme-math.toml`."""
    return f"pylock.{str(name).removeprefix('fsenv-')}.toml"


def digest_of(text: str) -> str:
    """Return `sha256:<hex>` of a text's bytes."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def make_lock(requires_python: str, environments: Iterable[LockedEnvironment]) -> Lock:
    """Return a lock of these environments, sorted by name."""
    ordered = sorted(environments, key=lambda environment: str(environment.name))
    return Lock.model_validate({"requires-python": requires_python, "environment": ordered})


def parse_lock(text: str) -> Lock:
    """Read the text of `freesolo.lock`. Raise `InvalidLockFile` for anything but a lock."""
    try:
        lock = Lock.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidLockFile(f"{LOCK_FILE} is not valid TOML: {error}.", hint=_DAMAGED) from None
    except ValidationError as error:
        problems = problems_from_validation(error, Lock)
        first = problems[0]
        raise InvalidLockFile(
            f"{LOCK_FILE}: {first.path}: {first.message}", hint=_DAMAGED, problems=problems
        ) from None
    names = [environment.name for environment in lock.environment]
    if len(set(names)) < len(names):
        raise InvalidLockFile(f"{LOCK_FILE} holds an environment twice.", hint=_DAMAGED)
    if circle := find_circle({one.name: map(identity, one.builds_on) for one in lock.environment}):
        path = " -> ".join(str(name) for name in circle)
        raise InvalidLockFile(f"{LOCK_FILE} holds a circle: {path}.", hint=_DAMAGED)
    return lock


def lock_text(lock: Lock) -> str:
    """Write a lock; the same lock gives the same text."""
    document = lock.model_dump(by_alias=True, exclude_none=True, mode="json")
    return f"{_HEADER}{tomlkit.dumps(document)}"


def read_lock(folder: Path) -> Lock | None:
    """Return the folder's lock, None if it has none."""
    path = folder / LOCK_FILE
    if not path.is_file():
        return None
    try:
        return parse_lock(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidLockFile(f"{LOCK_FILE} is not UTF-8: {error}.", hint=_DAMAGED) from None


def write_lock(folder: Path, lock: Lock, pylocks: Mapping[str, str]) -> None:
    """Replace the folder's lock and its pylocks, texts by file name; those of an earlier lock go."""
    earlier = _pylock_names(read_lock(folder))
    for name, text in pylocks.items():
        replace_file(folder / name, text)
    replace_file(folder / LOCK_FILE, lock_text(lock))
    for name in earlier - _pylock_names(lock):
        (folder / name).unlink(missing_ok=True)


def check_fit(lock: Lock | None, consumer: Consumer) -> Lock:
    """Return the lock if it holds just what the consumer wants; raise `LockOutdated` otherwise."""
    if lock is None:
        raise LockOutdated(f"There is no {LOCK_FILE}.", hint="`freesolo lock` writes it.")
    if problems := misfits(lock, consumer):
        raise LockOutdated(
            f"{LOCK_FILE} does not fit {CONSUMER_FILE}: {problems[0].message}",
            hint="`freesolo lock` brings it up to date.",
            problems=problems,
        )
    return lock


def check_whole(lock: Lock) -> None:
    """Raise `LockOutdated` if the lock lacks anything that its own environments build on."""
    for version in lock.environment:
        for problem in _unmet(lock, str(version), version.builds_on):
            raise LockOutdated(
                f"{LOCK_FILE} is not whole: {problem.message}",
                hint="`freesolo lock` brings it up to date.",
            )


def misfits(lock: Lock, consumer: Consumer) -> list[Problem]:
    """Return what the lock lacks, holds in vain, or holds in another version than is wanted.

    A channel may mean any version: only `freesolo update` asks where it points now.
    """
    found = [] if lock.requires_python == consumer.requires_python else [_other_python(lock)]
    found += _unmet(lock, CONSUMER_FILE, consumer.environments)
    for environment in lock.environment:
        found += _unmet(lock, str(environment), environment.builds_on)
    needed = lock.only(consumer.environments).environment
    found += [
        Problem(one.id, f"Nothing wants {one}.", "superfluous")
        for one in lock.environment
        if one not in needed
    ]
    return found


def read_pylocks(folder: Path, environments: Sequence[LockedEnvironment]) -> dict[str, Path]:
    """Return the pylock of each environment that has one, by the environment's id.

    Raise `InvalidLockFile` if one is not there or is not what the lock pins.
    """
    found = {}
    for environment in environments:
        if environment.pip is None:
            continue
        path = folder / environment.pip.lock
        if not path.is_file():
            raise InvalidLockFile(f"{path} is missing.", hint=_DAMAGED)
        digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        if digest != environment.pip.digest:
            raise InvalidLockFile(
                f"{path.name} is {digest}, but {LOCK_FILE} pins {environment.pip.digest}.",
                hint=_DAMAGED,
            )
        found[environment.id] = path
    return found


def _pylock_names(lock: Lock | None) -> set[str]:
    environments = lock.environment if lock else ()
    return {environment.pip.lock for environment in environments if environment.pip}


def _other_python(lock: Lock) -> Problem:
    return Problem(
        "requires-python", f"It was made for Python {lock.requires_python or 'of any version'}."
    )


def _unmet(lock: Lock, by: str, wanted: Iterable[EnvRef]) -> Iterator[Problem]:
    for ref in wanted:
        locked = lock.find(ref)
        if locked is None:
            yield Problem(ref.full_name, f"{by} wants {describe(ref)}.", "missing")
        elif not lock.holds(ref):
            yield Problem(
                ref.full_name, f"{by} wants {describe(ref)}, but {locked} is locked.", "version"
            )
