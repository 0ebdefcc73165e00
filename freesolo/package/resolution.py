"""Which versions of environments fit together: the rules, over whatever lists the versions.

Each environment gets one version that fits everybody who wants it. What is locked stays if it
fits, else the newest is taken; a pre-release only if somebody asks for one, a yanked version only
if it is locked or asked for exactly.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from packaging.specifiers import SpecifierSet
from packaging.version import Version
from resolvelib import (
    AbstractProvider,
    BaseReporter,
    ResolutionImpossible,
    ResolutionTooDeep,
    Resolver,
)
from resolvelib.structs import RequirementInformation

from freesolo.domain.distributions import Distribution
from freesolo.domain.fields import range_text
from freesolo.domain.pythons import oldest_python
from freesolo.domain.refs import EnvRef, Selector, SelectorKind
from freesolo.errors import EnvironmentNotFound, RequirementsConflict, VersionNotFound
from freesolo.schemas.environments import ResolvedVersion

_SHOWN_VERSIONS = 8
# One for each environment, and one for each that is tried in vain: what needs more is a trap.
_MAX_STEPS = 2_000


@dataclass(frozen=True)
class Candidate:
    """One published version of an environment; `ref` is `org/name`."""

    ref: str
    version: Version
    tree_digest: str
    archive_digest: str
    size: int
    requires_python: str = ""
    yanked: bool = False
    yank_reason: str | None = None
    environments: tuple[EnvRef, ...] = ()

    def resolved(self) -> ResolvedVersion:
        """Return the version as what was chosen."""
        return ResolvedVersion(
            ref=self.ref,
            version=str(self.version),
            tree_digest=self.tree_digest,
            archive_digest=self.archive_digest,
            size=self.size,
            yanked=self.yanked,
            yank_reason=self.yank_reason,
        )

    def __str__(self) -> str:
        return f"{self.ref} {self.version}"


class Candidates(Protocol):
    """Where versions are listed."""

    def versions(self, ref: EnvRef) -> Sequence[Candidate]:
        """Return all versions of an environment. Raise `EnvironmentNotFound` if there is none."""

    def channel(self, ref: EnvRef) -> Version:
        """Return the version that a channel points to. Raise `VersionNotFound` if it is none."""


@dataclass(frozen=True)
class Want:
    """An environment that somebody wants, and who: a file, or another environment's version."""

    ref: EnvRef
    by: str

    def __str__(self) -> str:
        return f"{self.by} wants {describe(self.ref)}"


def resolve(
    wanted: Sequence[Want],
    candidates: Candidates,
    *,
    python: str = "",
    keep: Collection[str] = (),
) -> list[Candidate]:
    """Return the versions that `wanted` comes to, and those they build on, by name.

    `python` is the range of Pythons that all must run on; `keep` holds the tree digests of the
    versions that are locked. Raise `RequirementsConflict` if no versions fit together, if none are
    found in a bounded search, or if they build on each other in a circle, `VersionNotFound` if one
    want alone cannot be met.
    """
    provider = _Provider(candidates, oldest_python(python), frozenset(keep))
    try:
        result = Resolver(provider, BaseReporter()).resolve(wanted, max_rounds=_MAX_STEPS)
    except ResolutionImpossible as error:
        causes = [cause.requirement for cause in error.causes]
        raise _refusal(list(dict.fromkeys(causes)), provider) from None
    except ResolutionTooDeep:
        raise RequirementsConflict(
            f"No versions that fit together were found in {_MAX_STEPS} steps.",
            hint="Narrow the ranges, so that fewer versions have to be tried.",
        ) from None
    _refuse_circles(result.mapping)
    return [result.mapping[name] for name in sorted(result.mapping, key=str)]


def identity(ref: EnvRef) -> Distribution:
    """Return what two references have in common if they name the same environment."""
    return Distribution.of(ref.org, ref.name)


def describe(ref: EnvRef) -> str:
    """Write a reference as what is wanted, such as `acme/tools>=1`."""
    if ref.selector.kind is SelectorKind.RANGE:
        return f"{ref.full_name}{range_text(SpecifierSet(ref.selector.text))}"
    return str(ref)


def find_circle(edges: Mapping[Distribution, Iterable[Distribution]]) -> list[Distribution]:
    """Return environments that build on each other, the first also last; empty if none do.

    `edges` says what each environment builds on.
    """
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        # graphlib lists each member before those that build on it.
        return list(reversed(error.args[1]))
    return []


def accepts(selector: Selector, version: Version, tree_digest: str) -> bool:
    """Say whether a selector means this version; a channel may mean any."""
    match selector.kind:
        case SelectorKind.EXACT:
            return version == Version(selector.text)
        case SelectorKind.DIGEST:
            return tree_digest == selector.text
        case SelectorKind.RANGE:
            return SpecifierSet(selector.text).contains(version, prereleases=True)
        case _:
            return True


class _Provider(AbstractProvider[Want, Candidate, Distribution]):
    """What `resolvelib` asks."""

    def __init__(
        self, candidates: Candidates, python: Version | None, keep: frozenset[str]
    ) -> None:
        self._candidates = candidates
        self._python = python
        self._keep = keep

    def identify(self, requirement_or_candidate: Want | Candidate) -> Distribution:
        if isinstance(requirement_or_candidate, Want):
            return identity(requirement_or_candidate.ref)
        return identity(EnvRef.parse(requirement_or_candidate.ref))

    def get_preference(
        self,
        identifier: Distribution,
        resolutions: Mapping[Distribution, Candidate],
        candidates: Mapping[Distribution, Iterator[Candidate]],
        information: Mapping[Distribution, Iterator[RequirementInformation[Want, Candidate]]],
        backtrack_causes: Sequence[RequirementInformation[Want, Candidate]],
    ) -> tuple[bool, str]:
        # What conflicted is settled first; the name makes the order the same everywhere.
        conflicted = any(
            self.identify(cause.requirement) == identifier for cause in backtrack_causes
        )
        return not conflicted, str(identifier)

    def find_matches(
        self,
        identifier: Distribution,
        requirements: Mapping[Distribution, Iterator[Want]],
        incompatibilities: Mapping[Distribution, Iterator[Candidate]],
    ) -> list[Candidate]:
        wants = list(requirements[identifier])
        excluded = list(incompatibilities[identifier])
        found = [
            candidate
            for candidate in self.versions(wants[0])
            if candidate not in excluded
            and all(self.is_satisfied_by(want, candidate) for want in wants)
            and self.obstacle(candidate, wants) is None
        ]
        return sorted(
            found,
            key=lambda candidate: (candidate.tree_digest in self._keep, candidate.version),
            reverse=True,
        )

    def is_satisfied_by(self, requirement: Want, candidate: Candidate) -> bool:
        ref = requirement.ref
        if ref.selector.kind is SelectorKind.CHANNEL:
            return candidate.version == self._candidates.channel(ref)
        return accepts(ref.selector, candidate.version, candidate.tree_digest)

    def get_dependencies(self, candidate: Candidate) -> Iterable[Want]:
        return [Want(ref, by=str(candidate)) for ref in candidate.environments]

    def versions(self, want: Want) -> Sequence[Candidate]:
        """Return all versions of what is wanted; if there is no such thing, say who wanted it."""
        try:
            return self._candidates.versions(want.ref)
        except EnvironmentNotFound as error:
            raise EnvironmentNotFound(
                error.message, hint=" ".join(filter(None, [f"{want}.", error.hint]))
            ) from None

    def obstacle(self, candidate: Candidate, wants: Iterable[Want]) -> str | None:
        """Say why a version that is in range is not taken, None if it may be."""
        selectors = [want.ref.selector for want in wants]
        if self._python is not None and not _runs_on(candidate, self._python):
            return f"needs Python {candidate.requires_python}"
        if candidate.tree_digest in self._keep:
            return None
        if candidate.version.is_prerelease and not any(map(_asks_for_prereleases, selectors)):
            return "is a pre-release"
        if candidate.yanked and not any(map(_is_exact, selectors)):
            return "was yanked"
        return None


def _runs_on(candidate: Candidate, python: Version) -> bool:
    return SpecifierSet(candidate.requires_python).contains(python, prereleases=True)


def _asks_for_prereleases(selector: Selector) -> bool:
    if selector.kind is SelectorKind.RANGE:
        return bool(SpecifierSet(selector.text).prereleases)
    return selector.kind is not SelectorKind.LATEST


def _is_exact(selector: Selector) -> bool:
    if selector.kind is SelectorKind.RANGE:
        return any(
            specifier.operator in ("==", "===") and not specifier.version.endswith(".*")
            for specifier in SpecifierSet(selector.text)
        )
    return selector.kind in (SelectorKind.EXACT, SelectorKind.DIGEST)


def _refusal(wants: Sequence[Want], provider: _Provider) -> RequirementsConflict | VersionNotFound:
    first, *others = wants
    versions = sorted(provider.versions(first), key=lambda one: one.version, reverse=True)
    if others:
        return RequirementsConflict(
            f"{first}, but {', and '.join(map(str, others))}.",
            hint=f"No version of {first.ref.full_name} fits all: {_listed(versions, str)}.",
        )

    def show(candidate: Candidate) -> str:
        obstacle = provider.obstacle(candidate, wants)
        return f"{candidate.version} ({obstacle})" if obstacle else str(candidate.version)

    return VersionNotFound(
        f"{first.by} wants {describe(first.ref)}, but there is no such version.",
        hint=f"It has {_listed(versions, show)}.",
    )


def _listed(candidates: Sequence[Candidate], show: Callable[[Candidate], str]) -> str:
    shown = [show(candidate) for candidate in candidates[:_SHOWN_VERSIONS]]
    more = ["..."] if len(candidates) > _SHOWN_VERSIONS else []
    return ", ".join([*shown, *more]) or "no version at all"


def _refuse_circles(chosen: Mapping[Distribution, Candidate]) -> None:
    edges = {name: map(identity, version.environments) for name, version in chosen.items()}
    if circle := find_circle(edges):
        raise RequirementsConflict(
            "Environments build on each other in a circle: "
            f"{' -> '.join(str(chosen[name]) for name in circle)}.",
            hint="One of them has to stop building on the next.",
        )
