"""The registry of engines: who lives, where, and what they serve, under leases."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from freesolo.schemas import replicas as wire
from hub_server.encryption import Vault
from hub_server.models import Replica

# A host renews several times within this. Gateways that meet a dead engine pass it over at once.
LEASE_SECONDS = 10.0


def announce(
    session: Session, life: str, new: wire.NewReplica, *, vault: Vault, now: datetime
) -> None:
    """Make an engine known, or renew its lease."""
    replica = session.get(Replica, life, with_for_update=True)
    if replica is None:
        replica = Replica(life=life, started_at=now)
        session.add(replica)
    replica.base_model = new.base_model
    replica.served_as = new.served_as
    replica.url = new.url
    replica.host_url = new.host_url
    replica.encrypted_key = vault.encrypt(new.api_key)
    replica.state = new.state
    replica.lease_until = now + timedelta(seconds=LEASE_SECONDS)


def leave(session: Session, life: str) -> None:
    """Forget an engine that has ended."""
    session.execute(delete(Replica).where(Replica.life == life))


def living(session: Session, *, now: datetime) -> Sequence[Replica]:
    """Return the engines whose lease holds, in a settled order."""
    return session.scalars(
        select(Replica).where(Replica.lease_until >= now).order_by(Replica.life)
    ).all()


def extend_leases(session: Session, *, now: datetime) -> None:
    """Give every host a lease's time to speak."""
    until = now + timedelta(seconds=LEASE_SECONDS)
    session.execute(update(Replica).where(Replica.lease_until < until).values(lease_until=until))


def forget_silent(session: Session, *, now: datetime) -> None:
    """Forget engines that ended without a word."""
    session.execute(delete(Replica).where(Replica.lease_until < now))


def view(replica: Replica, vault: Vault) -> wire.Replica:
    """Return an engine as gateways see it, with the key it asks for."""
    return wire.Replica(
        life=replica.life,
        base_model=replica.base_model,
        served_as=replica.served_as,
        url=replica.url,
        host_url=replica.host_url,
        api_key=vault.decrypt(replica.encrypted_key),
        state=replica.state,
        started_at=replica.started_at,
    )
