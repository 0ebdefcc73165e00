"""Environments as they are shown."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.domain.manifest import Manifest
from freesolo.domain.refs import Selector, SelectorKind
from freesolo.domain.selection import choose_version
from freesolo.schemas import environments as wire
from freesolo.schemas.checks import CheckSummary
from hub_server.environments import service
from hub_server.models import Channel, Environment, EnvironmentVersion, VersionContents


def summary(environment: Environment) -> wire.EnvironmentSummary:
    """Return an environment in a line; `environment.org` must be loaded."""
    return wire.EnvironmentSummary(
        ref=service.full_name(environment),
        summary=environment.summary,
        visibility=environment.visibility,
        latest_version=environment.latest_version,
        deprecation=environment.deprecation,
        successor=environment.successor,
        archived=environment.archived_at is not None,
        deleted_at=environment.deleted_at,
        updated_at=environment.updated_at,
    )


def detail(
    session: Session, environment: Environment, versions: Sequence[EnvironmentVersion]
) -> wire.EnvironmentDetail:
    """Return an environment with its history, in the order of `versions`."""
    meaning = _meaning(channels(session, environment))
    checks = _checks(session, environment)
    return wire.EnvironmentDetail(
        **summary(environment).model_dump(),
        license=environment.license,
        tags=environment.tags,
        downloads=environment.downloads,
        serial=environment.serial,
        created_at=environment.created_at,
        versions=[_line(version, meaning, checks.get(version.id)) for version in versions],
        deleted=service.deleted_versions(session, environment),
    )


def info(
    session: Session, environment: Environment, version: EnvironmentVersion
) -> wire.EnvironmentInfo:
    """Return all that is known of a version and its environment."""
    contents = session.get_one(VersionContents, version.id)
    manifest = Manifest.model_validate(contents.manifest)
    return wire.EnvironmentInfo(
        **service.pin(environment, version).model_dump(),
        state=version.state.value,
        channels=_meaning(channels(session, environment)).get(version.version, []),
        latest_version=environment.latest_version,
        visibility=environment.visibility,
        summary=manifest.summary,
        license=manifest.license,
        tags=list(manifest.tags),
        deprecated=environment.deprecation is not None,
        archived=environment.archived_at is not None,
        downloads=environment.downloads,
        unpacked_size=version.unpacked_size,
        file_count=version.file_count,
        requires_python=version.requires_python,
        dependencies=list(manifest.dependencies),
        environments=version.environments,
        secrets=list(manifest.secrets),
        network=manifest.network,
        checks=CheckSummary.model_validate(contents.checks) if contents.checks else None,
        published_at=version.published_at,
    )


def channels(session: Session, environment: Environment) -> list[wire.Channel]:
    """Return the channels of an environment, by name."""
    rows = session.scalars(
        select(Channel).where(Channel.environment_id == environment.id).order_by(Channel.name)
    ).all()
    if not any(_is_range(row) for row in rows):
        return [_channel(row, {}) for row in rows]
    standing = service.standing(session, environment)
    return [_channel(row, standing) for row in rows]


def channel(session: Session, environment: Environment, row: Channel) -> wire.Channel:
    """Return a channel with the version that it means now."""
    return _channel(row, service.standing(session, environment) if _is_range(row) else {})


def _is_range(row: Channel) -> bool:
    return Selector.parse(row.selector).kind is SelectorKind.RANGE


def _channel(row: Channel, standing: Mapping[str, str]) -> wire.Channel:
    selector = Selector.parse(row.selector)
    ranged = selector.kind is SelectorKind.RANGE
    return wire.Channel(
        name=row.name,
        selector=row.selector,
        version=choose_version(selector, standing) if ranged else row.selector,
        updated_at=row.updated_at,
    )


def _meaning(channels: Sequence[wire.Channel]) -> dict[str, list[str]]:
    """Return the names of the channels that mean each version."""
    names: dict[str, list[str]] = {}
    for each in channels:
        if each.version is not None:
            names.setdefault(each.version, []).append(each.name)
    return names


def _checks(session: Session, environment: Environment) -> dict[UUID, CheckSummary]:
    """Return what was said of each version that something was said of, without the findings."""
    said = VersionContents.checks
    columns = {
        "errors": said["errors"].as_integer(),
        "warnings": said["warnings"].as_integer(),
        "infos": said["infos"].as_integer(),
        "forced": said["forced"].as_boolean(),
    }
    query = (
        select(VersionContents.version_id, *columns.values())
        .join(EnvironmentVersion, EnvironmentVersion.id == VersionContents.version_id)
        .where(EnvironmentVersion.environment_id == environment.id)
    )
    return {
        version_id: CheckSummary.model_validate(dict(zip(columns, values, strict=True)))
        for version_id, *values in session.execute(query)
        if values[0] is not None
    }


def _line(
    version: EnvironmentVersion, meaning: Mapping[str, list[str]], checks: CheckSummary | None
) -> wire.VersionSummary:
    return wire.VersionSummary(
        version=version.version,
        state=version.state.value,
        tree_digest=version.tree_digest,
        size=version.size,
        yanked=version.yanked_at is not None,
        yank_reason=version.yank_reason,
        channels=meaning.get(version.version, []),
        checks=checks,
        published_at=version.published_at,
    )
