"""Who is asking: keys, the people and orgs behind them, and requests that may be repeated."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from pydantic import BaseModel
from sqlalchemy import select, true, update
from sqlalchemy.orm import Session, joinedload

from freesolo.domain.names import confusable_key
from freesolo.domain.rates import UNLIMITED, KeyLimits
from freesolo.domain.refs import check_name, normalized_name
from freesolo.domain.roles import Role, includes, lesser
from freesolo.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    InvalidRef,
    ProjectNotFound,
    Unauthorized,
    UserNotFound,
)
from freesolo.schemas.accounts import Scope
from hub_server.db import insert_if_absent
from hub_server.identifiers import new_secret
from hub_server.models import ApiKey, Membership, Org, Project, RequestRecord, User

KEY_PREFIX = "fslo_"
DEFAULT_PROJECT = "default"
# How much of a key is kept in the clear, for people to tell it by: 24 of its 238 random bits.
_SHOWN = len(KEY_PREFIX) + 4


@dataclass(frozen=True)
class Principal:
    """Who makes a request: a key and what it may do."""

    key_id: UUID
    key_name: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` if the key lacks `scope`."""
        if scope not in self.scopes:
            raise Forbidden(
                f"The key {self.key_name!r} lacks the scope {scope.value!r}.",
                hint="Ask for a key with this scope.",
            )


@dataclass(frozen=True)
class Member(Principal):
    """A principal that acts in an org, in a role. `user` is the handle of a person's key.

    `roles` holds every org that the key may act in; `patterns` confine it to some environments.
    A key that is `all_orgs` acts wherever its person is a member, as `most` at most, and has what
    other orgs granted to them; `unchosen` are its orgs if it has several and none was named.
    """

    org_id: UUID
    org: str
    role: Role
    roles: Mapping[UUID, Role]
    user_id: UUID | None = None
    user: str | None = None
    patterns: tuple[str, ...] = ()
    limits: KeyLimits = UNLIMITED
    all_orgs: bool = False
    most: Role = Role.OWNER
    expires_at: datetime | None = None
    unchosen: tuple[str, ...] = ()

    @property
    def actor(self) -> str:
        """What the audit calls whoever did something: the person, else the key."""
        return self.user or f"key {self.key_name}"

    @property
    def orgs_meant(self) -> Collection[UUID]:
        """The orgs that are meant where none has to be named: the one it acts in, or all."""
        return self.roles if self.unchosen else (self.org_id,)

    def require_choice(self) -> None:
        """Raise `InvalidInput` if it is open which of the key's orgs is meant."""
        if self.unchosen:
            raise InvalidInput(
                f"The key {self.key_name!r} belongs to several orgs: {', '.join(self.unchosen)}.",
                hint="Name one with `freesolo --org`, FREESOLO_ORG or the header Freesolo-Org.",
            )

    def require_unconfined(self, why: str) -> None:
        """Raise `Forbidden`, with the reason, if the key is for some environments only."""
        if self.patterns:
            raise Forbidden(
                f"The key {self.key_name!r} is confined to {', '.join(self.patterns)}; {why}.",
                hint="Use a key that is not confined.",
            )

    def require_role(self, needed: Role) -> None:
        """Raise `Forbidden` unless the role in the org is at least `needed`."""
        if not includes(self.role, needed):
            raise Forbidden(
                f"{self.actor!r} is {self.role.value} of {self.org!r}; this takes {needed.value}.",
                hint=f"An owner of {self.org} can change the role.",
            )


@dataclass(frozen=True)
class KeyPlan:
    """A key to be made. Without an org and a user it is for one of the platform's own processes.

    `role` is that of an org's own key, and the most that a person's key may be. `patterns` such as
    `acme/*` confine it to some environments.
    """

    name: str
    scopes: tuple[Scope, ...]
    role: Role | None = None
    patterns: tuple[str, ...] = ()
    limits: KeyLimits = UNLIMITED
    expires_at: datetime | None = None


@dataclass(frozen=True)
class NewKey:
    """A key that was just made. `secret` is shown now or never."""

    id: UUID
    secret: str
    name: str
    scopes: tuple[Scope, ...]
    org: str | None


def hash_key(secret: str) -> str:
    """Return the form in which a key is stored and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_key(
    session: Session, key_hash: str, *, now: datetime, org: str | None = None
) -> Principal:
    """Return whom a key speaks for, in the org that is named if the key has several.

    Raise `Unauthorized` if the key is unknown, revoked or out of date.
    """
    key = session.scalars(
        select(ApiKey)
        .where(ApiKey.key_hash == key_hash)
        .options(joinedload(ApiKey.org), joinedload(ApiKey.user))
    ).one_or_none()
    if key is None:
        raise Unauthorized("The hub does not know this key.")
    if key.revoked_at is not None:
        raise Unauthorized(f"The key {key.name!r} was revoked.")
    if key.expires_at is not None and key.expires_at <= now:
        raise Unauthorized(
            f"The key {key.name!r} expired at {key.expires_at:%Y-%m-%d %H:%M} UTC.",
            hint="Make a new one: `freesolo keys create`.",
        )
    scopes = frozenset(Scope(scope) for scope in key.scopes)
    if key.org is None and key.user is None:
        return Principal(key.id, key.name, scopes)
    orgs = _orgs_of(session, key)
    acting = _acting(key, [each for each, _ in orgs], org)
    roles = {each.id: role for each, role in orgs}
    several = sorted(each.slug for each, _ in orgs) if org is None and len(orgs) > 1 else ()
    return Member(
        key.id,
        key.name,
        scopes,
        org_id=acting.id,
        org=acting.slug,
        role=roles[acting.id],
        roles=roles,
        user_id=key.user_id,
        user=key.user.handle if key.user else None,
        patterns=tuple(key.patterns),
        limits=key.limits,
        all_orgs=key.org_id is None,
        most=key.role or Role.OWNER,
        expires_at=key.expires_at,
        unchosen=tuple(several),
    )


def _acting(key: ApiKey, orgs: Sequence[Org], name: str | None) -> Org:
    """Return the org that is named, else the first that the key's owner belongs to."""
    if not orgs:
        raise Unauthorized(f"Whoever the key {key.name!r} was made for belongs to no org any more.")
    if name is None:
        return orgs[0]
    wanted = normalized_name(name)
    for each in orgs:
        if each.name_key == wanted:
            return each
    raise Forbidden(
        f"The key {key.name!r} does not belong to the org {name!r}.",
        hint=f"It belongs to {', '.join(each.slug for each in orgs)}.",
    )


def _orgs_of(session: Session, key: ApiKey) -> list[tuple[Org, Role]]:
    if key.user_id is None:
        return [(key.org, key.role or Role.READER)] if key.org else []
    memberships = session.scalars(
        select(Membership)
        .where(Membership.user_id == key.user_id)
        .where(Membership.org_id == key.org_id if key.org_id else true())
        .options(joinedload(Membership.org))
        .order_by(Membership.created_at, Membership.org_id)
    )
    return [(each.org, lesser(each.role, key.role or Role.OWNER)) for each in memberships]


class KeyUses:
    """When keys were last used, in memory until it is written: noting it never waits nor fails."""

    def __init__(self) -> None:
        self._latest: dict[UUID, datetime] = {}

    def note(self, principal: Principal, *, now: datetime) -> None:
        """Remember that a key was used now."""
        self._latest[principal.key_id] = now

    def write(self, session: Session) -> None:
        """Write down what was noted since the last time; what cannot be written is forgotten."""
        # A copy: requests go on noting meanwhile.
        for key_id in list(self._latest):
            last_used_at = self._latest.pop(key_id)
            session.execute(
                update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=last_used_at)
            )


def create_key(
    session: Session, org: Org | None, plan: KeyPlan, *, now: datetime, user: User | None = None
) -> NewKey:
    """Make a key: of a person, of an org, or for one of the platform's own processes."""
    secret = KEY_PREFIX + new_secret()
    key = ApiKey(
        id=uuid4(),
        org_id=org and org.id,
        user_id=user and user.id,
        role=plan.role,
        name=plan.name,
        prefix=secret[:_SHOWN],
        key_hash=hash_key(secret),
        scopes=[scope.value for scope in plan.scopes],
        patterns=list(plan.patterns),
        **plan.limits.model_dump(),
        created_at=now,
        expires_at=plan.expires_at,
    )
    session.add(key)
    return NewKey(key.id, secret, plan.name, plan.scopes, org.slug if org else None)


def ensure_org(session: Session, slug: str, *, now: datetime) -> Org:
    """Return the org with this slug, made with its default project if it is new."""
    org, _ = claim_org(session, slug, now=now)
    return org


def claim_org(session: Session, slug: str, *, now: datetime) -> tuple[Org, bool]:
    """Return the org with this slug, and whether it was made just now, with its default project."""
    name_key = normalized_name(check_name(slug, "org"))
    row = {
        "id": uuid4(),
        "slug": slug,
        "name_key": name_key,
        "confusable_key": confusable_key(slug),
        "created_at": now,
    }
    insert_if_absent(session, Org, [row])
    org = session.scalars(select(Org).where(Org.name_key == name_key)).one_or_none()
    if org is None:
        raise InvalidRef(
            f"{slug!r} looks too much like the name of another org.", hint="Choose another name."
        )
    claim_project(session, org.id, DEFAULT_PROJECT, now=now)
    return org, org.id == row["id"]


def claim_project(
    session: Session, org_id: UUID, slug: str, *, now: datetime
) -> tuple[Project, bool]:
    """Return the org's project with this slug, and whether it was made just now."""
    row = {"id": uuid4(), "org_id": org_id, "slug": slug, "created_at": now}
    insert_if_absent(session, Project, [row])
    project = session.scalars(
        select(Project).where(Project.org_id == org_id, Project.slug == slug)
    ).one()
    return project, project.id == row["id"]


def ensure_user(session: Session, handle: str, *, now: datetime) -> User:
    """Return the person with this handle, made if they are new."""
    name_key = normalized_name(check_name(handle, "account"))
    row = {"id": uuid4(), "handle": handle, "name_key": name_key, "created_at": now}
    insert_if_absent(session, User, [row])
    return session.scalars(select(User).where(User.name_key == name_key)).one()


def find_user(session: Session, handle: str) -> User:
    """Return the person with this handle; raise `UserNotFound` if there is none."""
    user = session.scalars(
        select(User).where(User.name_key == normalized_name(handle))
    ).one_or_none()
    if user is None:
        raise UserNotFound(
            f"Nobody has the handle {handle!r}.", hint="`freesolo members add` makes it known."
        )
    return user


def find_project(session: Session, member: Member, project_id: UUID | None) -> Project:
    """Return a project of the member's org, the default one if `project_id` is None."""
    chosen = Project.slug == DEFAULT_PROJECT if project_id is None else Project.id == project_id
    project = session.scalars(
        select(Project).where(Project.org_id == member.org_id, chosen)
    ).one_or_none()
    if project is None:
        raise ProjectNotFound(
            f"{member.org!r} has no project {project_id}.",
            hint="Leave `project` out for the default one; `freesolo projects list` shows all.",
        )
    return project


@dataclass(frozen=True)
class Repeatable:
    """A request that its sender may repeat: the `Idempotency-Key`, and a hash of what was asked."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, key: str | None, operation: str, body: BaseModel) -> "Repeatable | None":
        """Describe a request, or return None if it carries no key."""
        if key is None:
            return None
        if not 1 <= len(key) <= 200:
            raise InvalidInput("An Idempotency-Key has 1 to 200 characters.")
        asked = json.dumps([operation, body.model_dump(mode="json")], sort_keys=True)
        return cls(key, hashlib.sha256(asked.encode()).hexdigest())


def once(
    session: Session,
    member: Member,
    request: Repeatable | None,
    *,
    now: datetime,
    create: Callable[[], str],
) -> str:
    """Return the id of what a request makes.

    `create` runs only the first time. The same key with another request is a `Conflict`. Rivals
    with the same key wait for each other on the record's row.
    """
    if request is None:
        return create()
    record = _record(session, member, request, now=now)
    if record.fingerprint != request.fingerprint:
        raise Conflict(
            f"The Idempotency-Key {request.key!r} was used for another request.",
            hint="Use a new key for each request, and the same one only to repeat it.",
        )
    if record.result is None:
        record.result = create()
    return record.result


def _record(
    session: Session, member: Member, request: Repeatable, *, now: datetime
) -> RequestRecord:
    row = {
        "org_id": member.org_id,
        "key": request.key,
        "fingerprint": request.fingerprint,
        "created_at": now,
    }
    insert_if_absent(session, RequestRecord, [row])
    return session.scalars(
        select(RequestRecord)
        .where(RequestRecord.org_id == member.org_id, RequestRecord.key == request.key)
        .with_for_update()
    ).one()
