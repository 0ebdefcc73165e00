"""Organisations, people, projects and keys."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime

from freesolo.domain.rates import UNLIMITED, KeyLimits
from freesolo.domain.roles import Role
from freesolo.schemas.base import Wire

# Names the org that a key of several orgs acts in.
ORG_HEADER = "Freesolo-Org"


class Scope(StrEnum):
    """What a key may do. `worker` and `gateway` are for the platform's own processes."""

    ENVIRONMENTS_READ = "environments:read"
    ENVIRONMENTS_WRITE = "environments:write"
    ENVIRONMENTS_ADMIN = "environments:admin"
    ORG_READ = "org:read"
    ORG_ADMIN = "org:admin"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    DEPLOYMENTS_READ = "deployments:read"
    DEPLOYMENTS_WRITE = "deployments:write"
    CHAT = "chat"
    WORKER = "worker"
    GATEWAY = "gateway"


USER_SCOPES = tuple(scope for scope in Scope if scope not in (Scope.WORKER, Scope.GATEWAY))


class WhoAmI(Wire):
    """The answer of `GET /v1/whoami`: whom the key speaks for, and the gateway's address.

    `org` is the slug of the org it acts in, `user` the handle of a person's key.
    """

    org: str
    role: Role
    user: str | None = None
    key_name: str
    scopes: list[Scope]
    gateway_url: str


class Org(Wire):
    """An organisation, and what the key is in it."""

    slug: str
    role: Role
    created_at: datetime


class OrgList(Wire):
    """The answer of `GET /v1/orgs`: the orgs that the key may act in."""

    orgs: list[Org]


class NewOrg(Wire):
    """The body of `POST /v1/orgs`."""

    slug: str


class Usage(Wire):
    """How much of something an org keeps, and how much it may; None is no limit."""

    used: int
    allowed: int | None = None


class OrgDetail(Org):
    """The answer of `GET /v1/orgs/{org}`. `storage_bytes` counts what is published and staged."""

    members: int
    environments: Usage
    storage_bytes: Usage


class OrgMember(Wire):
    """What a person is in an org."""

    handle: str
    role: Role
    since: datetime


class MemberList(Wire):
    """The answer of `GET /v1/members`, by handle."""

    members: list[OrgMember]


class NewMember(Wire):
    """The body of `POST /v1/members`."""

    handle: str
    role: Role


class NewRole(Wire):
    """The body of `PUT /v1/members/{handle}`."""

    role: Role


class Key(Wire):
    """A key without its secret. `prefix` is how it begins; `role` is the most it may be in the org.

    `user` is None for a key of the org itself; `role` is None once its person has left the org.
    `all_orgs` is true for a key that acts wherever its person is a member.
    """

    id: UUID
    name: str
    prefix: str
    user: str | None = None
    all_orgs: bool = False
    role: Role | None
    scopes: list[Scope]
    patterns: list[str]
    limits: KeyLimits = UNLIMITED
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class CreatedKey(Key):
    """The answer of `POST /v1/keys`. `api_key` is shown now or never."""

    api_key: str


class KeyList(Wire):
    """The answer of `GET /v1/keys`, the newest first."""

    keys: list[Key]


class NewKey(Wire):
    """The body of `POST /v1/keys`: `name`, of 1 to 100 characters, is for people to tell it by.

    What is left out is as for the key that asks. The new key is for the person who asks, for `user`
    if one is named, or, with `service`, for the org itself.
    """

    name: str
    scopes: list[Scope] | None = None
    patterns: list[str] | None = None
    limits: KeyLimits = UNLIMITED
    role: Role | None = None
    expires_at: AwareDatetime | None = None
    user: str | None = None
    service: bool = False
    all_orgs: bool = False


class Project(Wire):
    """A label that groups the runs of an org."""

    id: UUID
    slug: str
    created_at: datetime


class ProjectList(Wire):
    """The answer of `GET /v1/projects`."""

    projects: list[Project]


class NewProject(Wire):
    """The body of `POST /v1/projects`."""

    slug: str
