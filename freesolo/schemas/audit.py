"""The audit: what was changed in an org, and by whom."""

from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue

from freesolo.schemas.base import Page, Wire


class Action(StrEnum):
    """What can be done in an org, besides what happens to an environment (`ChangeKind`)."""

    ORG_CREATED = "org.created"
    MEMBER_ADDED = "member.added"
    MEMBER_ROLE_CHANGED = "member.role-changed"
    MEMBER_REMOVED = "member.removed"
    PROJECT_CREATED = "project.created"
    KEY_CREATED = "key.created"
    KEY_LIMITED = "key.limited"
    KEY_REVOKED = "key.revoked"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_ENABLED = "webhook.enabled"
    WEBHOOK_REDELIVERED = "webhook.redelivered"
    SECRET_STORED = "secret.stored"  # noqa: S105 - a word, no password
    SECRET_REMOVED = "secret.removed"  # noqa: S105 - likewise
    RUN_SUBMITTED = "run.submitted"
    RUN_CANCELLED = "run.cancelled"
    MODEL_ADDED = "model.added"
    MODEL_REMOVED = "model.removed"
    DEPLOYMENT_REQUESTED = "deployment.requested"
    DEPLOYMENT_ROLLED_BACK = "deployment.rolled-back"
    DEPLOYMENT_WITHDRAWN = "deployment.withdrawn"
    EVALUATION_STORED = "evaluation.stored"
    EVALUATION_DELETED = "evaluation.deleted"


class AuditEntry(Wire):
    """One change. `actor` is a person's handle, or the name of a key of the org itself."""

    id: int
    at: datetime
    actor: str
    key_prefix: str
    action: str
    target: str
    data: dict[str, JsonValue]
    request_id: str | None = None


class AuditPage(Page):
    """The answer of `GET /v1/audit`, the newest first; `next_cursor` is None on the last page."""

    events: list[AuditEntry]
