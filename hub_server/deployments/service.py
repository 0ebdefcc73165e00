"""Deployments as their owners see them: ask for one, look, go back, withdraw."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from freesolo.domain.catalog import BaseModelEntry, Catalog, find_model
from freesolo.domain.lifecycle import DEPLOYMENT_CURRENT, DeploymentState, next_deployment_state
from freesolo.domain.refs import AdapterRef
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import Conflict, DeploymentNotFound, InvalidInput, InvalidRef
from freesolo.schemas import deployments as wire
from freesolo.schemas.audit import Action
from hub_server.accounts.service import Member
from hub_server.audit import service as audit
from hub_server.db import insert_if_absent
from hub_server.deployments import aliases
from hub_server.identifiers import new_id
from hub_server.models import Alias, Checkpoint, Deployment, Run
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor
from hub_server.runs import adapters
from hub_server.runs import service as runs
from hub_server.runs.adapters import Adapter

# What a column of integers holds.
_MOST_GENERATIONS = 2**31


@dataclass(frozen=True)
class Plan:
    """A deploy that passed every check; `active` is what the alias points to now.

    `existing` already serves the adapter in the way that is asked for, or is about to.
    """

    adapter: Adapter
    staged: bool
    active: Deployment | None
    existing: Deployment | None


def find_adapter(session: Session, member: Member, ref: AdapterRef) -> Adapter:
    """Return the adapter that a reference means; raise `AdapterNotFound` if it was never saved."""
    return adapters.of_run(session, runs.find(session, member, ref.run_id), ref)


def plan(
    session: Session, member: Member, adapter: Adapter, *, stage: bool, catalog: Catalog
) -> Plan:
    """Make every check of a deploy, and find out what there is already."""
    _require_its_base(adapter.run, find_model(catalog, adapter.run.model_id))
    alias = session.get(Alias, (member.org_id, adapter.run.id))
    current = _current(session, member, AdapterRef(adapter.run.id))
    return Plan(
        adapter,
        stage,
        active=_active(alias, current),
        existing=_standing_in(current, adapter, stage=stage),
    )


def deploy(
    session: Session,
    member: Member,
    adapter: Adapter,
    *,
    stage: bool,
    catalog: Catalog,
    now: datetime,
) -> Deployment:
    """Queue the deployment of an adapter; unless it is staged, its run's id will point to it.

    If that is so already, or on its way, the deployment that does it is returned.
    """
    insert_if_absent(session, Alias, [{"org_id": member.org_id, "name": adapter.run.id}])
    aliases.locked(session, member.org_id, adapter.run.id)
    planned = plan(session, member, adapter, stage=stage, catalog=catalog)
    return _carry_out(session, member, planned, Action.DEPLOYMENT_REQUESTED, now=now)


def roll_back(
    session: Session, member: Member, name: str, *, catalog: Catalog, now: datetime
) -> Deployment:
    """Deploy again what an alias pointed to before: twice leads back to where it is.

    Raise `Conflict` if it pointed to nothing else that is still served.
    """
    ref = _parsed(name)
    if ref != AdapterRef(name):
        raise InvalidInput(
            f"{name!r} is one adapter, and a rollback takes the id of a run.",
            hint=f"`freesolo rollback {ref.run_id}` leads to what it pointed to before; "
            f"`freesolo deploy {ref}` lets it point to this adapter.",
        )
    alias = aliases.locked(session, member.org_id, name)
    current = _current(session, member, AdapterRef(name))
    active = _active(alias, current)
    if active is None:
        raise DeploymentNotFound(
            f"The alias {name!r} points to nothing.",
            hint=_what_answers(current) or _nearest(session, member, name),
        )
    before = _before(active, current)
    if before is None:
        raise Conflict(
            f"{name} pointed to nothing before {active.revision} that is still served.",
            hint=_what_answers(current),
        )
    adapter = find_adapter(session, member, AdapterRef.parse(before.revision))
    planned = plan(session, member, adapter, stage=False, catalog=catalog)
    return _carry_out(session, member, planned, Action.DEPLOYMENT_ROLLED_BACK, now=now)


def undeploy(session: Session, member: Member, name: str, *, now: datetime) -> None:
    """Withdraw an alias with all its revisions, or one revision that it does not point to.

    What was on its way goes too.
    """
    ref = _parsed(name)
    alias = aliases.locked(session, member.org_id, ref.run_id)
    current = _current(session, member, ref, lock=True)
    if alias is None or not current:
        raise DeploymentNotFound(
            f"Nothing is deployed as {name!r}.", hint=_nearest(session, member, name)
        )
    if ref == AdapterRef(alias.name):
        alias.issued += 1
        alias.generation = alias.issued
    elif _active(alias, current):
        raise Conflict(
            f"{name} is what {alias.name} points to.",
            hint=f"`freesolo undeploy {alias.name}` withdraws that with all its revisions; "
            f"`freesolo rollback {alias.name}`, or another deploy, lets it point elsewhere first.",
        )
    for deployment in current:
        deployment.state = next_deployment_state(deployment.state, DeploymentState.UNDEPLOYED)
        deployment.lease_token = deployment.lease_until = None
    audit.record(session, member, Action.DEPLOYMENT_WITHDRAWN, target=name, now=now)


def show(session: Session, member: Member, deployment_id: str) -> wire.Deployment:
    """Return one deployment of the member's org."""
    wanted = select(Deployment, aliases.is_active()).where(
        Deployment.org_id == member.org_id, Deployment.id == deployment_id
    )
    found = session.execute(wanted).one_or_none()
    if found is None:
        raise DeploymentNotFound(
            f"There is no deployment {deployment_id!r}.", hint="`freesolo deployments` lists them."
        )
    deployment, active = found
    return _view(deployment, active=active)


def list_deployments(
    session: Session, member: Member, *, everything: bool, cursor: str | None, limit: int
) -> wire.DeploymentList:
    """Return a page of what is served or coming, newest first; with `everything`, also of what ended."""
    query = select(Deployment, aliases.is_active()).where(Deployment.org_id == member.org_id)
    if not everything:
        query = query.where(Deployment.state.in_(DEPLOYMENT_CURRENT))
    if cursor is not None:
        query = query.where(_after(cursor))
    newest_first = query.order_by(
        Deployment.created_at.desc(), Deployment.generation.desc(), Deployment.id.desc()
    )
    found = session.execute(newest_first.limit(limit + 1)).all()
    page = [deployment for deployment, _ in found[:limit]]
    return wire.DeploymentList(
        deployments=[_view(deployment, active=active) for deployment, active in found[:limit]],
        next_cursor=_cursor_of(page[-1]) if len(found) > limit else None,
    )


def plan_view(planned: Plan) -> wire.DeploymentPlan:
    """Return what a deploy would do as it goes over the wire."""
    adapter, active, existing = planned.adapter, planned.active, planned.existing
    return wire.DeploymentPlan(
        model=adapter.run.id,
        revision=adapter.revision,
        base_model=adapter.run.model_id,
        active_revision=active and active.revision,
        moves_alias=not planned.staged and (active is None or active.step != adapter.step),
        deployment=existing and existing.id,
    )


def _view(deployment: Deployment, *, active: bool) -> wire.Deployment:
    return wire.Deployment(
        id=deployment.id,
        model=deployment.alias,
        revision=deployment.revision,
        base_model=deployment.base_model,
        state=deployment.state,
        staged=deployment.staged,
        active=active,
        error=deployment.error,
        created_at=deployment.created_at,
        ready_at=deployment.ready_at,
    )


def _cursor_of(deployment: Deployment) -> str:
    return encode_cursor(
        deployment.created_at.isoformat(), str(deployment.generation), deployment.id
    )


def _after(cursor: str) -> ColumnElement[bool]:
    """Select what a listing has after the item that a cursor names."""
    moment, number, deployment_id = decode_cursor(cursor, parts=3)
    try:
        created_at, generation = datetime.fromisoformat(moment), int(number)
    except ValueError:
        raise not_a_cursor(cursor) from None
    # As `_cursor_of` writes them: another zone may lie outside of what UTC can say.
    if created_at.tzinfo != UTC or not 0 <= generation < _MOST_GENERATIONS:
        raise not_a_cursor(cursor)
    earlier = and_(Deployment.generation == generation, Deployment.id < deployment_id)
    return or_(
        Deployment.created_at < created_at,
        and_(
            Deployment.created_at == created_at,
            or_(Deployment.generation < generation, earlier),
        ),
    )


def _require_its_base(run: Run, model: BaseModelEntry) -> None:
    """Raise `Conflict` unless the catalog has the very weights that a run's adapters were made on."""
    if run.model_revision != model.revision:
        raise Conflict(
            f"{run.id} was trained on {model.id} {run.model_revision}; "
            f"the catalog now has {model.revision}.",
            hint="Train it again, or bring that revision back into the catalog.",
        )


def _current(
    session: Session, member: Member, ref: AdapterRef, *, lock: bool = False
) -> Sequence[Deployment]:
    """Return what of a run, or of one of its adapters, is served or coming, newest first."""
    query = (
        select(Deployment)
        .where(
            Deployment.org_id == member.org_id,
            aliases.is_of(ref),
            Deployment.state.in_(DEPLOYMENT_CURRENT),
        )
        .order_by(Deployment.generation.desc())
    )
    return session.scalars(query.with_for_update() if lock else query).all()


def _active(alias: Alias | None, current: Sequence[Deployment]) -> Deployment | None:
    """Return which of an alias' deployments it points to."""
    if alias is None:
        return None
    return next((each for each in current if each.generation == alias.generation), None)


def _standing_in(
    current: Sequence[Deployment], adapter: Adapter, *, stage: bool
) -> Deployment | None:
    """Return what already leads to where another deployment of the adapter would.

    To be called by its revision, any will do, best one that is ready. The alias ends at the newest
    one that moves it, so only that will do.
    """
    if stage:
        ready_first = sorted(current, key=lambda each: each.state is not DeploymentState.READY)
        return next((each for each in ready_first if each.step == adapter.step), None)
    newest = next((each for each in current if not each.staged), None)
    return newest if newest is not None and newest.step == adapter.step else None


def _before(active: Deployment, current: Sequence[Deployment]) -> Deployment | None:
    """Return the newest deployment of another adapter that the alias pointed to, and that is ready."""
    return next(
        (
            each
            for each in current
            if each.generation < active.generation
            and each.state is DeploymentState.READY
            and not each.staged
            and each.step != active.step
        ),
        None,
    )


def _carry_out(
    session: Session, member: Member, planned: Plan, action: Action, *, now: datetime
) -> Deployment:
    """Return the deployment that is there already, or queue one. The alias is locked."""
    if planned.existing is not None:
        return planned.existing
    adapter = planned.adapter
    # Locked, so that retention either sees this deployment or has been here before.
    point = (adapter.run.id, adapter.step)
    adapters.require_kept(
        session.get_one(Checkpoint, point, with_for_update=True, populate_existing=True)
    )
    alias = session.get_one(Alias, (member.org_id, adapter.run.id))
    alias.issued += 1
    deployment = Deployment(
        id=new_id("dep"),
        org_id=alias.org_id,
        alias=alias.name,
        generation=alias.issued,
        run_id=adapter.run.id,
        step=adapter.step,
        revision=adapter.revision,
        base_model=adapter.run.model_id,
        base_revision=adapter.run.model_revision,
        staged=planned.staged,
        state=DeploymentState.QUEUED,
        created_at=now,
    )
    session.add(deployment)
    audit.record(
        session,
        member,
        action,
        target=alias.name,
        now=now,
        revision=adapter.revision,
        staged=planned.staged,
    )
    return deployment


def _parsed(name: str) -> AdapterRef:
    """Return what a name refers to; what is no reference is the name of no run."""
    try:
        return AdapterRef.parse(name)
    except InvalidRef:
        return AdapterRef(name)


def _what_answers(current: Sequence[Deployment]) -> str | None:
    ready = [each.revision for each in current if each.state is DeploymentState.READY]
    if not ready:
        return None
    return f"Served now: {', '.join(ready)}; `freesolo deploy REVISION` lets the alias point there."


def _nearest(session: Session, member: Member, name: str) -> str:
    served = select(Deployment.alias, Deployment.revision).where(
        Deployment.org_id == member.org_id, Deployment.state.in_(DEPLOYMENT_CURRENT)
    )
    known = {name for each in session.execute(served) for name in each}
    return did_you_mean(name, known) or "`freesolo deployments` lists what is served."
