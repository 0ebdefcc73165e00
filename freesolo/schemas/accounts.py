"""Organisations, projects and keys."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

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
