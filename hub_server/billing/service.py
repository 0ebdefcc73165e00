"""The ledger: each request is a row once, and an org's balance is its credits less its rows.

Two witnesses tell of every request, the gateway and the engine, in any order and as often as they
like. Whoever comes first settles it. Only one thing is said of money afterwards: a gateway that failed its
caller voids what the engine counted, whose counts the row keeps for comparison with the engine.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import QueryableAttribute, Session

from freesolo.domain.prices import MOST, cost, dollars
from freesolo.domain.refs import normalized_name
from freesolo.errors import InvalidInput, OrgNotFound, PaymentRequired, Problem
from freesolo.schemas import usage as wire
from freesolo.schemas.usage import BillingMode, Outcome, UsageBy, Witness
from hub_server.accounts.service import Member
from hub_server.db import insert_if_absent
from hub_server.models import ApiKey, Balance, Credit, Hold, Org, Usage

logger = logging.getLogger(__name__)

# A gateway renews what it holds several times within this.
HOLD_SECONDS = 60.0
_MAX_NOTE = 200
_COUNTS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


def record(session: Session, records: Sequence[wire.UsageRecord]) -> int:
    """Settle requests: count them once, charge their orgs, and free what was held for them.

    Return of how many it is new that nobody knows what they took: nobody is billed for those.
    """
    if not records:
        return 0
    orgs = _orgs(session, {record.org for record in records})
    keys = _keys(session, {record.key_id for record in records})
    # Of two that tell of one request, the first counts.
    first = {record.id: record for record in reversed(records)}
    rows = {
        name: _row(record, orgs[record.org], keys[record.key_id]) for name, record in first.items()
    }
    charged: Counter[UUID] = Counter()
    new = _insert_new(session, list(rows.values()))
    for generation in new:
        charged[rows[generation]["org_id"]] += rows[generation]["amount"]
    lost = sorted(each for each in new if first[each].outcome is Outcome.LOST)
    for generation in lost:
        logger.error("request lost", extra={"generation": generation})
    known = [each for each in records if each.id not in new or each is not first[each.id]]
    for org_id, amount in _void(session, known):
        charged[org_id] -= amount
    _compare(session, known)
    freed = _free(session, Hold.id.in_(rows))
    _move(session, charged, freed)
    return len(lost)


def engine_tokens(session: Session, life: str) -> wire.EngineTokens:
    """Sum up what one life of an engine answered, of every org, billed or not."""
    lost = func.count().filter(Usage.outcome == Outcome.LOST)
    sums = [
        func.coalesce(func.sum(column), 0)
        for column in (Usage.prompt_tokens, Usage.completion_tokens)
    ]
    row = session.execute(select(*sums, lost).where(Usage.engine == life)).one()
    return wire.EngineTokens(prompt_tokens=row[0], completion_tokens=row[1], lost=row[2])


def hold(session: Session, new: wire.NewHold, *, now: datetime) -> None:
    """Set money aside for a request. Raise `PaymentRequired` if the org has too little."""
    org_id = _orgs(session, [new.org])[new.org]
    insert_if_absent(session, Balance, [{"org_id": org_id}])
    if session.get(Hold, new.id) is not None:
        return
    if new.instead_of is not None:
        failed = and_(Hold.id == new.instead_of, Hold.org_id == org_id)
        _move(session, Counter(), _free(session, failed))
    left = session.execute(
        update(Balance)
        .where(Balance.org_id == org_id, Balance.balance - Balance.held >= new.amount)
        .values(held=Balance.held + new.amount)
        .returning(Balance.balance)
    ).one_or_none()
    if left is None:
        raise PaymentRequired(
            f"The balance does not cover this request, which may cost ${dollars(new.amount)}.",
            hint="Ask for fewer tokens, or have credit added; `freesolo usage` shows the balance.",
        )
    until = now + timedelta(seconds=HOLD_SECONDS)
    session.add(Hold(id=new.id, org_id=org_id, amount=new.amount, until=until))


def renew(session: Session, ids: Sequence[str], *, now: datetime) -> None:
    """Keep money aside for requests that are still being answered."""
    _keep(session, Hold.id.in_(ids), until=now + timedelta(seconds=HOLD_SECONDS))


def extend_holds(session: Session, *, now: datetime) -> None:
    """Give every gateway its time to renew what it holds."""
    until = now + timedelta(seconds=HOLD_SECONDS)
    _keep(session, Hold.until < until, until=until)


def free_expired(session: Session, *, now: datetime) -> None:
    """Free what silent gateways held. If an engine counted the request, it is charged all the same."""
    _move(session, Counter(), _free(session, Hold.until < now))


def credit(session: Session, org: str, amount: int, *, note: str, now: datetime) -> int:
    """Give an org money, or take it back; return its balance. Raise `OrgNotFound`."""
    wanted = select(Org.id).where(Org.name_key == normalized_name(org))
    org_id = session.scalars(wanted).one_or_none()
    if org_id is None:
        raise OrgNotFound(f"There is no organisation {org!r}.")
    if len(note) > _MAX_NOTE:
        raise InvalidInput(f"A note has at most {_MAX_NOTE} characters, and this {len(note)}.")
    session.add(Credit(id=uuid.uuid4(), org_id=org_id, amount=amount, note=note, created_at=now))
    _move(session, Counter({org_id: -amount}), Counter())
    return balance_of(session, org_id).balance


def balance_of(session: Session, org_id: UUID) -> Balance:
    """Return what an org has."""
    return session.get(Balance, org_id, populate_existing=True) or Balance(
        org_id=org_id, balance=0, held=0
    )


def balance_view(session: Session, member: Member, mode: BillingMode) -> wire.Balance:
    """Return what the member's org has, as it goes over the wire."""
    found = balance_of(session, member.org_id)
    return wire.Balance(mode=mode, balance=found.balance, held=found.held)


def report(
    session: Session,
    member: Member,
    *,
    by: Sequence[UsageBy],
    since: date | None,
    until: date | None,
) -> list[wire.UsageLine]:
    """Sum up the tokens of the member's org; both days, in UTC, are part of it."""
    # Lines are in the order of the last of them first.
    columns: dict[UsageBy, dict[str, QueryableAttribute[Any]]] = {
        UsageBy.KEY: {"key_prefix": ApiKey.prefix, "key_id": ApiKey.id, "key_name": ApiKey.name},
        UsageBy.MODEL: {"model": Usage.model},
        UsageBy.DAY: {"day": Usage.day},
    }
    asked = [column for each in dict.fromkeys(by) for column in columns[each].items()]
    sums = [
        func.coalesce(func.sum(getattr(Usage, name)), 0).label(name)
        for name in (*_COUNTS, "amount")
    ]
    query = (
        select(
            *(column.label(name) for name, column in asked), func.count().label("requests"), *sums
        )
        .join(ApiKey, ApiKey.id == Usage.key_id)
        .where(Usage.org_id == member.org_id, Usage.outcome == Outcome.COUNTED)
        .group_by(*(column for _, column in asked))
        .order_by(*(column for _, column in reversed(asked)))
    )
    if since is not None:
        query = query.where(Usage.day >= since)
    if until is not None:
        query = query.where(Usage.day <= until)
    return [wire.UsageLine(**row) for row in session.execute(query).mappings()]


def _row(record: wire.UsageRecord, org_id: UUID, key_id: UUID) -> dict[str, Any]:
    counted = record.outcome is Outcome.COUNTED
    created_at = record.created_at.astimezone(UTC)
    return {
        **record.model_dump(exclude={"org", "key_id", "prices"}),
        "created_at": created_at,
        "org_id": org_id,
        "key_id": key_id,
        "amount": cost(record.prices, record) if counted else 0,
        "day": created_at.date(),
    }


def _insert_new(session: Session, rows: Sequence[dict[str, Any]]) -> set[str]:
    """Insert the rows of requests that nobody told of before; return their ids.

    All lock rows in the order of their ids, so that no two wait for each other in a ring.
    """
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(Usage).on_conflict_do_nothing().returning(Usage.id)
    return set(session.scalars(statement, sorted(rows, key=itemgetter("id"))))


def _void(session: Session, records: Sequence[wire.UsageRecord]) -> list[tuple[UUID, int]]:
    """Void what the engine counted and the gateway failed to answer; return what that had cost."""
    ids = sorted(record.id for record in records if record.outcome is Outcome.VOID)
    if not ids:
        return []
    billed = session.execute(
        select(Usage.id, Usage.org_id, Usage.amount)
        .where(Usage.id.in_(ids), Usage.outcome == Outcome.COUNTED)
        .order_by(Usage.id)
        .with_for_update()
    ).all()
    session.execute(
        update(Usage)
        .where(Usage.id.in_([each.id for each in billed]))
        .values(outcome=Outcome.VOID, amount=0)
    )
    return [(each.org_id, each.amount) for each in billed]


def _compare(session: Session, records: Sequence[wire.UsageRecord]) -> None:
    """Hold what is said of known requests against their rows.

    A row that its gateway voided takes the engine's counts, for nobody's money. Where the witnesses say
    different things of one request neither can be trusted, which is logged.
    """
    said = {record.id: record for record in records if record.outcome is Outcome.COUNTED}
    for row in session.scalars(select(Usage).where(Usage.id.in_(said))):
        record = said[row.id]
        if row.outcome is Outcome.VOID and record.witness is Witness.ENGINE:
            row.engine = record.engine
            for name in _COUNTS:
                setattr(row, name, getattr(record, name))
        elif row.outcome is Outcome.COUNTED and any(
            getattr(row, name) != getattr(record, name) for name in _COUNTS
        ):
            logger.error("witnesses disagree", extra={"generation": row.id})


def _free(session: Session, which: ColumnElement[bool]) -> Counter[UUID]:
    """Remove holds; return how much of each org that was."""
    freed: Counter[UUID] = Counter()
    for org_id, amount in session.execute(
        delete(Hold).where(Hold.id.in_(_locked(which))).returning(Hold.org_id, Hold.amount)
    ):
        freed[org_id] += amount
    return freed


def _keep(session: Session, which: ColumnElement[bool], *, until: datetime) -> None:
    session.execute(update(Hold).where(Hold.id.in_(_locked(which))).values(until=until))


def _locked(which: ColumnElement[bool]) -> Select[str]:
    """Return the query of holds' ids that locks one after the other by id."""
    return select(Hold.id).where(which).order_by(Hold.id).with_for_update()


def _move(session: Session, charged: Counter[UUID], freed: Counter[UUID]) -> None:
    """Take from balances what was charged, and from what is held what was freed."""
    orgs = sorted({*charged, *freed})
    insert_if_absent(session, Balance, [{"org_id": org_id} for org_id in orgs])
    locked = (
        select(Balance)
        .where(Balance.org_id.in_(orgs))
        .order_by(Balance.org_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for found in session.scalars(locked):
        left = found.balance - charged[found.org_id]
        if abs(left) > MOST:
            raise InvalidInput(
                f"A balance of ${dollars(left)} cannot be kept.",
                hint=f"Balances are ${dollars(MOST)} at most, and as much below zero.",
            )
        found.balance = left
        found.held -= freed[found.org_id]


def _orgs(session: Session, slugs: Collection[str]) -> dict[str, UUID]:
    """Return the ids of orgs by their slugs; raise `InvalidInput` for one that is not there."""
    rows = session.execute(select(Org.slug, Org.id).where(Org.slug.in_(slugs)))
    return _all_known("organisation", slugs, {row.slug: row.id for row in rows})


def _keys(session: Session, texts: Collection[str]) -> dict[str, UUID]:
    """Return the ids of keys by how they are written; raise `InvalidInput` for an unknown one."""
    wanted = {text: _key_id(text) for text in texts}
    found = set(session.scalars(select(ApiKey.id).where(ApiKey.id.in_(wanted.values()))))
    return _all_known("key", texts, {text: it for text, it in wanted.items() if it in found})


def _all_known(what: str, asked: Collection[str], known: dict[str, UUID]) -> dict[str, UUID]:
    if unknown := sorted(set(asked) - known.keys()):
        raise InvalidInput(
            f"There is no {what} {unknown[0]!r}.",
            problems=[Problem("records", f"There is no {what} {each!r}.") for each in unknown],
        )
    return known


def _key_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not the id of a key.") from None
