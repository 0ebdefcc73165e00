"""One attempt at one run, in a process of its own."""

import errno
import logging
import os
import shutil
import traceback
from functools import partial
from pathlib import Path
from typing import Protocol

from freesolo.base_models.store import local_path
from freesolo.domain.refs import EnvRef
from freesolo.errors import (
    EnvironmentFailed,
    FreesoloError,
    HubUnavailable,
    Internal,
    LeaseLost,
    OutOfMemory,
    StorageFull,
)
from freesolo.package.cache import cached_environment
from freesolo.package.checks import Severity, check_gold
from freesolo.package.resolution import identity
from freesolo.runtime.client import EnvironmentHost, Foundation, HostOptions, open_host
from freesolo.schemas.adapters import PinnedAdapter
from freesolo.schemas.environments import PinnedEnvironment, ResolvedVersion
from freesolo.schemas.leases import Lease, PinnedTeacher
from training_backend.checkpoints import restore, unpack_adapter
from training_backend.hub import LeaseHub
from training_backend.machine import find_machine
from training_backend.post_mortem import MORE_MEMORY
from training_backend.progress import RunProgress
from training_backend.recipes import RECIPES
from training_backend.recipes.task import Task
from training_backend.sampling.choice import SamplingOptions
from training_backend.settings import TrainingSettings
from training_backend.trackers import open_trackers, require_trackers

logger = logging.getLogger(__name__)

# Bytes that a disk which is not full has left.
_FULL = 1 << 20


def run_job(lease: Lease, hub: LeaseHub, *, settings: TrainingSettings, work_dir: Path) -> None:
    """Train the run of `lease` and report how it ended.

    Returns once the hub knows the outcome, good or bad. Raise `LeaseLost` if the run is no longer
    ours, and `HubUnavailable` if the hub cannot be told.
    """
    progress = RunProgress(hub, lease, find_machine=find_machine)
    try:
        step = train(lease, hub, progress=progress, settings=settings, work_dir=work_dir)
        progress.complete(step)
    except (LeaseLost, HubUnavailable):
        raise
    except FreesoloError as error:
        logger.warning("run failed", extra={"code": error.code, "reason": error.message})
        progress.fail(error)
    except Exception as error:
        # The outermost frame: what nobody foresaw reaches the run's owner all the same.
        logger.exception("run failed")
        progress.fail(explain(error, work_dir), log=traceback.format_exc())


def train(
    lease: Lease,
    hub: LeaseHub,
    *,
    progress: RunProgress,
    settings: TrainingSettings,
    work_dir: Path,
) -> int:
    """Do all the work of an attempt; return the step whose checkpoint is the result."""
    require_trackers(lease)
    # Straight from the hub to where they are needed: in no file, command line or environment of ours.
    secrets = hub.secrets(lease)
    progress.track(open_trackers(lease, secrets.job, work_dir))
    folder = fetch_environment(lease.environment, hub, settings.cache_dir)
    wanted = lease.spec.environment
    options = HostOptions(
        cache_dir=settings.cache_dir,
        sandbox=settings.sandbox,
        call_timeout=wanted.timeout_seconds,
    )
    foundation = fetch_foundation(lease.environment, hub, settings.cache_dir)
    with open_host(
        folder,
        options,
        params=wanted.params,
        requirements=wanted.pip,
        secrets=secrets.environment,
        foundation=foundation,
    ) as host:
        progress.opened(host.installed())
        progress.log(f"The environment runs with {', '.join(host.layers)}.")
        refuse_bad_rewards(host, thinking=lease.spec.thinking)
        fetch_model = partial(
            local_path,
            cache_dir=settings.cache_dir,
            tell=progress.log,
            hf_token=settings.hf_token,
        )
        model_folder = fetch_model(lease.model)
        resume_from = fetch_checkpoint(lease, hub, work_dir)
        teacher = lease.teacher
        # Importing torch alone takes seconds.
        progress.log("Loading the base model.")
        recipe = RECIPES[lease.spec.algorithm]
        return recipe(
            Task(
                lease=lease,
                host=host,
                model_folder=model_folder,
                work_dir=work_dir,
                progress=progress,
                machine=find_machine(),
                resume_from=resume_from,
                warm_start=fetch_warm_start(lease, hub, work_dir, resume_from=resume_from),
                teacher_model=fetch_model(teacher.model) if teacher else None,
                teacher_adapter=fetch_teacher(teacher, hub, work_dir) if teacher else None,
                secrets=secrets.job,
                sampling=SamplingOptions(
                    settings.sampler, settings.vllm_url, settings.vllm_api_key
                ),
            )
        )


def fetch_environment(wanted: ResolvedVersion, hub: LeaseHub, cache_dir: Path) -> Path:
    """Return the folder of a pinned environment, from the cache or else from the hub."""
    return cached_environment(
        wanted, cache_dir, download=lambda archive: hub.fetch(wanted.archive_digest, archive)
    )


def fetch_foundation(pinned: PinnedEnvironment, hub: LeaseHub, cache_dir: Path) -> Foundation:
    """Fetch the environments that a pinned one builds on."""
    return Foundation(
        {
            identity(EnvRef.parse(version.ref)).module: fetch_environment(version, hub, cache_dir)
            for version in pinned.builds_on
        }
    )


def fetch_checkpoint(lease: Lease, hub: LeaseHub, work_dir: Path) -> Path | None:
    """Rebuild the trainer's folder of the newest checkpoint, if the run has one."""
    if lease.resume is None:
        return None
    adapter, state = work_dir / "adapter.tar.zst", work_dir / "state.tar.zst"
    hub.fetch(lease.resume.adapter.archive_digest, adapter)
    hub.fetch(lease.resume.state.archive_digest, state)
    return restore(
        lease.resume, adapter, state, folder=work_dir / f"checkpoint-{lease.resume.step}"
    )


class Blobs(Protocol):
    """Where bytes are fetched from by their digest; a `LeaseHub`."""

    def fetch(self, digest: str, destination: Path) -> None:
        """Download the blob `digest` to a file."""


def fetch_warm_start(
    lease: Lease, blobs: Blobs, work_dir: Path, *, resume_from: Path | None
) -> Path | None:
    """Return the folder of the adapter that this attempt goes on from, None for a fresh one.

    Once an attempt has saved something, that is it: an adapter of the same shape, and newer.
    """
    if lease.warm_start is None:
        return None
    return resume_from or fetch_adapter(
        lease.warm_start, blobs, base_model=lease.model.id, folder=work_dir / "warm-start"
    )


def fetch_teacher(teacher: PinnedTeacher, blobs: Blobs, work_dir: Path) -> Path | None:
    """Return the folder of the adapter that teaches, if one does."""
    if teacher.adapter is None:
        return None
    return fetch_adapter(
        teacher.adapter, blobs, base_model=teacher.model.id, folder=work_dir / "teacher"
    )


def fetch_adapter(pinned: PinnedAdapter, blobs: Blobs, *, base_model: str, folder: Path) -> Path:
    """Fetch an adapter into a new folder, which is checked to be what was pinned."""
    archive = folder.with_suffix(".tar.zst")
    blobs.fetch(pinned.archive_digest, archive)
    return unpack_adapter(pinned, archive, base_model=base_model, folder=folder)


def refuse_bad_rewards(host: EnvironmentHost, *, thinking: bool) -> None:
    """Refuse an environment whose reward cannot score its own gold answers, or gives them nothing.

    Raise `EnvironmentFailed` with the author's traceback.
    """
    for finding in check_gold(host, thinking=thinking):
        if finding.severity is Severity.ERROR:
            raise EnvironmentFailed(
                finding.message,
                hint="`freesolo validate` finds this before a run is submitted.",
                traceback=finding.traceback,
            )


def explain(error: Exception, work_dir: Path) -> FreesoloError:
    """Say what an unforeseen error means to the run's owner."""
    # torch has an exception of its own for a full disk, and does not name the reason.
    if os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(work_dir).free < _FULL:
        return StorageFull(
            f"The worker's disk is full: {work_dir}.",
            hint="Free some space and start the run again; its checkpoints are safe in the hub.",
        )
    # A class of torch's, which this module does not import.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory(f"The training process ran out of memory: {error}.", hint=MORE_MEMORY)
    return Internal("The training process met a fault of ours; the run's log has the details.")
