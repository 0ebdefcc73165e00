"""Deployments as their owners see them: ask for one, look, withdraw."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from freesolo.domain.catalog import BaseModelEntry, Catalog, find_model
from freesolo.domain.lifecycle import DEPLOYMENT_CURRENT, DeploymentState, next_deployment_state
from freesolo.domain.refs import AdapterRef
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import Conflict, DeploymentNotFound
from freesolo.schemas import deployments as wire
from freesolo.schemas.audit import Action
from hub_server.accounts.service import Member
from hub_server.audit import service as audit
from hub_server.db import insert_if_absent
from hub_server.identifiers import new_id
from hub_server.models import Alias, Checkpoint, Deployment, Run
from hub_server.runs import adapters
from hub_server.runs import service as runs
from hub_server.runs.adapters import Adapter


def find_adapter(session: Session, member: Member, ref: AdapterRef) -> Adapter:
    """Return the adapter that a reference means; raise `AdapterNotFound` if it was never saved."""
    return adapters.of_run(session, runs.find(session, member, ref.run_id), ref)


def deploy(
    session: Session, member: Member, adapter: Adapter, *, catalog: Catalog, now: datetime
) -> Deployment:
    """Queue the deployment of an adapter under its run's id.

    If just this revision is served, or on its way, under the alias already, that is returned.
    """
    _require_its_base(adapter.run, find_model(catalog, adapter.run.model_id))
    alias = _locked_alias(session, member, adapter.run.id)
    newest = session.scalars(
        _of_alias(member, alias.name).where(Deployment.generation == alias.issued)
    ).one_or_none()
    if (
        newest is not None
        and newest.revision == adapter.revision
        and newest.state in DEPLOYMENT_CURRENT
    ):
        return newest
    # Locked, so that retention either sees this deployment or has been here before.
    point = (adapter.run.id, adapter.step)
    adapters.require_kept(
        session.get_one(Checkpoint, point, with_for_update=True, populate_existing=True)
    )
    alias.issued += 1
    deployment = Deployment(
        id=new_id("dep"),
        org_id=member.org_id,
        alias=alias.name,
        generation=alias.issued,
        run_id=adapter.run.id,
        step=adapter.step,
        revision=adapter.revision,
        base_model=adapter.run.model_id,
        base_revision=adapter.run.model_revision,
        state=DeploymentState.QUEUED,
        created_at=now,
    )
    session.add(deployment)
    audit.record(
        session,
        member,
        Action.DEPLOYMENT_REQUESTED,
        target=alias.name,
        now=now,
        revision=adapter.revision,
    )
    return deployment


def undeploy(session: Session, member: Member, name: str, *, now: datetime) -> None:
    """Stop serving an alias, and stop what was on its way to be served under it."""
    current = session.scalars(
        _of_alias(member, name)
        .where(Deployment.state.in_(DEPLOYMENT_CURRENT))
        # The order in which an activation locks them: the new one, then the one it replaces.
        .order_by(Deployment.generation.desc())
        .with_for_update()
    ).all()
    if not current:
        raise DeploymentNotFound(
            f"Nothing is deployed as {name!r}.", hint=_nearest_alias(session, member, name)
        )
    alias = _locked_alias(session, member, name)
    alias.issued += 1
    alias.generation = alias.issued
    for deployment in current:
        deployment.state = next_deployment_state(deployment.state, DeploymentState.UNDEPLOYED)
        deployment.lease_token = deployment.lease_until = None
    audit.record(session, member, Action.DEPLOYMENT_WITHDRAWN, target=name, now=now)


def find(session: Session, member: Member, deployment_id: str) -> Deployment:
    """Return one deployment of the member's org."""
    deployment = session.scalars(
        select(Deployment).where(Deployment.org_id == member.org_id, Deployment.id == deployment_id)
    ).one_or_none()
    if deployment is None:
        raise DeploymentNotFound(
            f"There is no deployment {deployment_id!r}.", hint="`freesolo deployments` lists them."
        )
    return deployment


def list_deployments(session: Session, member: Member, *, everything: bool) -> Sequence[Deployment]:
    """Return what is live or coming, newest first; with `everything`, also what ended."""
    query = select(Deployment).where(Deployment.org_id == member.org_id)
    if not everything:
        query = query.where(Deployment.state.in_(DEPLOYMENT_CURRENT))
    return session.scalars(
        query.order_by(Deployment.created_at.desc(), Deployment.generation.desc())
    ).all()


def deployment_view(deployment: Deployment) -> wire.Deployment:
    """Return a deployment as it goes over the wire."""
    return wire.Deployment(
        id=deployment.id,
        model=deployment.alias,
        revision=deployment.revision,
        base_model=deployment.base_model,
        state=deployment.state,
        # Whatever replaces or withdraws a ready deployment changes its state in the same transaction.
        active=deployment.state is DeploymentState.READY,
        error=deployment.error,
        created_at=deployment.created_at,
        ready_at=deployment.ready_at,
    )


def _require_its_base(run: Run, model: BaseModelEntry) -> None:
    """Raise `Conflict` unless the catalog has the very weights that a run's adapters were made on."""
    if run.model_revision != model.revision:
        raise Conflict(
            f"{run.id} was trained on {model.id} {run.model_revision}; "
            f"the catalog now has {model.revision}.",
            hint="Train it again, or bring that revision back into the catalog.",
        )


def _locked_alias(session: Session, member: Member, name: str) -> Alias:
    """Return the alias, made if it is new, locked against other deploys and activations."""
    insert_if_absent(session, Alias, [{"org_id": member.org_id, "name": name}])
    return session.scalars(
        select(Alias).where(Alias.org_id == member.org_id, Alias.name == name).with_for_update()
    ).one()


def _of_alias(member: Member, name: str) -> Select[Deployment]:
    return select(Deployment).where(Deployment.org_id == member.org_id, Deployment.alias == name)


def _nearest_alias(session: Session, member: Member, name: str) -> str | None:
    live = list_deployments(session, member, everything=False)
    return did_you_mean(name, {deployment.alias for deployment in live})
