"""What the hub does beside its requests: at its start, and a few times in the length of a lease."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from hub_server.billing import service as billing
from hub_server.dependencies import Resources
from hub_server.gateway import service as gateway
from hub_server.leases import service as leases
from hub_server.lifecycle import service as lifecycle
from hub_server.maintenance.collecting import collect
from hub_server.models import RequestRecord
from hub_server.replicas import service as replicas
from hub_server.runs import retention
from hub_server.runs import service as runs
from hub_server.webhooks import outbox

# How long a request may be repeated without being made again, and how often leftovers are removed.
_KEPT = timedelta(days=1)

logger = logging.getLogger(__name__)


@contextmanager
def upkeep(resources: Resources) -> Iterator[None]:
    """Take lost work back and write down what was used, keys and versions, while the block runs."""
    stopping = threading.Event()
    # What is too old is judged by when the hub began, however late the thread gets its turn.
    began = resources.clock()

    with _survived("leases not extended"), resources.sessions.begin() as session:
        extend_leases(session, now=began, lease_seconds=resources.settings.lease_seconds)

    def watch() -> None:
        with _survived("leftovers not removed"):
            sweep(resources, now=began)
        next_sweep = time.monotonic() + _KEPT.total_seconds()
        while not stopping.wait(resources.settings.lease_seconds / 3):
            with _survived("upkeep failed"):
                take_back_lost(resources)
            with _survived("checkpoints not dropped"):
                drop_checkpoints(resources)
            with _survived("uses of keys not written"):
                write_key_uses(resources)
            with _survived("uses of versions not written"):
                resources.uses.write(resources.sessions)
            if time.monotonic() >= next_sweep:
                with _survived("leftovers not removed"):
                    sweep(resources, now=resources.clock())
                next_sweep = time.monotonic() + _KEPT.total_seconds()

    thread = threading.Thread(target=watch, name="upkeep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        with _survived("uses of keys not written"):
            write_key_uses(resources)
        with _survived("uses of versions not written"):
            resources.uses.write(resources.sessions)


def extend_leases(session: Session, *, now: datetime, lease_seconds: float) -> None:
    """Give whoever has a lease, or holds money, its time to speak: a hub that was away heard nobody."""
    leases.extend_leases(session, now=now, lease_seconds=lease_seconds)
    gateway.extend_leases(session, now=now, lease_seconds=lease_seconds)
    replicas.extend_leases(session, now=now)
    billing.extend_holds(session, now=now)


def take_back_lost(resources: Resources) -> None:
    """Give back all work whose worker or gateway fell silent, each piece for itself."""
    now = resources.clock()
    with resources.readers() as session:
        runs = leases.lost_runs(session, now=now)
        deployments = gateway.lost_deployments(session, now=now)
    with _survived("holds not freed"), resources.sessions.begin() as session:
        billing.free_expired(session, now=now)
    with _survived("replicas not forgotten"), resources.sessions.begin() as session:
        replicas.forget_silent(session, now=now)
    for run_id in runs:
        with _survived("run not taken back", run=run_id), resources.sessions.begin() as session:
            leases.take_back(session, run_id, now=now)
    for deployment_id in deployments:
        with (
            _survived("deployment not taken back", deployment=deployment_id),
            resources.sessions.begin() as session,
        ):
            gateway.take_back(session, deployment_id, now=now)


def drop_checkpoints(resources: Resources) -> None:
    """Let go of what nobody resumes or serves any more; its bytes go with the next sweep."""
    keep = resources.settings.keep_adapters
    with resources.readers() as session:
        candidates = retention.candidates(session, keep_adapters=keep)
    for run_id in candidates:
        with (
            _survived("checkpoints not dropped", run=run_id),
            resources.sessions.begin() as session,
        ):
            retention.drop(session, run_id, keep_adapters=keep)


def write_key_uses(resources: Resources) -> None:
    """Write down when keys were last used, so far as it was noted since the last time."""
    with resources.sessions.begin() as session:
        resources.key_uses.write(session)


def sweep(resources: Resources, *, now: datetime) -> None:
    """Remove what was left over: requests nobody repeats, what was deleted, blobs nothing needs."""
    with resources.sessions.begin() as session:
        session.execute(delete(RequestRecord).where(RequestRecord.created_at < now - _KEPT))
        lifecycle.forget_deleted(session, now=now)
        outbox.forget_old(session, now=now)
        runs.forget_workers(session, now=now)
    collect(resources.sessions, resources.blobs, now=now)


@contextmanager
def _survived(message: str, **facts: str) -> Iterator[None]:
    """Log whatever goes wrong in the block and go on."""
    try:
        yield
    except Exception:
        # Nobody waits for this thread: if one row or one moment could end it, all lost work would
        # stay lost, and nothing would say so.
        logger.exception(message, extra=facts)
