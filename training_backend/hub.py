"""The hub as the holder of a lease sees it: claim, keep alive, report, store and fetch blobs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from freesolo.client.transport import Transport
from freesolo.domain.devices import Devices
from freesolo.domain.watchdog import Phase
from freesolo.errors import HubUnavailable, StorageFull, Unavailable
from freesolo.package.archive import Archive
from freesolo.schemas.base import Artifact
from freesolo.schemas.leases import (
    LEASE_HEADER,
    Claim,
    Collection,
    Completion,
    EventBatch,
    Failure,
    Heartbeat,
    Lease,
    LeaseSecrets,
    LeaseStatus,
    NewCheckpoint,
    Release,
    Started,
)
from freesolo.schemas.runs import NewEvent, RunError
from freesolo.schemas.secrets import SentSecret

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class RunSecrets:
    """The secrets of a run: what its environment gets, and what the training process keeps."""

    environment: Mapping[str, str] = field(repr=False)
    job: Mapping[str, str] = field(repr=False)


class LeaseHub:
    """Calls that carry a worker's key.

    While the hub does not answer, what must be told or fetched is tried again for `patience`
    seconds, then `HubUnavailable` is raised; `claim`, `look`, `heartbeat` and `release` raise
    `Unavailable` at once, because their caller comes back anyway, and so does `collect`, which cannot
    be repeated. Every call on a lease raises `LeaseLost` once the run is no longer ours.
    """

    def __init__(self, transport: Transport, *, patience: float = 0.0) -> None:
        self._transport = transport
        self._patience = patience

    def claim(self, worker_id: str, devices: Devices) -> Lease | None:
        """Take the next waiting run that `devices` can serve, or return None if there is none."""
        claim = Claim(
            worker_id=worker_id,
            device_type=devices.type,
            device_count=devices.count,
        )
        response = self._transport.request("POST", "/v1/leases/claim", json_body=claim.model_dump())
        return Lease.model_validate_json(response.content) if response.content else None

    def collect(self, run_id: str, ticket: str) -> Lease:
        """Get the lease for which a worker gave this process the ticket."""
        body = Collection(ticket=ticket).model_dump()
        # Not patiently: a ticket counts once, so after a lost answer a second try would be told that
        # the lease is lost. As it is the job ends, and its worker gives the run back to be tried again.
        response = self._transport.request("POST", f"/v1/leases/{run_id}/collect", json_body=body)
        return Lease.model_validate_json(response.content)

    def look(self, lease: Lease) -> LeaseStatus:
        """Learn whether a run is to stop and what its job says. This keeps no lease."""
        response = self._transport.request(
            "GET", f"/v1/leases/{lease.run_id}", headers={LEASE_HEADER: lease.token}
        )
        return LeaseStatus.model_validate_json(response.content)

    def heartbeat(self, lease: Lease) -> Heartbeat:
        """Extend a lease and learn whether its run is to stop."""
        return Heartbeat.model_validate_json(self._post(lease, "heartbeat"))

    def release(self, lease: Lease, *, reason: RunError | None = None) -> None:
        """Give a run back unfinished: to the queue, or to its end if its owner cancelled it."""
        self._post(lease, "release", Release(reason=reason))

    def started(self, lease: Lease, started: Started) -> None:
        """Say that the run trains now."""
        self._patiently(lambda: self._post(lease, "start", started))

    def send_events(
        self,
        lease: Lease,
        events: Sequence[NewEvent],
        *,
        first: int,
        phase: Phase | None = None,
    ) -> None:
        """Append events to the run, and say what it is doing.

        `first` is how many this attempt sent before them.
        """
        body = EventBatch(first=first, events=list(events), phase=phase)
        self._patiently(lambda: self._post(lease, "events", body))

    def add_checkpoint(self, lease: Lease, checkpoint: NewCheckpoint) -> None:
        """Record a checkpoint whose two blobs are stored."""
        self._patiently(lambda: self._post(lease, "checkpoints", checkpoint))

    def complete(self, lease: Lease, step: int) -> None:
        """End the run well, with the checkpoint of `step` as its result."""
        self._patiently(lambda: self._post(lease, "complete", Completion(step=step)))

    def fail(self, lease: Lease, failure: Failure) -> None:
        """End this attempt badly."""
        self._patiently(lambda: self._post(lease, "fail", failure))

    def store(self, archive: Archive) -> Artifact:
        """Upload an archive under its digest and return its description."""
        self._patiently(
            lambda: self._transport.request(
                "PUT", f"/v1/blobs/{archive.archive_digest}", upload=archive.path
            )
        )
        return Artifact(
            tree_digest=archive.tree_digest,
            archive_digest=archive.archive_digest,
            size=archive.size,
        )

    def fetch(self, digest: str, destination: Path) -> None:
        """Download the blob `digest` to a file."""
        self._patiently(lambda: self._transport.download(f"/v1/blobs/{digest}", destination))

    def secrets(self, lease: Lease) -> RunSecrets:
        """Return the secrets of a run, which are kept in memory only."""
        path = f"/v1/leases/{lease.run_id}/secrets"
        headers = {LEASE_HEADER: lease.token}
        response = self._patiently(lambda: self._transport.request("GET", path, headers=headers))
        found = LeaseSecrets.model_validate_json(response.content)
        return RunSecrets(environment=_in_clear(found.secrets), job=_in_clear(found.job))

    def _post(self, lease: Lease, action: str, body: BaseModel | None = None) -> bytes:
        response = self._transport.request(
            "POST",
            f"/v1/leases/{lease.run_id}/{action}",
            json_body=body.model_dump(mode="json") if body else None,
            headers={LEASE_HEADER: lease.token},
        )
        return response.content

    def _patiently(self, call: Callable[[], _Answer]) -> _Answer:
        retrying = Retrying(
            retry=retry_if_exception(_passes),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            stop=stop_after_delay(self._patience),
            reraise=True,
        )
        try:
            answer: _Answer = retrying(call)
        except Unavailable as error:
            if self._patience and _passes(error):
                raise HubUnavailable(
                    f"The hub did not answer for {self._patience:.0f} s: {error.message}",
                    hint="Once it is back, the run goes on from its newest checkpoint.",
                ) from error
            raise
        return answer


def _in_clear(secrets: Mapping[str, SentSecret]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in secrets.items()}


def _passes(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and not isinstance(error, StorageFull)
