"""The tables of the hub. Queries live in the slice that asks them."""

from hub_server.models.accounts import ApiKey, Membership, Org, Project, RequestRecord, User
from hub_server.models.audit import AuditEvent
from hub_server.models.base import Base
from hub_server.models.base_models import AddedModel
from hub_server.models.billing import Balance, Credit, Hold, Usage
from hub_server.models.changes import Change, DeliveryState, FeedHead, Webhook, WebhookDelivery
from hub_server.models.deployments import Alias, Deployment
from hub_server.models.environments import (
    Channel,
    ChannelMove,
    Environment,
    EnvironmentGrant,
    EnvironmentRedirect,
    EnvironmentTransfer,
    EnvironmentVersion,
    VersionContents,
    VersionDependency,
    VersionState,
    VersionUse,
)
from hub_server.models.evaluations import Evaluation, EvaluationCase
from hub_server.models.replicas import Replica
from hub_server.models.runs import Checkpoint, KnownWorker, Run, RunAttempt, RunEvent
from hub_server.models.search import SearchDocument
from hub_server.models.secrets import ProjectSecret, RunSecret
from hub_server.models.storage import Blob, Upload, UploadState

__all__ = [
    "AddedModel",
    "Alias",
    "ApiKey",
    "AuditEvent",
    "Balance",
    "Base",
    "Blob",
    "Change",
    "Channel",
    "ChannelMove",
    "Checkpoint",
    "Credit",
    "DeliveryState",
    "Deployment",
    "Environment",
    "EnvironmentGrant",
    "EnvironmentRedirect",
    "EnvironmentTransfer",
    "EnvironmentVersion",
    "Evaluation",
    "EvaluationCase",
    "FeedHead",
    "Hold",
    "KnownWorker",
    "Membership",
    "Org",
    "Project",
    "ProjectSecret",
    "Replica",
    "RequestRecord",
    "Run",
    "RunAttempt",
    "RunEvent",
    "RunSecret",
    "SearchDocument",
    "Upload",
    "UploadState",
    "Usage",
    "User",
    "VersionContents",
    "VersionDependency",
    "VersionState",
    "VersionUse",
    "Webhook",
    "WebhookDelivery",
]
