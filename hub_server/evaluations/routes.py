"""Evaluations: what models got in the suites of environments."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status

from freesolo.domain.refs import EnvRef
from freesolo.schemas import evaluations as wire
from hub_server.accounts.service import Repeatable, once
from hub_server.dependencies import (
    DbReader,
    DbSession,
    IdempotencyKey,
    Limit,
    Now,
    RunReader,
    RunWriter,
)
from hub_server.evaluations import service
from hub_server.evaluations.service import Wanted

router = APIRouter(prefix="/v1/evals", tags=["evaluations"])


@router.post("", status_code=status.HTTP_201_CREATED)
def create_evaluation(
    new: wire.NewEvaluation,
    member: RunWriter,
    session: DbSession,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> wire.Evaluation:
    """Keep what a model got in the suites of one published version of an environment."""
    request = Repeatable.of(idempotency_key, "create_evaluation", new)
    evaluation_id = once(
        session,
        member,
        request,
        now=now,
        create=lambda: str(service.create(session, member, new, now=now).id),
    )
    return service.view(service.find(session, member, UUID(evaluation_id)))


@router.get("")
def list_evaluations(
    member: RunReader,
    session: DbReader,
    environment: Annotated[
        str | None, Query(description="Only those of this environment, `org/name`.")
    ] = None,
    target: Annotated[str | None, Query(description="Only those of this model.")] = None,
    cursor: str | None = None,
    limit: Limit = 50,
) -> wire.EvaluationList:
    """List what the org has kept of environments that it may read, the newest first."""
    wanted = Wanted(None if environment is None else EnvRef.parse(environment), target)
    page, next_cursor = service.list_evaluations(
        session, member, wanted, cursor=cursor, limit=limit
    )
    return wire.EvaluationList(
        evaluations=[service.view(found) for found in page], next_cursor=next_cursor
    )


@router.get("/{evaluation_id}")
def show_evaluation(evaluation_id: UUID, member: RunReader, session: DbReader) -> wire.Evaluation:
    """Show one evaluation, without its cases."""
    return service.view(service.find(session, member, evaluation_id))


@router.get("/{evaluation_id}/cases")
def list_cases(
    evaluation_id: UUID, member: RunReader, session: DbReader, cursor: str | None = None
) -> wire.EvaluationCaseList:
    """List an evaluation's answers, suite by suite, a thousand on a page."""
    evaluation = service.find(session, member, evaluation_id).evaluation
    page, next_cursor = service.list_cases(session, evaluation, cursor=cursor)
    return wire.EvaluationCaseList(
        cases=[wire.StoredCase.model_validate({"suite": case.suite, **case.data}) for case in page],
        next_cursor=next_cursor,
    )


@router.delete("/{evaluation_id}", status_code=status.HTTP_204_NO_CONTENT)
def delete_evaluation(evaluation_id: UUID, member: RunWriter, session: DbSession, now: Now) -> None:
    """Remove an evaluation with all its answers."""
    service.remove(session, member, evaluation_id, now=now)
