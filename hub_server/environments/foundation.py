"""What an environment's version builds on, chosen by the same rules as on a consumer's machine."""

from packaging.version import Version
from sqlalchemy.orm import Session

from freesolo.domain.refs import EnvRef
from freesolo.errors import RequirementsConflict
from freesolo.package.resolution import Candidate, Want, identity, resolve
from freesolo.schemas.environments import PinnedEnvironment
from hub_server.accounts.service import Member
from hub_server.environments import service
from hub_server.models import Environment, EnvironmentVersion


def pin_with_foundation(
    session: Session, member: Member, environment: Environment, version: EnvironmentVersion
) -> PinnedEnvironment:
    """Bind a version, and all that it builds on, to exact versions.

    What the member may not read does not exist. Raise `RequirementsConflict` if no versions fit
    together, or if something that it builds on builds on it.
    """
    pinned = service.pin(environment, version)
    by = f"{pinned.ref} {pinned.version}"
    wanted = [Want(EnvRef.parse(text), by=by) for text in version.environments]
    chosen = resolve(wanted, _Published(session, member)) if wanted else []
    if identity(EnvRef.parse(pinned.ref)) in [identity(EnvRef.parse(one.ref)) for one in chosen]:
        raise RequirementsConflict(
            f"{by} builds on environments that build on {pinned.ref} again.",
            hint="One of them has to stop building on the next.",
        )
    return PinnedEnvironment(
        **pinned.model_dump(), builds_on=tuple(one.resolved() for one in chosen)
    )


class _Published:
    """The versions that a member may read; each environment is looked up once."""

    def __init__(self, session: Session, member: Member) -> None:
        self._session = session
        self._member = member
        self._known: dict[str, list[Candidate]] = {}

    def versions(self, ref: EnvRef) -> list[Candidate]:
        """Return all versions of an environment."""
        if ref.full_name not in self._known:
            environment = service.find(self._session, self._member, ref)
            versions = service.published_versions(self._session, environment)
            self._known[ref.full_name] = [_candidate(ref, version) for version in versions]
        return self._known[ref.full_name]

    def channel(self, ref: EnvRef) -> Version:
        """Return the version that a channel points to."""
        return Version(service.resolve(self._session, self._member, ref)[1].version)


def _candidate(ref: EnvRef, version: EnvironmentVersion) -> Candidate:
    return Candidate(
        ref=ref.full_name,
        version=Version(version.version),
        tree_digest=version.tree_digest,
        archive_digest=version.archive_digest,
        size=version.size,
        requires_python=version.requires_python,
        yanked=version.yanked_at is not None,
        yank_reason=version.yank_reason,
        environments=tuple(EnvRef.parse(text) for text in version.environments),
    )
