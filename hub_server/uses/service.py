"""How often versions are downloaded and trained on: noted without waiting, written now and then."""

import datetime as dt
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from freesolo.domain.refs import EnvRef
from freesolo.domain.roles import EnvironmentRole, may
from freesolo.domain.selection import newest_first
from freesolo.schemas import uses as wire
from freesolo.schemas.uses import UseKind
from hub_server.accounts.service import Member
from hub_server.db import insert_if_absent
from hub_server.environments import service as environments
from hub_server.models import Environment, EnvironmentVersion, VersionState, VersionUse

_TOLD = dt.timedelta(days=90)

# A version, how it was used, and when.
Use = tuple[UUID, UseKind, dt.date]


class UseCounter:
    """Uses in memory until they are written: noting one never waits for the database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: Counter[Use] = Counter()

    def note(self, version_id: UUID, kind: UseKind, *, on: dt.date) -> None:
        """Count one use."""
        with self._lock:
            self._noted[version_id, kind, on] += 1

    def write(self, sessions: sessionmaker[Session]) -> None:
        """Write what was noted, all or nothing; what cannot be written now is kept for later."""
        with self._taken() as noted:
            if noted:
                with sessions.begin() as session:
                    _write(session, noted)

    @contextmanager
    def _taken(self) -> Iterator[Counter[Use]]:
        with self._lock:
            noted, self._noted = self._noted, Counter()
        try:
            yield noted
        except BaseException:
            with self._lock:
                self._noted += noted
            raise


def uses_of(
    session: Session, visitor: Member | None, ref: EnvRef, *, today: dt.date
) -> wire.EnvironmentUses:
    """Return how often the versions that the visitor may see were used in the last 90 days."""
    environment = environments.find(session, visitor, ref)
    since = today - _TOLD + dt.timedelta(days=1)
    query = environments.versions_of(environment)
    if not may(environments.role_in(session, visitor, environment), EnvironmentRole.WRITER):
        query = query.where(EnvironmentVersion.state == VersionState.PUBLISHED)
    versions = {version.version: version.id for version in session.scalars(query)}
    days = _days(session, environment, since)
    return wire.EnvironmentUses(
        ref=environments.full_name(environment),
        since=since,
        versions=[_total(text, days[versions[text]]) for text in newest_first(versions)],
    )


def _write(session: Session, noted: Mapping[Use, int]) -> None:
    rows = session.execute(
        select(EnvironmentVersion.id, EnvironmentVersion.environment_id).where(
            EnvironmentVersion.id.in_({version_id for version_id, _, _ in noted})
        )
    )
    environment_of = dict(rows.all())
    # A staged version may be gone since it was used. In one order, so that no two hubs deadlock.
    known = sorted(use for use in noted if use[0] in environment_of)
    keys = [{"version_id": version_id, "kind": kind, "day": day} for version_id, kind, day in known]
    insert_if_absent(session, VersionUse, [{**key, "count": 0} for key in keys])
    downloads: Counter[UUID] = Counter()
    for use, key in zip(known, keys, strict=True):
        row = update(VersionUse).filter_by(**key)
        session.execute(row.values(count=VersionUse.count + noted[use]))
        if use[1] is UseKind.DOWNLOAD:
            downloads[environment_of[use[0]]] += noted[use]
    for environment_id, count in sorted(downloads.items()):
        row = update(Environment).where(Environment.id == environment_id)
        session.execute(row.values(downloads=Environment.downloads + count))


def _days(
    session: Session, environment: Environment, since: dt.date
) -> Mapping[UUID, dict[dt.date, dict[str, int]]]:
    found = session.scalars(
        select(VersionUse)
        .join(EnvironmentVersion, EnvironmentVersion.id == VersionUse.version_id)
        .where(EnvironmentVersion.environment_id == environment.id, VersionUse.day >= since)
        .order_by(VersionUse.day)
    )
    days: defaultdict[UUID, defaultdict[dt.date, dict[str, int]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for use in found:
        days[use.version_id][use.day][use.kind] = use.count
    return days


def _total(version: str, days: Mapping[dt.date, Mapping[str, int]]) -> wire.VersionUses:
    daily = [
        wire.DailyUses(
            day=day,
            downloads=counts.get(UseKind.DOWNLOAD, 0),
            runs=counts.get(UseKind.RUN, 0),
        )
        for day, counts in days.items()
    ]
    return wire.VersionUses(
        version=version,
        downloads=sum(day.downloads for day in daily),
        runs=sum(day.runs for day in daily),
        days=daily,
    )
