"""Projects: labels that group the runs and environments of an org."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.domain.refs import check_name
from freesolo.schemas.audit import Action
from hub_server.accounts.service import Member, claim_project
from hub_server.audit import service as audit
from hub_server.models import Project


def list_projects(session: Session, member: Member) -> Sequence[Project]:
    """Return the projects of the member's org, by name."""
    return session.scalars(
        select(Project).where(Project.org_id == member.org_id).order_by(Project.slug)
    ).all()


def create(session: Session, member: Member, slug: str, *, now: datetime) -> Project:
    """Return the org's project with this slug, made if it is new."""
    project, created = claim_project(session, member.org_id, check_name(slug, "project"), now=now)
    if created:
        audit.record(session, member, Action.PROJECT_CREATED, target=slug, now=now)
    return project
