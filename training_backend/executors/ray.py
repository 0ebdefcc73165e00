"""Attempts as jobs of a Ray cluster that is there already.

Ray only executes: whether an attempt is alive, lost, or made again, is decided by the worker and
written down by the hub. A job that Ray loses with its head or a node is a lost attempt.

Everything about a job is shown to whoever may look at the cluster, so it is started with nothing but
a ticket. The nodes have the settings of a worker, with a key to the hub; with both, a job collects its
lease from the hub itself, once.
"""

import logging
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import requests
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from ray.util.state import list_nodes
from ray.util.state.exception import RayStateApiException

from freesolo.domain.devices import Devices
from freesolo.errors import InvalidInput, Unavailable
from freesolo.schemas.leases import Lease, ticket_of
from training_backend.executors.environment import job_environment
from training_backend.executors.local import read_lease, write_lease
from training_backend.post_mortem import Exit
from training_backend.settings import TrainingSettings

logger = logging.getLogger(__name__)

_LOG_TAIL = 4000
# Seconds that Ray may take to answer a question, or to do something: a machine that is gone says
# nothing.
_TIMEOUT = 10.0
_LONG_TIMEOUT = 60.0
# Between two questions about a job.
_LOOK_SECONDS = 1.0
# How long a job may take to end after it was asked to.
_GRACE = 15.0
_LEASES = "ray"
# Why a job failed that waited for a place for as long as Ray lets it.
_WAITED_IN_VAIN = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"

# So much of each kind, as Ray names them.
Resources = Mapping[str, float]


class RayClient(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, which by itself waits without end for an answer."""

    def node_resources(self) -> list[Resources]:
        """Return all that each node has, what is taken of it too."""
        nodes = list_nodes(self._address, timeout=int(_TIMEOUT), raise_on_missing_output=False)
        return [node.resources_total for node in nodes if node.state == "ALIVE"]

    def _do_request(self, method: str, endpoint: str, **kwargs: object) -> requests.Response:
        timeout = _TIMEOUT if method == "GET" else _LONG_TIMEOUT
        response: requests.Response = super()._do_request(
            method, endpoint, timeout=timeout, **kwargs
        )
        return response


def open_ray(settings: TrainingSettings, devices: Devices) -> "RayExecutor":
    """Return the executor on the cluster of the settings; raise `InvalidInput` if it is not there."""
    if settings.ray_address is None:
        raise InvalidInput(
            "The executor `ray` needs the address of a cluster.",
            hint="FREESOLO_TRAIN_RAY_ADDRESS is that of its dashboard, such as "
            "http://ray-head:8265.",
        )
    try:
        client = RayClient(settings.ray_address)
    except (OSError, RuntimeError) as error:
        raise InvalidInput(
            f"There is no Ray cluster at {settings.ray_address}: {error}",
            hint="FREESOLO_TRAIN_RAY_ADDRESS is the address of its dashboard, such as "
            "http://ray-head:8265.",
        ) from None
    return RayExecutor(client, settings, devices)


class RayExecutor:
    """Starts each attempt as a job named after it. An `Executor`.

    What this worker started is noted in its folder, so that after a `kill -9` the next one can end it.
    """

    def __init__(self, client: RayClient, settings: TrainingSettings, devices: Devices) -> None:
        self._client = client
        self._settings = settings
        self._wanted = {"CPU": settings.threads, "GPU": 0 if devices.is_cpu else 1}

    def start(self, lease: Lease) -> "RayAttempt":
        """Start the attempt that a lease is for."""
        name = f"{lease.run_id}-{lease.attempt}"
        noted = self._leases / f"{name}.json"
        noted.parent.mkdir(parents=True, exist_ok=True)
        # First: a job without a note would be nobody's.
        write_lease(noted, lease)
        command = ("python", "-m", "training_backend", "remote-job")
        ticket = ticket_of(lease.token)
        try:
            self._client.submit_job(
                submission_id=name,
                entrypoint=f"exec {shlex.join([*command, lease.run_id, ticket])}",
                entrypoint_num_cpus=self._wanted["CPU"],
                entrypoint_num_gpus=self._wanted["GPU"],
                runtime_env={
                    "env_vars": job_environment(lease, {}, threads=self._settings.threads)
                },
            )
        except RuntimeError as error:
            noted.unlink()
            raise Unavailable(f"Ray did not take the job {name}: {_first_line(error)}") from None
        except OSError as error:
            # It may have taken it all the same; looking after it will tell.
            logger.warning("no answer to a job", extra={"job": name, "reason": _first_line(error)})
        patience = self._settings.ray_patience_seconds
        return RayAttempt(self._client, name, noted, wanted=self._wanted, patience=patience)

    def sweep(self) -> Sequence[Lease]:
        """End the jobs that a worker which was killed had started from this folder."""
        leases = []
        for noted in self._leases.glob("run-*.json"):
            RayAttempt(self._client, noted.stem, noted, wanted={}, patience=0.0).stop()
            leases += read_lease(noted)
            noted.unlink()
        return leases

    @property
    def _leases(self) -> Path:
        return self._settings.work_dir / _LEASES


class RayAttempt:
    """One job of a cluster. An `Attempt`."""

    def __init__(
        self, client: RayClient, name: str, noted: Path, *, wanted: Resources, patience: float
    ) -> None:
        self._client = client
        self._name = name
        self._noted = noted
        self._wanted = wanted
        self._patience = patience
        self._begun = False
        self._looked_at = -_LOOK_SECONDS
        self._answered_at = time.monotonic()

    def poll(self) -> Exit | None:
        """Return how the job ended; lost counts as ended, if Ray is silent for too long."""
        now = time.monotonic()
        if now < self._looked_at + _LOOK_SECONDS:
            return None
        self._looked_at = now
        try:
            job = self._client.get_job_info(self._name)
        except (OSError, RuntimeError) as error:
            # A head that was started anew knows no job of before.
            if "does not exist" in str(error):
                return Exit(None, reason="Ray does not know its job any more.", began=self._begun)
            if now < self._answered_at + self._patience:
                return None
            silent = f"Ray has not answered for {self._patience:.0f} s ({_first_line(error)})."
            return Exit(None, reason=silent, began=self._begun)
        self._answered_at = now
        # Ray says RUNNING as soon as the job has its place.
        self._begun |= job.status is JobStatus.RUNNING or job.driver_exit_code is not None
        if not job.status.is_terminal():
            return None
        if job.driver_exit_code is not None:
            return Exit(job.driver_exit_code, began=True)
        if job.status is JobStatus.SUCCEEDED:
            return Exit(0, began=True)
        if not self._begun:
            return self._why_not_begun(job)
        return Exit(None, reason=_first_line(job.message or job.status), began=True)

    def _why_not_begun(self, job: JobDetails) -> Exit:
        """Tell a cluster that is full, which passes, from one that will never have a place for the job.

        Ray gives up on both alike, after a time of its own.
        """
        if job.error_type != _WAITED_IN_VAIN:
            return Exit(
                None, reason=_first_line(job.message or job.status), began=False, refused=True
            )
        try:
            lack = what_no_node_has(self._wanted, self._client.node_resources())
        except (OSError, RuntimeError, RayStateApiException):
            # Nothing is held against a run on a guess.
            lack = None
        busy = "the Ray cluster had no room for it, and Ray has given up waiting."
        return Exit(None, reason=lack or busy, began=False, refused=lack is not None)

    def has_begun(self) -> bool:
        """Say whether the job has got its place in the cluster."""
        return self._begun

    def stop(self) -> None:
        """End the job; return when Ray says that it is over, or does not answer."""
        with suppress(OSError, RuntimeError):
            self._client.stop_job(self._name)
            deadline = time.monotonic() + _GRACE
            while not self._client.get_job_status(self._name).is_terminal():
                if time.monotonic() > deadline:
                    logger.warning("job does not end", extra={"job": self._name})
                    return
                time.sleep(0.1)

    def log_tail(self) -> str:
        """Return the end of what the job printed, if Ray still has it."""
        with suppress(OSError, RuntimeError):
            return str(self._client.get_job_logs(self._name))[-_LOG_TAIL:]
        return ""

    def forget(self) -> None:
        """Remove the note of it."""
        self._noted.unlink(missing_ok=True)


def what_no_node_has(wanted: Resources, nodes: Sequence[Resources]) -> str | None:
    """Say how a job's wish is too large for each node of a cluster, None if it fits into an empty one."""
    if any(all(has.get(kind, 0) >= count for kind, count in wanted.items()) for has in nodes):
        return None
    largest = max(nodes, key=lambda has: [has.get(kind, 0) for kind in ("GPU", "CPU")], default={})
    offered = _in_words({kind: largest.get(kind, 0) for kind in wanted})
    return (
        f"no node of the Ray cluster has {_in_words(wanted)}, which a job asks for; the largest has "
        f"{offered}."
    )


def _in_words(resources: Resources) -> str:
    return " and ".join(f"{count:g} {kind}" for kind, count in resources.items())


def _first_line(what: object) -> str:
    return (str(what).strip().splitlines() or [""])[0][:300]
