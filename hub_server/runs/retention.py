"""Let go of old checkpoints' parts. The rule is `freesolo.domain.retention`; bytes go by sweeping."""

import logging
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from freesolo.domain.lifecycle import DEPLOYMENT_CURRENT, RUN_ENDED
from freesolo.domain.retention import Saved, droppable
from hub_server.models import Checkpoint, Deployment, Run

logger = logging.getLogger(__name__)

# So many runs are seen to at a time; the others come next.
_AT_ONCE = 100


def candidates(session: Session, *, keep_adapters: int | None) -> Sequence[str]:
    """Return some of the runs that hold something to drop; none when all is in order.

    The conditions are those of `droppable`: a run without anything to drop would come again each time.
    """
    unneeded = and_(
        Checkpoint.state.is_not(None), or_(Run.state.in_(RUN_ENDED), _is_followed_by(1))
    )
    if keep_adapters is not None:
        unneeded = or_(unneeded, and_(Checkpoint.adapter_kept, *_is_old(keep_adapters)))
    return session.scalars(
        select(Checkpoint.run_id)
        .join(Run, Run.id == Checkpoint.run_id)
        .where(unneeded)
        .distinct()
        .limit(_AT_ONCE)
    ).all()


def _is_old(keep_adapters: int) -> tuple[ColumnElement[bool], ...]:
    """Select the checkpoints whose adapter is among the newest no more, no result, and not served."""
    served = exists().where(
        Deployment.run_id == Checkpoint.run_id,
        Deployment.step == Checkpoint.step,
        Deployment.state.in_(DEPLOYMENT_CURRENT),
    )
    result = and_(Run.final_step.is_not(None), Run.final_step == Checkpoint.step)
    return _is_followed_by(keep_adapters), ~result, ~served


def _is_followed_by(count: int) -> ColumnElement[bool]:
    """Select the checkpoints after which their run has saved `count` times, or more."""
    later = aliased(Checkpoint)
    return (
        select(later.step)
        .where(later.run_id == Checkpoint.run_id, later.step > Checkpoint.step)
        .order_by(later.step)
        .offset(count - 1)
        .limit(1)
        .exists()
    )


def drop(session: Session, run_id: str, *, keep_adapters: int | None) -> None:
    """Let go of what nobody needs of one run's checkpoints.

    The run is locked, so that none is recorded meanwhile, and so are its checkpoints: whoever deploys
    one comes before or after.
    """
    run = session.scalars(select(Run).where(Run.id == run_id).with_for_update()).one()
    points = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.run_id == run_id)
        .order_by(Checkpoint.step)
        .with_for_update()
    ).all()
    in_use = set(
        session.scalars(
            select(Deployment.step).where(
                Deployment.run_id == run_id, Deployment.state.in_(DEPLOYMENT_CURRENT)
            )
        )
    )
    dropped = droppable(
        [
            Saved(
                point.step,
                state=point.state is not None,
                adapter=point.adapter_kept,
                in_use=point.step in in_use,
            )
            for point in points
        ],
        ended=run.state in RUN_ENDED,
        result=run.final_step,
        keep_adapters=keep_adapters,
    )
    for point in points:
        if point.step in dropped.states:
            point.state = None
        if point.step in dropped.adapters:
            point.adapter_kept = False
    if dropped.states or dropped.adapters:
        facts = {"states": sorted(dropped.states), "adapters": sorted(dropped.adapters)}
        logger.info("checkpoints dropped", extra={"run": run_id, **facts})
