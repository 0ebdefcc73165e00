"""The version that comes after another one (PEP 440)."""

from enum import StrEnum

from packaging.version import Version


class Bump(StrEnum):
    """Which part of a version to raise."""

    MAJOR = "major"
    MINOR = "minor"
    PATCH = "patch"
    RC = "rc"
    POST = "post"


def next_version(newest: str, bump: Bump) -> str:
    """Return the version that follows `newest`.

    A pre-release is first finished: after 2.0.0rc1, a patch, a minor and a major are all 2.0.0.
    The candidate of a release is that of its next patch.
    """
    version = Version(newest)
    match bump:
        case Bump.RC:
            return _candidate(version)
        case Bump.POST:
            post = 1 if version.post is None else version.post + 1
            return f"{_without_local(version)}.post{post}"
        case _:
            return _release(version, bump)


def _release(version: Version, bump: Bump) -> str:
    major, minor, patch = version.major, version.minor, version.micro
    if _precedes_release(version):
        finished = {Bump.PATCH: True, Bump.MINOR: not patch, Bump.MAJOR: not (minor or patch)}
        if finished[bump]:
            return f"{_epoch(version)}{major}.{minor}.{patch}"
    raised = {
        Bump.MAJOR: f"{major + 1}.0.0",
        Bump.MINOR: f"{major}.{minor + 1}.0",
        Bump.PATCH: f"{major}.{minor}.{patch + 1}",
    }
    return f"{_epoch(version)}{raised[bump]}"


def _candidate(version: Version) -> str:
    kind, number = version.pre or ("", 0)
    follows = kind == "rc" and _precedes_release(version)
    return f"{_release(version, Bump.PATCH)}rc{number + 1 if follows else 1}"


def _precedes_release(version: Version) -> bool:
    """Say whether a release of the same three numbers is newer than this version."""
    return version.is_prerelease and version.post is None and not any(version.release[3:])


def _without_local(version: Version) -> str:
    pre = "".join(str(part) for part in version.pre or ())
    return f"{_epoch(version)}{'.'.join(map(str, version.release))}{pre}"


def _epoch(version: Version) -> str:
    return f"{version.epoch}!" if version.epoch else ""
