"""Let go of old checkpoints' parts. The rule is `freesolo.domain.retention`; bytes go by sweeping."""

import logging
from collections.abc import Sequence

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from freesolo.domain.lifecycle import RUN_ENDED, DeploymentState
from freesolo.domain.retention import Saved, droppable
from hub_server.models import Checkpoint, Deployment, Run

logger = logging.getLogger(__name__)

_OUT_OF_USE = (DeploymentState.FAILED, DeploymentState.UNDEPLOYED)


def candidates(session: Session, *, keep_adapters: int | None) -> Sequence[str]:
    """Return the runs that may hold something to drop; few of them when all is in order."""
    states, adapters = func.count(Checkpoint.state), func.count().filter(Checkpoint.adapter_kept)
    too_many = [
        states > 1,
        # A run that ended needs no state, one that goes on needs one.
        (states > 0) & func.max(Run.state).in_(RUN_ENDED),
    ]
    if keep_adapters is not None:
        too_many.append(adapters > keep_adapters)
    return session.scalars(
        select(Checkpoint.run_id)
        .join(Run, Run.id == Checkpoint.run_id)
        .group_by(Checkpoint.run_id)
        .having(or_(*too_many))
    ).all()


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
                Deployment.run_id == run_id, Deployment.state.not_in(_OUT_OF_USE)
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
