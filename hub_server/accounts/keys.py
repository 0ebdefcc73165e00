"""Keys that members make, see and revoke. None can do more than the one that made it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, false, or_, select
from sqlalchemy.orm import Session, joinedload

from freesolo.domain.rates import KeyLimits
from freesolo.domain.roles import Role, check_patterns, includes, lesser, patterns_within
from freesolo.errors import Forbidden, InvalidInput, KeyNotFound
from freesolo.schemas import accounts as wire
from freesolo.schemas.audit import Action
from hub_server.accounts import members
from hub_server.accounts.service import KeyPlan, Member, create_key
from hub_server.audit import service as audit
from hub_server.models import ApiKey, Membership, Org, User

_MAX_NAME = 100


@dataclass(frozen=True)
class OwnedKey:
    """A key with the most that it may be in the org now; None if its person has left."""

    key: ApiKey
    role: Role | None

    def view(self) -> wire.Key:
        """Return the key as it goes over the wire."""
        return wire.Key(
            id=self.key.id,
            name=self.key.name,
            prefix=self.key.prefix,
            user=self.key.user.handle if self.key.user else None,
            all_orgs=self.key.org_id is None,
            role=self.role,
            scopes=[wire.Scope(scope) for scope in self.key.scopes],
            patterns=self.key.patterns,
            limits=self.key.limits,
            created_at=self.key.created_at,
            expires_at=self.key.expires_at,
            last_used_at=self.key.last_used_at,
            revoked_at=self.key.revoked_at,
        )


def create(
    session: Session, by: Member, new: wire.NewKey, *, now: datetime
) -> tuple[OwnedKey, str]:
    """Make a key and return it with its secret."""
    user = _holder(session, by, new)
    plan = KeyPlan(
        name=_name(new),
        scopes=_scopes(by, new),
        role=_role(by, new, user),
        patterns=_patterns(by, new),
        limits=_limits(by, new.limits.or_else(by.limits)),
        expires_at=_expiry(by, new, now=now),
    )
    org = None if new.all_orgs else session.get_one(Org, by.org_id)
    made = create_key(session, org, plan, now=now, user=user)
    session.flush()
    owned = find(session, by, made.id)
    told = owned.view().model_dump(
        mode="json", include={"name", "user", "role", "scopes", "patterns", "limits"}
    )
    audit.record(session, by, Action.KEY_CREATED, target=owned.key.prefix, now=now, **told)
    return owned, made.secret


def list_keys(session: Session, by: Member, *, everything: bool) -> list[OwnedKey]:
    """Return the keys that a member may see, the newest first; with `everything`, revoked ones too.

    Admins see those of the org; others their own.
    """
    query = select(ApiKey).where(_seen_by(by))
    if not everything:
        query = query.where(ApiKey.revoked_at.is_(None))
    return _owned(session, by, query.order_by(ApiKey.created_at.desc(), ApiKey.id))


def find(session: Session, by: Member, key_id: UUID) -> OwnedKey:
    """Return one of the keys that a member may see."""
    found = _owned(session, by, select(ApiKey).where(_seen_by(by), ApiKey.id == key_id))
    if not found:
        raise KeyNotFound(
            f"{by.org} has no key {str(key_id)!r}.", hint="`freesolo keys list` shows its keys."
        )
    return found[0]


def revoke(session: Session, by: Member, key_id: UUID, *, now: datetime) -> None:
    """Make a key useless from now on. Once is enough: a repetition changes nothing."""
    key = _controlled(session, by, key_id, "revoke").key
    session.refresh(key, ["revoked_at"], with_for_update=True)
    if key.revoked_at is None:
        key.revoked_at = now
        audit.record(session, by, Action.KEY_REVOKED, target=key.prefix, now=now, name=key.name)


def limit(
    session: Session, by: Member, key_id: UUID, limits: KeyLimits, *, now: datetime
) -> OwnedKey:
    """Let a key ask for so much a minute from now on, as far as the hub allows it."""
    owned = _controlled(session, by, key_id, "limit")
    told = _limits(by, limits).model_dump()
    owned.key.requests_per_minute = limits.requests_per_minute
    owned.key.tokens_per_minute = limits.tokens_per_minute
    audit.record(session, by, Action.KEY_LIMITED, target=owned.key.prefix, now=now, **told)
    return owned


def _controlled(session: Session, by: Member, key_id: UUID, deed: str) -> OwnedKey:
    """Return a key that a member may do something to: none that may do more than they."""
    owned = find(session, by, key_id)
    if owned.role is not None and not includes(by.role, owned.role):
        raise Forbidden(
            f"{by.actor!r} is {by.role.value} of {by.org!r} and cannot {deed} a key that is "
            f"{owned.role.value}.",
            hint=f"An owner of {by.org} can do it.",
        )
    key = owned.key
    if key.id != by.key_id and not patterns_within(key.patterns, by.patterns):
        raise Forbidden(
            f"The key {by.key_name!r} is confined to {', '.join(by.patterns)} and cannot {deed} one "
            f"for {', '.join(key.patterns) or 'all environments'}.",
            hint="Use a key that is not confined.",
        )
    return owned


def _limits(by: Member, limits: KeyLimits) -> KeyLimits:
    if limits.exceed(by.limits):
        raise Forbidden(
            f"The key {by.key_name!r} is limited itself and cannot let another ask for more a minute.",
            hint="Use a key without limits.",
        )
    return limits


def _holder(session: Session, by: Member, new: wire.NewKey) -> User | None:
    """Return the person that the key will be for; None if it will be the org's own."""
    if new.service or (new.user is None and by.user_id is None):
        if new.user is not None:
            raise InvalidInput(f"A key is either the org's own or for {new.user}, not both.")
        by.require_role(Role.ADMIN)
        return None
    if new.user is None:
        return session.get_one(User, by.user_id)
    user = members.find(session, by, new.user).user
    if user.id != by.user_id:
        by.require_role(Role.ADMIN)
    return user


def _name(new: wire.NewKey) -> str:
    if not (1 <= len(new.name) <= _MAX_NAME and new.name.isprintable()):
        raise InvalidInput(
            f"{new.name[:_MAX_NAME]!r} is no name for a key.",
            hint=f"Use 1 to {_MAX_NAME} characters on one line.",
        )
    return new.name


def _role(by: Member, new: wire.NewKey, user: User | None) -> Role:
    """Return the most that the key may be."""
    if new.all_orgs and not (by.all_orgs and user and user.id == by.user_id):
        raise Forbidden(
            f"The key {by.key_name!r} cannot make one for all of somebody's orgs.",
            hint="Only a person's own key for all their orgs can.",
        )
    most = by.most if new.all_orgs else by.role
    role = new.role or most
    if not includes(most, role):
        raise Forbidden(
            f"The key {by.key_name!r} is {most.value} and cannot make one that is {role.value}."
        )
    return role


def _scopes(by: Member, new: wire.NewKey) -> tuple[wire.Scope, ...]:
    wanted = by.scopes if new.scopes is None else frozenset(new.scopes)
    for scope in sorted(wanted - by.scopes):
        raise Forbidden(
            f"The key {by.key_name!r} lacks the scope {scope.value!r} and cannot give it.",
            hint=f"It can give {', '.join(sorted(by.scopes))}.",
        )
    return tuple(scope for scope in wire.Scope if scope in wanted)


def _patterns(by: Member, new: wire.NewKey) -> tuple[str, ...]:
    wanted = by.patterns if new.patterns is None else check_patterns(new.patterns)
    if not patterns_within(wanted, by.patterns):
        raise Forbidden(
            f"The key {by.key_name!r} is confined to {', '.join(by.patterns)} and cannot make one "
            f"for {', '.join(wanted) or 'all environments'}."
        )
    return wanted


def _expiry(by: Member, new: wire.NewKey, *, now: datetime) -> datetime | None:
    expires_at = new.expires_at or by.expires_at
    if expires_at is not None and expires_at <= now:
        raise InvalidInput(f"A key cannot expire at {expires_at}, which has passed.")
    if by.expires_at is not None and expires_at is not None and expires_at > by.expires_at:
        raise Forbidden(
            f"The key {by.key_name!r} expires at {by.expires_at:%Y-%m-%d %H:%M} UTC and cannot make "
            "one that lives longer."
        )
    return expires_at


def _seen_by(by: Member) -> ColumnElement[bool]:
    """Return the condition for the keys that a member may see: never those of another org."""
    here = ApiKey.org_id == by.org_id
    if by.user_id is None:
        own = ApiKey.id == by.key_id
    else:
        everywhere = ApiKey.org_id.is_(None) if by.all_orgs else false()
        own = and_(ApiKey.user_id == by.user_id, or_(here, everywhere))
    return or_(own, here) if includes(by.role, Role.ADMIN) else own


def _owned(session: Session, by: Member, query: Select[ApiKey]) -> list[OwnedKey]:
    keys = session.scalars(query.options(joinedload(ApiKey.user))).all()
    memberships = select(Membership.user_id, Membership.role).where(
        Membership.org_id == by.org_id,
        Membership.user_id.in_({key.user_id for key in keys if key.user_id}),
    )
    roles = {member.user_id: member.role for member in session.execute(memberships)}
    return [OwnedKey(key, _most(key, roles)) for key in keys]


def _most(key: ApiKey, roles: Mapping[UUID, Role]) -> Role | None:
    if key.user_id is None:
        return key.role
    role = roles.get(key.user_id)
    return role and lesser(role, key.role or Role.OWNER)
