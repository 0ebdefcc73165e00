"""How a run learned: what was measured and sampled in each step, read from its events.

An attempt that resumes repeats the steps since its checkpoint. What a newer attempt reports of a step
stands in place of what an older one did.
"""

from pydantic import JsonValue
from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session, aliased

from freesolo.schemas import runs as wire
from hub_server.models import Run, RunEvent
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor

_MAX_STEP = 2**31 - 1


def metrics_by_step(
    session: Session, run: Run, *, cursor: str | None, limit: int
) -> wire.MetricsPage:
    """Return a page of steps with all that was measured in each, by rising step."""
    after = 0 if cursor is None else _read_cursor(cursor)
    reported = (_of_kind(run, wire.EventKind.METRICS), RunEvent.step > after)
    found = session.execute(
        select(RunEvent.step, func.max(RunEvent.attempt))
        .where(*reported)
        .group_by(RunEvent.step)
        .order_by(RunEvent.step)
        .limit(limit + 1)
    ).all()
    newest_attempt = {int(step): attempt for step, attempt in found[:limit] if step is not None}
    measured: dict[int, dict[str, float]] = {step: {} for step in newest_attempt}
    last = max(measured, default=after)
    events = select(RunEvent).where(*reported, RunEvent.step <= last).order_by(RunEvent.seq)
    for event in session.scalars(events):
        # A recipe may report a step in several parts.
        if event.step is not None and event.attempt == newest_attempt[event.step]:
            measured[event.step] |= numbers(event.data)
    return wire.MetricsPage(
        steps=[
            wire.StepMetrics.model_validate(values | {"step": step})
            for step, values in measured.items()
        ],
        next_cursor=encode_cursor(str(last)) if len(found) > limit else None,
    )


def samples(
    session: Session, run: Run, *, step: int | None, cursor: str | None, limit: int
) -> wire.SampleList:
    """Return a page of a run's samples, the newest first; with `step`, those of that step."""
    newer = aliased(RunEvent)
    of_newest_attempt = (
        select(func.max(newer.attempt))
        .where(
            newer.run_id == RunEvent.run_id,
            newer.kind == wire.EventKind.SAMPLE,
            newer.step == RunEvent.step,
        )
        .scalar_subquery()
    )
    query = select(RunEvent).where(
        _of_kind(run, wire.EventKind.SAMPLE), RunEvent.attempt == of_newest_attempt
    )
    if step is not None:
        query = query.where(RunEvent.step == step)
    if cursor is not None:
        query = query.where(RunEvent.seq < _read_cursor(cursor))
    found = session.scalars(query.order_by(RunEvent.seq.desc()).limit(limit + 1)).all()
    page = found[:limit]
    is_last = len(found) <= limit
    return wire.SampleList(
        samples=[_sample_view(event) for event in page],
        next_cursor=None if is_last else encode_cursor(str(page[-1].seq)),
    )


def numbers(data: dict[str, JsonValue]) -> dict[str, float]:
    """Return what is a measurement among an event's data."""
    return {
        name: float(value)
        for name, value in data.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _of_kind(run: Run, kind: wire.EventKind) -> ColumnElement[bool]:
    return and_(RunEvent.run_id == run.id, RunEvent.kind == kind)


def _sample_view(event: RunEvent) -> wire.RunSample:
    measured = event.data.get("metrics")
    return wire.RunSample.model_validate(
        {
            **event.data,
            "metrics": numbers(measured) if isinstance(measured, dict) else {},
            "step": event.step,
            "attempt": event.attempt,
            "created_at": event.created_at,
        }
    )


def _read_cursor(cursor: str) -> int:
    (text,) = decode_cursor(cursor, parts=1)
    # As `encode_cursor` was given it: ASCII digits, and no more than a column holds.
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_STEP):
        raise not_a_cursor(cursor)
    return int(text)
