"""Organisations, projects and keys: who is asking, and what they own."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from pydantic import BaseModel
from sqlalchemy import select, update
from sqlalchemy.orm import Session, joinedload

from freesolo.domain.refs import check_name, normalized_name
from freesolo.errors import Conflict, Forbidden, InvalidInput, ProjectNotFound, Unauthorized
from freesolo.schemas.accounts import Scope
from hub_server.db import insert_if_absent
from hub_server.identifiers import new_secret
from hub_server.models import ApiKey, Org, Project, RequestRecord

KEY_PREFIX = "fslo_"
DEFAULT_PROJECT = "default"


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
    """A principal whose key belongs to an org."""

    org_id: UUID
    org: str


@dataclass(frozen=True)
class NewKey:
    """A key that was just made. `secret` is shown now or never."""

    secret: str
    name: str
    scopes: tuple[Scope, ...]
    org: str | None


def hash_key(secret: str) -> str:
    """Return the form in which a key is stored and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_key(session: Session, key_hash: str) -> Principal:
    """Return whom a key speaks for; raise `Unauthorized` if it is unknown or revoked."""
    key = session.scalars(
        select(ApiKey).where(ApiKey.key_hash == key_hash).options(joinedload(ApiKey.org))
    ).one_or_none()
    if key is None:
        raise Unauthorized("The hub does not know this key.")
    if key.revoked_at is not None:
        raise Unauthorized(f"The key {key.name!r} was revoked.")
    scopes = frozenset(Scope(scope) for scope in key.scopes)
    if key.org is None:
        return Principal(key.id, key.name, scopes)
    return Member(key.id, key.name, scopes, org_id=key.org.id, org=key.org.slug)


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
    session: Session, org: Org | None, *, name: str, scopes: Sequence[Scope], now: datetime
) -> NewKey:
    """Make a key for an org, or for the platform's own processes if `org` is None."""
    secret = KEY_PREFIX + new_secret()
    session.add(
        ApiKey(
            org_id=org and org.id,
            name=name,
            key_hash=hash_key(secret),
            scopes=[scope.value for scope in scopes],
            created_at=now,
        )
    )
    return NewKey(secret, name, tuple(scopes), org.slug if org else None)


def ensure_org(session: Session, slug: str, *, now: datetime) -> Org:
    """Return the org with this slug, made with its default project if it is new."""
    name_key = normalized_name(check_name(slug, "org"))
    insert_if_absent(
        session, Org, [{"id": uuid4(), "slug": slug, "name_key": name_key, "created_at": now}]
    )
    org = session.scalars(select(Org).where(Org.name_key == name_key)).one()
    insert_if_absent(session, Project, [_project_row(org.id, DEFAULT_PROJECT, now)])
    return org


def list_projects(session: Session, member: Member) -> Sequence[Project]:
    """Return the projects of the member's org, by name."""
    return session.scalars(
        select(Project).where(Project.org_id == member.org_id).order_by(Project.slug)
    ).all()


def create_project(session: Session, member: Member, slug: str, *, now: datetime) -> Project:
    """Return the org's project with this slug, made if it is new."""
    check_name(slug, "project")
    insert_if_absent(session, Project, [_project_row(member.org_id, slug, now)])
    return session.scalars(
        select(Project).where(Project.org_id == member.org_id, Project.slug == slug)
    ).one()


def find_project(session: Session, member: Member, project_id: UUID | None) -> Project:
    """Return a project of the member's org, the default one if `project_id` is None."""
    chosen = Project.slug == DEFAULT_PROJECT if project_id is None else Project.id == project_id
    project = session.scalars(
        select(Project).where(Project.org_id == member.org_id, chosen)
    ).one_or_none()
    if project is None:
        raise ProjectNotFound(
            f"{member.org!r} has no project {project_id}.",
            hint="Leave `project` out for the default one; `GET /v1/projects` lists all.",
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


def _project_row(org_id: UUID, slug: str, now: datetime) -> dict[str, object]:
    return {"id": uuid4(), "org_id": org_id, "slug": slug, "created_at": now}
