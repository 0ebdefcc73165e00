"""Who may read an environment, publish to it, decide about it."""

from datetime import datetime

from freesolo.domain.roles import EnvironmentRole, Visibility
from freesolo.schemas.base import Wire


class UserGrant(Wire):
    """A role on one environment that a person was given."""

    handle: str
    role: EnvironmentRole
    since: datetime


class OrgGrant(Wire):
    """A role on one environment that everybody in another org was given."""

    org: str
    role: EnvironmentRole
    since: datetime


class Access(Wire):
    """The answer of `GET /v1/envs/{org}/{name}/access`, besides what roles in the org give."""

    ref: str
    visibility: Visibility
    users: list[UserGrant]
    orgs: list[OrgGrant]


class NewVisibility(Wire):
    """The body of `PUT /v1/envs/{org}/{name}/visibility`."""

    visibility: Visibility


class NewGrant(Wire):
    """The body of `PUT /v1/envs/{org}/{name}/access/users/{handle}`, and for orgs the same."""

    role: EnvironmentRole
