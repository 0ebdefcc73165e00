"""What is known of a run besides its row: what made it, and how each attempt at it went."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.domain.lifecycle import RUN_ENDED, RunState
from freesolo.schemas import runs as wire
from hub_server.models import Run, RunEvent
from hub_server.runs.service import run_view

_SILENT = "Its worker fell silent, and another took the run."


def detail_view(session: Session, run: Run) -> wire.RunDetail:
    """Return a run with its history, as it goes over the wire."""
    moves = session.scalars(
        select(RunEvent)
        .where(RunEvent.run_id == run.id, RunEvent.kind == wire.EventKind.STATE)
        .order_by(RunEvent.seq)
    )
    return wire.RunDetail(
        **dict(run_view(run)), attempts=attempts(moves), provenance=run.provenance
    )


def attempts(moves: Iterable[RunEvent]) -> list[wire.Attempt]:
    """Read from a run's changes of state when each attempt began, and how it ended (pure)."""
    found: list[wire.Attempt] = []
    for event in moves:
        state = RunState(str(event.data["state"]))
        if state is RunState.STARTING:
            if found and found[-1].outcome is None:
                lost = {"outcome": RunState.QUEUED, "ended_at": event.created_at, "reason": _SILENT}
                found[-1] = found[-1].model_copy(update=lost)
            found.append(wire.Attempt(number=event.attempt, started_at=event.created_at))
        elif found and found[-1].outcome is None and state in (RunState.QUEUED, *RUN_ENDED):
            reason = event.data.get("reason")
            ended = {"outcome": state, "ended_at": event.created_at, "reason": reason}
            found[-1] = found[-1].model_copy(update=ended)
    return found
