"""What is known of a run besides its row: what made it, and how each attempt at it went."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.schemas import runs as wire
from hub_server.models import Run, RunAttempt


def detail_view(session: Session, run: Run, view: wire.Run) -> wire.RunDetail:
    """Return a run's `view` with its history, as it goes over the wire."""
    made = session.scalars(
        select(RunAttempt).where(RunAttempt.run_id == run.id).order_by(RunAttempt.attempt)
    )
    return wire.RunDetail(
        **dict(view),
        attempts=[attempt_view(attempt) for attempt in made],
        provenance=run.provenance,
    )


def attempt_view(attempt: RunAttempt) -> wire.Attempt:
    """Return an attempt as it goes over the wire."""
    return wire.Attempt(
        attempt=attempt.attempt,
        worker=attempt.worker_id,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        first_step=attempt.first_step,
        last_step=attempt.last_step,
        outcome=attempt.outcome,
        error=attempt.error,
    )
