"""What becomes of an environment and its versions after they are published."""

from typing import Annotated

from fastapi import APIRouter, Depends, status

from freesolo.domain.refs import EnvRef
from freesolo.schemas import environments as wire
from hub_server.dependencies import (
    DbReader,
    DbSession,
    EnvironmentAdmin,
    EnvironmentWriter,
    Limit,
    Now,
    Settings,
    Visitor,
)
from hub_server.environments.service import canonical_version
from hub_server.lifecycle import channels, moves, service

router = APIRouter(prefix="/v1/envs/{org}/{name}", tags=["lifecycle"])


def _ref(org: str, name: str) -> EnvRef:
    return EnvRef(org, name)


def _version(version: str) -> str:
    return canonical_version(version)


Ref = Annotated[EnvRef, Depends(_ref)]
Version = Annotated[str, Depends(_version)]


@router.put("/versions/{version}/yank")
def yank_version(
    ref: Ref,
    version: Version,
    yank: wire.Yank,
    member: EnvironmentWriter,
    session: DbSession,
    now: Now,
) -> wire.ResolvedVersion:
    """Take a version back: ranges and the newest release never mean it again, its number does."""
    return service.yank(session, member, ref, version, yank.reason, now=now)


@router.delete("/versions/{version}/yank")
def unyank_version(
    ref: Ref, version: Version, member: EnvironmentWriter, session: DbSession, now: Now
) -> wire.ResolvedVersion:
    """Let ranges and the newest release mean a version again."""
    return service.unyank(session, member, ref, version, now=now)


@router.delete("/versions/{version}", status_code=status.HTTP_204_NO_CONTENT)
def delete_version(
    ref: Ref, version: Version, member: EnvironmentWriter, session: DbSession, now: Now
) -> None:
    """Remove a version for ever, and its number with it; a staged one is only discarded."""
    service.delete_version(session, member, ref, version, now=now)


@router.get("/channels")
def list_channels(ref: Ref, visitor: Visitor, session: DbReader) -> wire.ChannelList:
    """List the channels with the version that each means now."""
    return channels.listing(session, visitor, ref)


@router.get("/channels/{channel}")
def show_channel(
    ref: Ref,
    channel: str,
    visitor: Visitor,
    session: DbReader,
    cursor: str | None = None,
    limit: Limit = 50,
) -> wire.ChannelHistory:
    """Show where a channel stands and every move it made, the newest first."""
    return channels.history(session, visitor, ref, channel, cursor=cursor, limit=limit)


@router.put("/channels/{channel}")
def move_channel(
    ref: Ref,
    channel: str,
    target: wire.ChannelTarget,
    member: EnvironmentWriter,
    session: DbSession,
    now: Now,
) -> wire.Channel:
    """Move a channel to a version or a range, or make it."""
    return channels.move(session, member, ref, channel, target, now=now)


@router.delete("/channels/{channel}", status_code=status.HTTP_204_NO_CONTENT)
def remove_channel(
    ref: Ref, channel: str, member: EnvironmentWriter, session: DbSession, now: Now
) -> None:
    """Remove a channel; its history stays."""
    channels.remove(session, member, ref, channel, now=now)


@router.put("/deprecation")
def deprecate_environment(
    ref: Ref,
    deprecation: wire.Deprecation,
    member: EnvironmentAdmin,
    session: DbSession,
    now: Now,
) -> wire.EnvironmentSummary:
    """Say that the environment should not be used any more, and what to use instead."""
    return service.deprecate(session, member, ref, deprecation, now=now)


@router.delete("/deprecation")
def undeprecate_environment(
    ref: Ref, member: EnvironmentAdmin, session: DbSession, now: Now
) -> wire.EnvironmentSummary:
    """Take a deprecation back."""
    return service.undeprecate(session, member, ref, now=now)


@router.put("/archive")
def archive_environment(
    ref: Ref, member: EnvironmentAdmin, session: DbSession, now: Now
) -> wire.EnvironmentSummary:
    """Close the environment to new versions."""
    return service.archive(session, member, ref, now=now)


@router.delete("/archive")
def unarchive_environment(
    ref: Ref, member: EnvironmentAdmin, session: DbSession, now: Now
) -> wire.EnvironmentSummary:
    """Open the environment to new versions again."""
    return service.unarchive(session, member, ref, now=now)


@router.delete("")
def delete_environment(
    ref: Ref, member: EnvironmentAdmin, session: DbSession, now: Now
) -> wire.EnvironmentSummary:
    """Hide the environment from everybody; for 30 days it can be restored."""
    return service.delete_environment(session, member, ref, now=now)


@router.post("/restore")
def restore_environment(
    ref: Ref, member: EnvironmentAdmin, settings: Settings, session: DbSession, now: Now
) -> wire.EnvironmentSummary:
    """Bring a deleted environment back."""
    return service.restore(session, member, ref, settings.quota, now=now)


@router.post("/rename")
def rename_environment(
    ref: Ref, new: wire.NewName, member: EnvironmentAdmin, session: DbSession, now: Now
) -> wire.EnvironmentSummary:
    """Give the environment another name; the old one leads to it for ever."""
    return moves.rename(session, member, ref, new.name, now=now)


@router.post("/transfer")
def offer_environment(
    ref: Ref, to: wire.TransferOffer, member: EnvironmentAdmin, session: DbSession, now: Now
) -> wire.Transfer:
    """Offer the environment to another org."""
    return moves.offer(session, member, ref, to.org, now=now)


@router.post("/transfer/accept")
def accept_environment(
    ref: Ref, member: EnvironmentAdmin, settings: Settings, session: DbSession, now: Now
) -> wire.EnvironmentSummary:
    """Take over an environment that was offered to an org of yours."""
    return moves.accept(session, member, ref, settings.quota, now=now)


@router.delete("/transfer", status_code=status.HTTP_204_NO_CONTENT)
def decline_environment(ref: Ref, member: EnvironmentAdmin, session: DbSession, now: Now) -> None:
    """End an offer, from either side."""
    moves.decline(session, member, ref, now=now)
