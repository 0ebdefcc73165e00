"""What models got in suites: kept for the org that asked, bound to one version of an environment."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, or_, select
from sqlalchemy.orm import Session, contains_eager

from freesolo.domain.evaluations import CaseResult, summarize
from freesolo.domain.refs import AdapterRef, EnvRef
from freesolo.domain.roles import pattern_allows
from freesolo.errors import (
    EvaluationNotFound,
    Forbidden,
    InvalidInput,
    InvalidRef,
    QuotaExceeded,
)
from freesolo.schemas import evaluations as wire
from freesolo.schemas.audit import Action
from hub_server.accounts.service import Member, find_project
from hub_server.audit import service as audit
from hub_server.deployments.service import find_adapter
from hub_server.environments import service as environments
from hub_server.models import (
    Environment,
    EnvironmentVersion,
    Evaluation,
    EvaluationCase,
    Org,
    VersionState,
)
from hub_server.paging import decode_cursor, encode_cursor, not_a_cursor

# Of all evaluations of an org together.
MAX_BYTES = 1 << 30
_CASES_PAGE = 1000


@dataclass(frozen=True)
class Found:
    """An evaluation with what it is about."""

    evaluation: Evaluation
    version: EnvironmentVersion
    environment: Environment


@dataclass(frozen=True)
class Wanted:
    """Which evaluations are asked for; None is all."""

    environment: EnvRef | None = None
    target: str | None = None


def create(session: Session, by: Member, new: wire.NewEvaluation, *, now: datetime) -> Evaluation:
    """Keep what a model got. What the answers come to is counted here, whoever sends them."""
    version = _version(session, by, new)
    if new.endpoint is None:
        _check_revision(session, by, new.revision)
    rows = [
        {"suite": suite.name, "position": position, "data": case.model_dump(mode="json")}
        for suite in new.suites
        for position, case in enumerate(suite.cases)
    ]
    size = sum(len(json.dumps(row["data"])) for row in rows)
    _require_room(session, by, size)
    evaluation = Evaluation(
        org_id=by.org_id,
        project_id=find_project(session, by, new.project).id,
        environment_version_id=version.id,
        tree_digest=version.tree_digest,
        target=new.target,
        revision=new.revision,
        endpoint=new.endpoint,
        settings=new.settings.model_dump(mode="json"),
        suites=[asdict(summarize(suite.name, _results(suite))) for suite in new.suites],
        size=size,
        created_by=by.actor,
        created_at=now,
    )
    session.add(evaluation)
    session.flush()
    if rows:
        session.execute(
            insert(EvaluationCase), [{"evaluation_id": evaluation.id, **row} for row in rows]
        )
    audit.record(
        session,
        by,
        Action.EVALUATION_STORED,
        target=str(evaluation.id),
        now=now,
        environment=new.environment,
        model=new.target,
    )
    return evaluation


def list_evaluations(
    session: Session, by: Member, wanted: Wanted, *, cursor: str | None, limit: int
) -> tuple[Sequence[Found], str | None]:
    """Return a page of the org's evaluations, the newest first, and the cursor of the next."""
    query = _of(by)
    if wanted.environment is not None:
        environment = environments.find(session, by, wanted.environment)
        query = query.where(Environment.id == environment.id)
    if wanted.target is not None:
        query = query.where(Evaluation.target == wanted.target)
    if cursor is not None:
        query = query.where(_is_older(cursor))
    newest_first = query.order_by(Evaluation.created_at.desc(), Evaluation.id.desc())
    found = [Found(*row) for row in session.execute(newest_first.limit(limit + 1))]
    page = found[:limit]
    if len(found) <= limit:
        return page, None
    last = page[-1].evaluation
    return page, encode_cursor(last.created_at.isoformat(), str(last.id))


def find(session: Session, by: Member, evaluation_id: UUID) -> Found:
    """Return an evaluation of the member's org, of an environment that they may read."""
    query = _of(by).where(Evaluation.id == evaluation_id)
    found = next((Found(*row) for row in session.execute(query)), None)
    if found is None:
        raise EvaluationNotFound(
            f"There is no evaluation {evaluation_id}.",
            hint="`freesolo results ENVIRONMENT` shows those there are.",
        )
    return found


def list_cases(
    session: Session, evaluation: Evaluation, *, cursor: str | None
) -> tuple[Sequence[EvaluationCase], str | None]:
    """Return a page of an evaluation's answers, suite by suite, and the cursor of the next."""
    query = select(EvaluationCase).where(EvaluationCase.evaluation_id == evaluation.id)
    if cursor is not None:
        suite, position = _read_case_cursor(cursor)
        further = and_(EvaluationCase.suite == suite, EvaluationCase.position > position)
        query = query.where(or_(EvaluationCase.suite > suite, further))
    in_order = query.order_by(EvaluationCase.suite, EvaluationCase.position)
    found = session.scalars(in_order.limit(_CASES_PAGE + 1)).all()
    page = found[:_CASES_PAGE]
    if len(found) <= _CASES_PAGE:
        return page, None
    return page, encode_cursor(page[-1].suite, str(page[-1].position))


def remove(session: Session, by: Member, evaluation_id: UUID, *, now: datetime) -> None:
    """Remove an evaluation with all its answers."""
    evaluation = find(session, by, evaluation_id).evaluation
    session.execute(delete(EvaluationCase).where(EvaluationCase.evaluation_id == evaluation.id))
    session.delete(evaluation)
    audit.record(session, by, Action.EVALUATION_DELETED, target=str(evaluation.id), now=now)


def view(found: Found) -> wire.Evaluation:
    """Return an evaluation as it goes over the wire."""
    evaluation = found.evaluation
    return wire.Evaluation.model_validate(
        {
            "id": evaluation.id,
            "ref": environments.full_name(found.environment),
            "version": found.version.version,
            "tree_digest": evaluation.tree_digest,
            "target": evaluation.target,
            "revision": evaluation.revision,
            "endpoint": evaluation.endpoint,
            "settings": evaluation.settings,
            "suites": evaluation.suites,
            "created_by": evaluation.created_by,
            "created_at": evaluation.created_at,
        }
    )


def _version(session: Session, by: Member, new: wire.NewEvaluation) -> EnvironmentVersion:
    """Return the version that was asked about; it must have the files that the sender had."""
    ref = EnvRef.parse(new.environment)
    environment, version = environments.resolve(session, by, ref)
    name = environments.full_name(environment)
    if not pattern_allows(by.patterns, name):
        raise Forbidden(
            f"The key {by.key_name!r} is confined to {', '.join(by.patterns)}, not to {name}.",
            hint=f"Use a key that may touch {name}.",
        )
    if version.state is not VersionState.PUBLISHED:
        raise InvalidInput(
            f"{name} {version.version} is staged.",
            hint="Results are kept for published versions; `freesolo promote` publishes it.",
        )
    if version.tree_digest != new.tree_digest:
        raise InvalidInput(
            f"{new.environment} is {version.tree_digest}, not {new.tree_digest}.",
            hint="Name the version whose files were used.",
        )
    return version


def _check_revision(session: Session, by: Member, revision: str | None) -> None:
    """Raise unless the adapter that is said to have answered is one of the org's."""
    try:
        ref = AdapterRef.parse(revision or "")
    except InvalidRef:
        # The revision of a base model, which belongs to nobody.
        return
    find_adapter(session, by, ref)


def _require_room(session: Session, by: Member, size: int) -> None:
    query = select(func.coalesce(func.sum(Evaluation.size), 0))
    used = session.execute(query.where(Evaluation.org_id == by.org_id)).scalar_one()
    if used + size > MAX_BYTES:
        raise QuotaExceeded(
            f"With this {by.org} would keep {used + size} bytes of results; it may keep {MAX_BYTES}.",
            hint="`freesolo results rm` removes what nobody needs.",
        )


def _results(suite: wire.NewSuite) -> list[CaseResult]:
    return [CaseResult(**case.model_dump()) for case in suite.cases]


def _of(by: Member) -> Select[Evaluation, EnvironmentVersion, Environment]:
    """Select the evaluations of the member's org, of environments that they may read."""
    return (
        select(Evaluation, EnvironmentVersion, Environment)
        .join(EnvironmentVersion, EnvironmentVersion.id == Evaluation.environment_version_id)
        .join(Environment, Environment.id == EnvironmentVersion.environment_id)
        .join(Org, Org.id == Environment.org_id)
        .where(
            Evaluation.org_id == by.org_id,
            environments.readable(by),
            environments.inside(by.patterns),
            Environment.deleted_at.is_(None),
        )
        .options(contains_eager(Environment.org))
    )


def _is_older(cursor: str) -> ColumnElement[bool]:
    created_at, evaluation_id = decode_cursor(cursor, parts=2)
    try:
        moment, identifier = datetime.fromisoformat(created_at), UUID(evaluation_id)
    except ValueError:
        raise not_a_cursor(cursor) from None
    # As `list_evaluations` writes it: another zone may lie outside of what UTC can say.
    if moment.tzinfo != UTC:
        raise not_a_cursor(cursor)
    as_old = and_(Evaluation.created_at == moment, Evaluation.id < identifier)
    return or_(Evaluation.created_at < moment, as_old)


def _read_case_cursor(cursor: str) -> tuple[str, int]:
    suite, position = decode_cursor(cursor, parts=2)
    if not (position.isascii() and position.isdigit() and len(position) <= 9):
        raise not_a_cursor(cursor)
    return suite, int(position)
