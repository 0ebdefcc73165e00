"""Aliases, and the deployments behind them: what a name means now, and who may move it."""

from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, select
from sqlalchemy.orm import Session

from freesolo.domain.lifecycle import DeploymentState
from freesolo.domain.refs import AdapterRef
from hub_server.models import Alias, Deployment, Run


def locked(session: Session, org_id: UUID, name: str) -> Alias | None:
    """Return an alias, locked, if there is one.

    Whoever asks for, withdraws or advances a deployment locks its alias first, and rows of
    deployments after it: so each finds what the others left, and none waits for the other in a ring.
    """
    return session.scalars(
        select(Alias).where(Alias.org_id == org_id, Alias.name == name).with_for_update()
    ).one_or_none()


def is_active() -> ColumnElement[bool]:
    """Select the deployments that their alias points to."""
    return and_(
        Deployment.state == DeploymentState.READY,
        exists().where(
            Alias.org_id == Deployment.org_id,
            Alias.name == Deployment.alias,
            Alias.generation == Deployment.generation,
        ),
    )


def is_of(ref: AdapterRef) -> ColumnElement[bool]:
    """Select the deployments of one adapter, or of all adapters of a run if just that is named.

    The result of a run has two names, `@final` and `@step-N`: either finds it, deployed as the other.
    """
    of_run = Deployment.alias == ref.run_id
    if ref.step is None and ref.revision is None:
        return of_run
    result = select(Run.final_step).where(Run.id == ref.run_id).scalar_subquery()
    step = Deployment.step == (result if ref.step is None else ref.step)
    return and_(of_run, step, Deployment.revision.endswith(ref.content))
