"""Which version a selector means, among those that an environment has."""

from collections.abc import Iterable, Mapping

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from freesolo.domain.refs import Selector, SelectorKind


def newest_first(versions: Iterable[str]) -> list[str]:
    """Order PEP 440 versions from the newest to the oldest."""
    return sorted(versions, key=Version, reverse=True)


def choose_version(selector: Selector, tree_digests: Mapping[str, str]) -> str | None:
    """Return the version that `selector` means, or None if it means none of them.

    `tree_digests` maps each published version to its tree digest. Pre-releases are chosen only
    when they are asked for: exactly, by digest, or by a range that names one.
    """
    versions = newest_first(tree_digests)
    if selector.kind is SelectorKind.EXACT:
        chosen = [version for version in versions if Version(version) == Version(selector.text)]
    elif selector.kind is SelectorKind.DIGEST:
        chosen = [version for version in versions if tree_digests[version] == selector.text]
    elif selector.kind is SelectorKind.RANGE:
        accepted = SpecifierSet(selector.text)
        asked = bool(accepted.prereleases)
        chosen = [version for version in versions if accepted.contains(version, prereleases=asked)]
    elif selector.kind is SelectorKind.LATEST:
        chosen = [version for version in versions if not Version(version).is_prerelease]
    else:
        chosen = []
    return chosen[0] if chosen else None


def is_newer(candidate: str, current: str) -> bool:
    """Say whether `candidate` is chosen before `current` ('' for none): a release comes first."""
    if not current:
        return True
    new, old = Version(candidate), Version(current)
    return (not new.is_prerelease, new) > (not old.is_prerelease, old)
