"""The gateway's side: who may ask for which model, which adapters to deploy."""

import hmac
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue
from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from freesolo.domain.catalog import BaseModelEntry, Catalog
from freesolo.domain.lifecycle import DEPLOYMENT_LEASED, DeploymentState, next_deployment_state
from freesolo.domain.refs import AdapterRef
from freesolo.domain.suggest import did_you_mean
from freesolo.domain.train_tables import StructuredOutputs
from freesolo.errors import (
    DeploymentNotFound,
    Forbidden,
    IllegalTransition,
    InvalidInput,
    InvalidRef,
    LeaseLost,
    ModelNotFound,
    Unavailable,
)
from freesolo.schemas import deployments as wire
from freesolo.schemas.accounts import Scope
from freesolo.schemas.base import Artifact
from freesolo.schemas.runs import RunError
from freesolo.schemas.usage import BillingMode
from hub_server.accounts.service import Member, check_key
from hub_server.base_models.service import catalog_of, model_of, tokens_cost
from hub_server.deployments import aliases
from hub_server.identifiers import new_secret
from hub_server.models import Alias, Checkpoint, Deployment, Org, Run
from hub_server.settings import HubSettings

logger = logging.getLogger(__name__)

# A deployment at which this many gateways fell silent would end the next one too.
MAX_ATTEMPTS = 3

# Queued again is for the hub to say, which counts the attempts; undeployed, for the owner.
_GATEWAY_STATES = DEPLOYMENT_LEASED | {DeploymentState.READY, DeploymentState.FAILED}


@dataclass(frozen=True)
class Claimed:
    """A deployment that was just leased, and its base model."""

    deployment: Deployment
    base_model: BaseModelEntry


def chatting_member(session: Session, key_hash: str, *, org: str | None, now: datetime) -> Member:
    """Return whose key this is; raise unless it belongs to an org and may chat.

    A key of several orgs need not name one: a key that works must not fail because somebody else took
    its person into their org.
    """
    principal = check_key(session, key_hash, now=now, org=org)
    principal.require(Scope.CHAT)
    if not isinstance(principal, Member):
        raise Forbidden(f"The key {principal.key_name!r} belongs to no organisation.")
    return principal


def resolve(
    session: Session,
    member: Member,
    model: str,
    *,
    catalog: Catalog,
    settings: HubSettings,
) -> wire.Target:
    """Return what a model name means to a member: a base model, or an adapter on one.

    Where no org was named, an adapter is looked for in all orgs of the key, and paid by the one it
    belongs to. A base model is that of the org that the key's person joined first.
    """
    deployment = _deployed_as(session, member, model)
    base_model = (
        _base_of(session, deployment, catalog)
        if deployment
        else model_of(session, member.org_id, model, catalog)
    )
    if base_model is None:
        raise ModelNotFound(
            f"There is no model {model!r}.",
            hint=_way_to(session, member, model, catalog)
            or "`GET /v1/models` lists what is served.",
        )
    return wire.Target(
        org=session.get_one(Org, deployment.org_id).slug if deployment else member.org,
        key_id=str(member.key_id),
        prices=tokens_cost(base_model, shared=catalog, prices=settings.prices_of_added),
        prepaid=settings.billing is BillingMode.PREPAID,
        limits=member.limits.within(settings.key_limits),
        model=model,
        base_model=base_model,
        **(adapter_facts(session, deployment) if deployment else {}),
    )


def _deployed_as(session: Session, member: Member, model: str) -> Deployment | None:
    """Return the deployment of the member's that a name means: an alias, or a full revision."""
    try:
        ref = AdapterRef.parse(model)
    except InvalidRef:
        return None
    if str(ref) != model or (ref.step is not None and ref.revision is None):
        return None
    meant = Deployment.state == DeploymentState.READY if ref.revision else aliases.is_active()
    return session.scalars(
        select(Deployment).where(
            Deployment.org_id.in_(member.orgs_meant), aliases.is_of(ref), meant
        )
    ).one_or_none()


def _way_to(session: Session, member: Member, model: str, catalog: Catalog) -> str | None:
    """Say how a name could be served, or which was meant. It tells of the member's own alone."""
    with suppress(InvalidRef):
        ref = AdapterRef.parse(model)
        run = select(Run.id).where(Run.org_id.in_(member.orgs_meant), Run.id == ref.run_id)
        if session.scalar(run):
            return _way_to_adapter(session, member, ref)
    known = [served.id for served in served_models(session, member, catalog=catalog)]
    return did_you_mean(model, known)


def _way_to_adapter(session: Session, member: Member, ref: AdapterRef) -> str:
    served = session.scalars(
        select(Deployment.revision)
        .where(
            Deployment.org_id.in_(member.orgs_meant),
            Deployment.state == DeploymentState.READY,
            aliases.is_of(ref),
        )
        .order_by(Deployment.generation.desc())
    ).first()
    return f"`{served}` is served." if served else f"`freesolo deploy {ref}` serves it."


def adapter_facts(session: Session, deployment: Deployment) -> dict[str, Any]:
    """Return what a deployed adapter is, and how it was trained to answer."""
    # As it was submitted: the rules for what may be may have changed since.
    spec = session.get_one(Run, deployment.run_id).spec
    form = _of(_of(spec, "train"), "structured_outputs")
    return {
        "revision": deployment.revision,
        "created_at": deployment.ready_at,
        "adapter": _adapter_of(session, deployment),
        "thinking": bool(_of(spec, "thinking")),
        "structured_outputs": StructuredOutputs.model_validate(form).for_vllm() if form else None,
    }


def _of(table: JsonValue, name: str) -> JsonValue:
    return table.get(name) if isinstance(table, dict) else None


def served_models(session: Session, member: Member, *, catalog: Catalog) -> list[wire.ServedModel]:
    """Return every name a member may ask for: the base models, then the adapters."""
    catalogs = {org_id: catalog_of(session, org_id, catalog) for org_id in member.orgs_meant}
    base_models = [
        wire.ServedModel(id=entry.id, base_model=entry.id, context=entry.context)
        for entry in sorted(catalogs[member.org_id].values(), key=lambda entry: entry.id)
    ]
    adapters = [
        wire.ServedModel(
            id=deployment.alias,
            base_model=deployment.base_model,
            revision=deployment.revision,
            context=catalogs[deployment.org_id][deployment.base_model].context,
            created_at=deployment.ready_at,
        )
        for deployment in session.scalars(
            select(Deployment)
            .where(Deployment.org_id.in_(member.orgs_meant), aliases.is_active())
            .order_by(Deployment.alias)
        )
        if _is_base_of(deployment, catalogs[deployment.org_id].get(deployment.base_model))
    ]
    return base_models + adapters


def _base_of(session: Session, deployment: Deployment, catalog: Catalog) -> BaseModelEntry:
    """Return the base model of a deployment.

    Raise `ModelNotFound` unless the catalog has the very weights that its adapter was made on.
    """
    model = model_of(session, deployment.org_id, deployment.base_model, catalog)
    if model is None or not _is_base_of(deployment, model):
        raise ModelNotFound(
            f"{deployment.alias!r} was made on {deployment.base_model} {deployment.base_revision}, "
            "which is not in the catalog.",
            hint="If the catalog has another revision now, train on that and deploy again.",
        )
    return model


def claim(
    session: Session, *, catalog: Catalog, now: datetime, lease_seconds: float
) -> Claimed | None:
    """Lease the deployment that has waited longest, or return None.

    Those that wait for a base model which left the catalog are failed on the way.
    """
    until = now + timedelta(seconds=lease_seconds)
    while (deployment := _take_longest_waiting(session, now=now, until=until)) is not None:
        try:
            base_model = _base_of(session, deployment, catalog)
        except ModelNotFound as error:
            deployment.error = RunError(code=error.code, message=error.message, hint=error.hint)
            _leave_gateway(deployment, DeploymentState.FAILED)
        else:
            return Claimed(deployment, base_model)
    return None


def _take_longest_waiting(session: Session, *, now: datetime, until: datetime) -> Deployment | None:
    """Lease a deployment in one statement, as for runs: those of silent gateways count as waiting."""
    waiting = and_(
        or_(Deployment.state == DeploymentState.QUEUED, _lease_expired(now)),
        Deployment.attempt < MAX_ATTEMPTS,
    )
    longest = (
        select(Deployment.id)
        .where(waiting)
        .order_by(Deployment.created_at, Deployment.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return session.scalars(
        update(Deployment)
        .where(Deployment.id == longest, waiting)
        .values(
            state=DeploymentState.LOADING,
            attempt=Deployment.attempt + 1,
            lease_token=new_secret(),
            lease_until=until,
        )
        .returning(Deployment)
        .execution_options(synchronize_session=False)
    ).one_or_none()


def _adapter_of(session: Session, deployment: Deployment) -> Artifact:
    """Return the stored adapter that a deployment serves."""
    checkpoint = session.get_one(Checkpoint, (deployment.run_id, deployment.step))
    return checkpoint.adapter


def held(session: Session, deployment_id: str, token: str) -> Deployment:
    """Return the deployment, locked behind its alias, if the lease is still the caller's."""
    deployment = session.get(Deployment, deployment_id)
    if deployment is None:
        raise DeploymentNotFound(f"There is no deployment {deployment_id!r}.")
    aliases.locked(session, deployment.org_id, deployment.alias)
    session.refresh(deployment, with_for_update=True)
    if deployment.lease_token is None or not hmac.compare_digest(
        deployment.lease_token.encode(), token.encode()
    ):
        raise LeaseLost(f"The lease on {deployment.id} is no longer this gateway's.")
    return deployment


def advance(
    session: Session,
    deployment: Deployment,
    step: wire.Advance,
    *,
    now: datetime,
    lease_seconds: float,
) -> None:
    """Move a deployment on. The same state again only renews the lease."""
    if step.state not in _GATEWAY_STATES:
        raise IllegalTransition(f"A gateway cannot make {deployment.id} {step.state.value}.")
    deployment.lease_until = now + timedelta(seconds=lease_seconds)
    if step.state is deployment.state:
        return
    deployment.state = next_deployment_state(deployment.state, step.state)
    if step.state is DeploymentState.READY:
        _serve(session, deployment, now=now)
    elif step.state is DeploymentState.FAILED:
        if step.error is None:
            raise InvalidInput("A deployment that failed needs an `error`.")
        deployment.error = step.error
    if deployment.state not in DEPLOYMENT_LEASED:
        deployment.lease_token = deployment.lease_until = None
    _log_move(deployment)


def extend_leases(session: Session, *, now: datetime, lease_seconds: float) -> None:
    """Give every gateway a lease's time to speak."""
    until = now + timedelta(seconds=lease_seconds)
    session.execute(
        update(Deployment)
        .where(Deployment.state.in_(DEPLOYMENT_LEASED), Deployment.lease_until < until)
        .values(lease_until=until)
    )


def lost_deployments(session: Session, *, now: datetime) -> Sequence[str]:
    """Return the ids of the deployments whose gateway fell silent."""
    return session.scalars(select(Deployment.id).where(_lease_expired(now))).all()


def take_back(session: Session, deployment_id: str, *, now: datetime) -> None:
    """Give back a deployment, unless its gateway has spoken meanwhile."""
    deployment = session.scalars(
        select(Deployment)
        .where(Deployment.id == deployment_id, _lease_expired(now))
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if deployment is None:
        return
    state = DeploymentState.QUEUED
    if deployment.attempt >= MAX_ATTEMPTS:
        state = DeploymentState.FAILED
        deployment.error = RunError(
            code=Unavailable.code,
            message=f"The gateway fell silent {deployment.attempt} times while it deployed this.",
            hint="Its log says why; deploy again when that is mended.",
        )
    _leave_gateway(deployment, state)


def _serve(session: Session, deployment: Deployment, *, now: datetime) -> None:
    """Let a deployment that passed its smoke be called by its revision, in place of an older one of it.

    The alias moves to it, unless it is staged or a later deployment was there first.
    """
    same = session.scalars(
        select(Deployment).where(
            Deployment.org_id == deployment.org_id,
            Deployment.alias == deployment.alias,
            Deployment.step == deployment.step,
            Deployment.state == DeploymentState.READY,
            Deployment.id != deployment.id,
        )
    ).one_or_none()
    if same is not None:
        older = same if same.generation < deployment.generation else deployment
        older.state = next_deployment_state(older.state, DeploymentState.UNDEPLOYED)
        if older is deployment:
            return
    deployment.ready_at = now
    if deployment.staged or not _move_alias(session, deployment):
        # In place of one that the alias pointed to, it is what a rollback leads back to.
        deployment.staged = same is None or same.staged


def _move_alias(session: Session, deployment: Deployment) -> bool:
    """Point the alias to a deployment, unless it has pointed to a later one; say whether it moved."""
    moved = session.execute(
        update(Alias)
        .where(
            Alias.org_id == deployment.org_id,
            Alias.name == deployment.alias,
            Alias.generation < deployment.generation,
        )
        .values(generation=deployment.generation)
        .returning(Alias.generation)
    ).one_or_none()
    return moved is not None


def _is_base_of(deployment: Deployment, model: BaseModelEntry | None) -> bool:
    return model is not None and model.revision == deployment.base_revision


def _leave_gateway(deployment: Deployment, state: DeploymentState) -> None:
    """Take a deployment from its gateway, without asking that."""
    deployment.state = next_deployment_state(deployment.state, state)
    deployment.lease_token = deployment.lease_until = None
    _log_move(deployment)


def _log_move(deployment: Deployment) -> None:
    logger.info(
        "deployment moved",
        extra={
            "deployment": deployment.id,
            "attempt": deployment.attempt,
            "state": deployment.state.value,
        },
    )


def _lease_expired(now: datetime) -> ColumnElement[bool]:
    return and_(Deployment.state.in_(DEPLOYMENT_LEASED), Deployment.lease_until < now)
