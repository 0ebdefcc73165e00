"""The tables of the hub. Queries live in the slice that asks them."""

from hub_server.models.accounts import ApiKey, Org, Project, RequestRecord
from hub_server.models.base import Base
from hub_server.models.deployments import Alias, Deployment, Usage
from hub_server.models.environments import Environment, EnvironmentVersion
from hub_server.models.runs import Checkpoint, Run, RunEvent

__all__ = [
    "Alias",
    "ApiKey",
    "Base",
    "Checkpoint",
    "Deployment",
    "Environment",
    "EnvironmentVersion",
    "Org",
    "Project",
    "RequestRecord",
    "Run",
    "RunEvent",
    "Usage",
]
