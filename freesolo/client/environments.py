"""Published environments, brought to this machine: resolved, fetched, verified, ready to be loaded.

What a folder's `freesolo.lock` holds comes before what the hub says, and what is in the cache needs
no hub at all. `install`, `eval`, `pull` and `freesolo.load` all come this way.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from freesolo.client.files import download_file, no_such_file
from freesolo.client.hub import HubClient
from freesolo.domain.manifest import MANIFEST_NAME
from freesolo.domain.refs import EnvRef
from freesolo.errors import LockOutdated
from freesolo.package.cache import cached_environment, environment_folder, is_intact, list_files
from freesolo.package.consumer import Consumer
from freesolo.package.files import copy_files
from freesolo.package.lockfile import (
    LOCK_FILE,
    Lock,
    LockedEnvironment,
    PipLock,
    check_whole,
    digest_of,
    make_lock,
    pylock_name,
    read_lock,
    read_pylocks,
)
from freesolo.package.resolution import Candidate, Want, identity, resolve
from freesolo.runtime.client import Foundation, needs_of, read_manifest, venv_of
from freesolo.runtime.venvs import compile_pylock
from freesolo.schemas.environments import IndexedVersion, ResolvedVersion, VersionIndex


@dataclass(frozen=True)
class Placed:
    """A version of an environment on this machine, with what it stands on."""

    version: LockedEnvironment
    folder: Path
    foundation: Foundation


@dataclass(frozen=True)
class Locked:
    """A lock, and the texts of its pylocks by file name."""

    lock: Lock
    pylocks: Mapping[str, str]


@dataclass(frozen=True)
class Standing:
    """A locked version, beside the one that would be locked today and the newest release.

    `wanted` is None for what would not be locked at all, `latest` if there is no release.
    """

    locked: LockedEnvironment
    wanted: str | None
    latest: str | None
    yanked: bool

    @property
    def outdated(self) -> bool:
        """Whether there is anything to do. A locked pre-release may be newer than every release."""
        if self.yanked or self.wanted != self.locked.version:
            return True
        return self.latest is not None and Version(self.latest) > Version(self.locked.version)


class Environments:
    """The way from references to folders.

    `connect` opens the hub at an address, the one in use if it is given none; `tell` is for what a
    user should know, such as that a version was yanked.
    """

    def __init__(
        self,
        cache_dir: Path,
        connect: Callable[[str | None], HubClient],
        *,
        tell: Callable[[str], None],
    ) -> None:
        self._cache_dir = cache_dir
        self._connect = connect
        self._tell = tell

    def find(self, ref: EnvRef, consumer_folder: Path) -> LockedEnvironment:
        """Return the version that `ref` means: the one locked in `consumer_folder`, else the hub's."""
        lock = read_lock(consumer_folder)
        if lock is not None and lock.holds(ref):
            return lock.closure(ref)[0]
        found = self.ask(ref)
        return LockedEnvironment(
            id=found.ref,
            version=found.version,
            tree=found.tree_digest,
            archive=found.archive_digest,
            size=found.size,
            source=self._connect(None).url,
        )

    def ask(self, ref: EnvRef) -> ResolvedVersion:
        """Return what the hub says that `ref` means, and tell what should be known of it."""
        found = self._connect(None).resolve(ref)
        for text in _warnings(found):
            self._tell(text)
        return found

    def place(self, ref: EnvRef, consumer_folder: Path) -> Placed:
        """Find a version as `find` does and fetch it, with all that it builds on."""
        lock = read_lock(consumer_folder)
        if lock is not None and lock.holds(ref):
            return self.place_locked(lock, ref, consumer_folder)
        return self._placed(self.resolve([_asked(ref)]), ref)

    def place_locked(self, lock: Lock, ref: EnvRef, consumer_folder: Path) -> Placed:
        """Return what `lock` holds of the environment that `ref` names. Nothing else is asked for."""
        check_whole(lock)
        closure = lock.closure(ref)
        pylocks = read_pylocks(consumer_folder, closure[:1])
        return self._placed(lock, ref, pylock=pylocks.get(closure[0].id))

    def foundation_of(self, folder: Path) -> Foundation:
        """Return what the environment in a folder of its author's builds on, by its manifest."""
        manifest = read_manifest(folder)
        refs = [EnvRef.parse(text) for text in manifest.environments] if manifest else []
        if not refs:
            return Foundation()
        lock = self.resolve([Want(ref, by=MANIFEST_NAME) for ref in refs])
        return Foundation(self._modules(lock.environment))

    def lock(self, consumer: Consumer, earlier: Lock | None, pylocks: Mapping[str, str]) -> Locked:
        """Resolve what the consumer wants and choose the Python packages of each environment.

        What `earlier` and `pylocks`, its texts by file name, hold is kept where it fits. Raise
        `LockOutdated` if the hub now has other files under a version that `earlier` pins.
        """
        kept = earlier.environment if earlier else ()
        resolved = self.resolve(
            consumer.wanted,
            python=consumer.requires_python,
            keep=[version.tree for version in kept],
        )
        _refuse_changed(resolved, kept)
        texts: dict[str, str] = {}
        locked = []
        for version in resolved.environment:
            name = pylock_name(version.name)
            text = self._compile(resolved, version, earlier=pylocks.get(name, ""))
            if text:
                texts[name] = text
            pip = PipLock(lock=name, digest=digest_of(text)) if text else None
            locked.append(version.model_copy(update={"pip": pip}))
        return Locked(make_lock(consumer.requires_python, locked), texts)

    def outdated(self, consumer: Consumer, lock: Lock) -> list[Standing]:
        """Compare what is locked with what would be locked today, and with the newest there is."""
        hub = HubCandidates(self._connect(None))
        fitting = resolve(consumer.wanted, hub, python=consumer.requires_python)
        wanted = {identity(EnvRef.parse(one.ref)): str(one.version) for one in fitting}
        found = []
        for version in lock.environment:
            index = hub.index(EnvRef.parse(version.id))
            yanked = any(one.yanked for one in index.versions if one.version == version.version)
            latest = index.latest_version or None
            found.append(Standing(version, wanted.get(version.name), latest, yanked=yanked))
        return found

    def resolve(
        self, wanted: Sequence[Want], *, python: str = "", keep: Collection[str] = ()
    ) -> Lock:
        """Return the versions that `wanted` comes to, without their Python packages.

        `keep` holds the tree digests of versions to stay with.
        """
        hub = self._connect(None)
        listed = HubCandidates(hub)
        chosen = resolve(wanted, listed, python=python, keep=keep) if wanted else []
        for candidate in chosen:
            for text in _warnings(listed.as_resolved(candidate)):
                self._tell(text)
        return make_lock(python, [_locked(candidate, hub.url) for candidate in chosen])

    def fetch(self, version: LockedEnvironment) -> Path:
        """Return the folder with a version's files; the hub is asked only if the cache has not."""
        return cached_environment(
            version.pinned,
            self._cache_dir,
            download=lambda archive: self._connect(version.source).download(
                version.pinned, archive
            ),
        )

    def folders_of(self, lock: Lock, consumer_folder: Path) -> set[Path]:
        """Return the folders of the cache that a lock's environments need, as far as they are there."""
        found = {environment_folder(self._cache_dir, one.tree) for one in lock.environment}
        for version in lock.environment:
            closure = lock.closure(EnvRef.parse(version.id))
            folders = [environment_folder(self._cache_dir, one.tree) for one in closure]
            if all(folder.is_dir() for folder in folders):
                pylock = read_pylocks(consumer_folder, [version]).get(version.id)
                modules = {
                    one.name.module: path for one, path in zip(closure, folders, strict=True)
                }
                found.add(venv_of(folders[0], Foundation(modules, pylock), self._cache_dir))
        return found

    def fetch_file(self, version: LockedEnvironment, path: str, folder: Path) -> str:
        """Write one file of a version below `folder`, where it is in the version; return `path`.

        Raise `NotFound` with the nearest name if the version has no such file.
        """
        cached = environment_folder(self._cache_dir, version.tree)
        if not is_intact(cached, version.tree):
            download_file(self._connect(version.source), version.pinned, path, folder / path)
        elif path in (known := list_files(cached)):
            copy_files(cached, [path], folder)
        else:
            raise no_such_file(version.pinned, path, known)
        return path

    def _placed(self, lock: Lock, ref: EnvRef, *, pylock: Path | None = None) -> Placed:
        version, *others = lock.closure(ref)
        foundation = Foundation(self._modules(others), pylock)
        return Placed(version, self.fetch(version), foundation)

    def _modules(self, versions: Sequence[LockedEnvironment]) -> dict[str, Path]:
        return {version.name.module: self.fetch(version) for version in versions}

    def _compile(self, lock: Lock, version: LockedEnvironment, *, earlier: str) -> str:
        folders = [self.fetch(member) for member in lock.closure(EnvRef.parse(version.id))]
        needs = needs_of(*folders)
        if not needs.requirements:
            return ""
        pythons = ",".join(filter(None, (lock.requires_python, needs.python)))
        return compile_pylock(needs.requirements, requires_python=pythons, earlier=earlier)


class HubCandidates:
    """The versions that a hub lists; each environment is asked for once."""

    def __init__(self, hub: HubClient) -> None:
        self._hub = hub
        self._indexes: dict[str, VersionIndex] = {}
        self._channels: dict[str, Version] = {}

    def versions(self, ref: EnvRef) -> list[Candidate]:
        """Return all versions of an environment."""
        index = self.index(ref)
        shown = EnvRef.parse(index.ref)
        # One that was renamed is known by the name that it is wanted under.
        name = shown if identity(shown) == identity(ref) else ref
        return [_candidate(name.full_name, version) for version in index.versions]

    def channel(self, ref: EnvRef) -> Version:
        """Return the version that a channel points to."""
        if str(ref) not in self._channels:
            self._channels[str(ref)] = Version(self._hub.resolve(ref).version)
        return self._channels[str(ref)]

    def index(self, ref: EnvRef) -> VersionIndex:
        """Return what the hub lists of an environment."""
        key = str(identity(ref))
        if key not in self._indexes:
            self._indexes[key] = self._hub.index(ref)
        return self._indexes[key]

    def as_resolved(self, candidate: Candidate) -> ResolvedVersion:
        """Return a version as the hub would resolve it."""
        index = self.index(EnvRef.parse(candidate.ref))
        return candidate.resolved().model_copy(
            update={"deprecation": index.deprecation, "successor": index.successor}
        )


def _warnings(version: ResolvedVersion) -> Iterator[str]:
    """Yield what whoever takes this version should know."""
    if version.yanked:
        reason = f": {version.yank_reason}" if version.yank_reason else ""
        yield f"Warning: {version.ref} {version.version} was yanked{reason}."
    if version.deprecation is not None:
        instead = f" Use {version.successor} instead." if version.successor else ""
        yield f"Warning: {version.ref} is deprecated: {version.deprecation}.{instead}"


def _candidate(name: str, version: IndexedVersion) -> Candidate:
    return Candidate(
        ref=name,
        version=Version(version.version),
        tree_digest=version.tree_digest,
        archive_digest=version.archive_digest,
        size=version.size,
        requires_python=version.requires_python,
        yanked=version.yanked,
        yank_reason=version.yank_reason,
        environments=tuple(EnvRef.parse(text) for text in version.environments),
    )


def _locked(candidate: Candidate, source: str) -> LockedEnvironment:
    return LockedEnvironment(
        id=candidate.ref,
        version=str(candidate.version),
        tree=candidate.tree_digest,
        archive=candidate.archive_digest,
        size=candidate.size,
        source=source,
        dependencies=tuple(sorted(str(ref) for ref in candidate.environments)),
    )


def _asked(ref: EnvRef) -> Want:
    return Want(ref, by="the command line")


def _refuse_changed(resolved: Lock, kept: Sequence[LockedEnvironment]) -> None:
    pinned = {(version.name, version.version): version.tree for version in kept}
    for version in resolved.environment:
        before = pinned.get((version.name, version.version), version.tree)
        if before != version.tree:
            raise LockOutdated(
                f"{version.source} has {version} as {version.tree}, but {LOCK_FILE} pins {before}.",
                hint="A version never changes: is it another hub? "
                f"`freesolo update {version.id}` takes what this one has.",
            )
