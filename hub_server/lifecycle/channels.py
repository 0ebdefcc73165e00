"""Channels: movable names, such as `stable`, each with its history."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.domain.refs import EnvRef, Selector, SelectorKind, check_channel
from freesolo.domain.roles import EnvironmentRole
from freesolo.errors import ChannelMoved, ChannelNotFound
from freesolo.schemas import environments as wire
from freesolo.schemas.changes import ChangeKind
from hub_server.accounts.service import Member
from hub_server.changes.service import Announcement, announce
from hub_server.environments import service as environments
from hub_server.environments import views
from hub_server.models import Channel, ChannelMove, Environment
from hub_server.models.base import JsonObject
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor


def listing(session: Session, visitor: Member | None, ref: EnvRef) -> wire.ChannelList:
    """Return the channels of an environment with what each means now, by name."""
    environment = environments.find(session, visitor, ref)
    return wire.ChannelList(channels=views.channels(session, environment))


def history(
    session: Session,
    visitor: Member | None,
    ref: EnvRef,
    name: str,
    *,
    cursor: str | None,
    limit: int,
) -> wire.ChannelHistory:
    """Return a page of a channel's moves, also those of one that was removed."""
    environment = environments.find(session, visitor, ref)
    before = None if cursor is None else _move_number(cursor)
    found = _moves(session, environment, name, before=before, limit=limit + 1)
    if not found and before is None:
        raise _not_found(environment, name)
    channel = session.get(Channel, (environment.id, name))
    page = found[:limit]
    return wire.ChannelHistory(
        channel=channel and views.channel(session, environment, channel),
        moves=[
            wire.ChannelMove(selector=move.selector, moved_by=move.moved_by, moved_at=move.moved_at)
            for move in page
        ],
        next_cursor=encode_cursor(str(page[-1].id)) if len(found) > limit else None,
    )


def move(
    session: Session,
    member: Member,
    ref: EnvRef,
    name: str,
    target: wire.ChannelTarget,
    *,
    now: datetime,
) -> wire.Channel:
    """Let a channel mean a version or a range from now on; it is made if it is new.

    Raise `ChannelMoved` if it does not stand where it is expected.
    """
    check_channel(name)
    environment = environments.find(session, member, ref, need=EnvironmentRole.WRITER, lock=True)
    channel = session.get(Channel, (environment.id, name))
    _check_expected(name, channel, target.expected)
    selector = _pinned(session, environment, Selector.parse(target.selector))
    if channel is None or channel.selector != selector:
        before = channel.selector if channel else None
        channel = channel or Channel(environment_id=environment.id, name=name)
        channel.selector = selector
        channel.updated_at = now
        session.add(channel)
        session.add(_entry(environment, name, selector, by=member, now=now))
        data: JsonObject = {"channel": name, "selector": selector, "before": before}
        change = Announcement(ChangeKind.CHANNEL_MOVED, data=data)
        announce(session, member, environment, change, now=now)
    return views.channel(session, environment, channel)


def remove(session: Session, member: Member, ref: EnvRef, name: str, *, now: datetime) -> None:
    """Remove a channel; its history stays. Raise `ChannelNotFound` if there never was one."""
    environment = environments.find(session, member, ref, need=EnvironmentRole.WRITER, lock=True)
    channel = session.get(Channel, (environment.id, name))
    if channel is None:
        if not _moves(session, environment, name, before=None, limit=1):
            raise _not_found(environment, name)
        return
    session.delete(channel)
    session.add(_entry(environment, name, None, by=member, now=now))
    data: JsonObject = {"channel": name, "before": channel.selector}
    change = Announcement(ChangeKind.CHANNEL_REMOVED, data=data)
    announce(session, member, environment, change, now=now)


def _check_expected(name: str, channel: Channel | None, expected: str | None) -> None:
    current = channel.selector if channel else ""
    if expected not in (None, current):
        raise ChannelMoved(
            f"The channel {name!r} stands at {current or 'nothing'!r}, not at {expected!r}.",
            hint="Somebody moved it; look again before you do.",
        )


def _pinned(session: Session, environment: Environment, selector: Selector) -> str:
    """Return what a channel is to hold: a range as it is, or the version that is meant now."""
    version = environments.require_chosen(session, environment, selector)
    return selector.text if selector.kind is SelectorKind.RANGE else version.version


def _entry(
    environment: Environment, name: str, selector: str | None, *, by: Member, now: datetime
) -> ChannelMove:
    return ChannelMove(
        environment_id=environment.id,
        channel=name,
        selector=selector,
        moved_by=by.actor,
        moved_at=now,
    )


def _moves(
    session: Session, environment: Environment, name: str, *, before: int | None, limit: int
) -> Sequence[ChannelMove]:
    query = select(ChannelMove).where(
        ChannelMove.environment_id == environment.id, ChannelMove.channel == name
    )
    if before is not None:
        query = query.where(ChannelMove.id < before)
    return session.scalars(query.order_by(ChannelMove.id.desc()).limit(limit)).all()


def _move_number(cursor: str) -> int:
    (number,) = decode_cursor(cursor, parts=1)
    # What no column of the database could hold was not made here either.
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise not_a_cursor(cursor)
    return int(number)


def _not_found(environment: Environment, name: str) -> ChannelNotFound:
    full_name = environments.full_name(environment)
    return ChannelNotFound(
        f"{full_name} has no channel {name!r}.",
        hint=f"`freesolo tag --list {full_name}` shows all.",
    )
