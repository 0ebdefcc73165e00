"""What a worker is told by its environment variables, all prefixed `FREESOLO_TRAIN_`."""

import os
import socket
from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from freesolo.domain.watchdog import Patience
from freesolo.runtime.sandbox import SandboxMode
from freesolo.services import LogLevel
from training_backend.sampling.choice import SamplerKind


class ExecutorKind(StrEnum):
    """Where attempts run."""

    LOCAL = "local"
    RAY = "ray"


class TrainingSettings(BaseSettings):
    """Configuration of one worker, and of the jobs it starts."""

    model_config = SettingsConfigDict(
        env_prefix="FREESOLO_TRAIN_", frozen=True, env_ignore_empty=True
    )

    hub_url: str = Field(default="http://127.0.0.1:8420", description="Address of the hub.")
    api_key: SecretStr = Field(description="Service key with the scope `worker`.")
    cache_dir: Path = Field(
        default=Path.home() / ".freesolo" / "cache",
        description="Folder for environments, their virtual environments and base models; "
        "may be shared with other processes.",
    )
    work_dir: Path = Field(
        default=Path.home() / ".freesolo" / "worker",
        description="Folder of this worker alone; what it holds can be lost.",
    )
    worker_id: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        description="Name under which the worker holds leases; by default host and process id.",
    )
    hf_token: SecretStr | None = Field(
        default=None,
        description="Token for models of the Hugging Face hub that are gated or private; every org "
        "that may add base models reaches what it can read. By default the one that `hf auth login` "
        "or HF_TOKEN left.",
    )
    executor: ExecutorKind = Field(
        default=ExecutorKind.LOCAL,
        description="Where runs are trained: `local` in processes of the worker's machine, `ray` as "
        "jobs of a Ray cluster.",
    )
    ray_address: str | None = Field(
        default=None,
        description="Address of the Ray cluster's dashboard, such as `http://ray-head:8265`.",
    )
    ray_patience_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Seconds for which Ray may be silent before the runs it trains are lost.",
    )
    concurrency: int = Field(
        default=1, ge=1, le=256, description="How many runs the worker attends at once."
    )
    device_type: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Name of the devices that runs are trained on, such as `H200` or `cpu`; by "
        "default that of the accelerators in this machine.",
    )
    device_count: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="How many of them the worker has for its runs, one for each; by default all.",
    )
    starting_seconds: float = Field(
        default=1800.0, gt=0, description="Seconds after which a run that has not begun has hung."
    )
    step_seconds: float = Field(
        default=1800.0,
        gt=0,
        description="Seconds after which a step has hung, unless the run's steps take so long that "
        "ten times their median is more.",
    )
    checkpoint_seconds: float = Field(
        default=1800.0, gt=0, description="Seconds after which saving a checkpoint has hung."
    )
    threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        description="Threads of a training process; by default one for each core.",
    )
    poll_seconds: float = Field(
        default=1.0, gt=0, description="Seconds between two looks for a waiting run."
    )
    sandbox: SandboxMode = Field(
        default=SandboxMode.AUTO,
        description="Whether environment code must run in a sandbox.",
    )
    sampler: SamplerKind = Field(
        default=SamplerKind.AUTO,
        description="Who samples while a model practises: `in-process`, `vllm`, or `auto`: in the "
        "training process with a model that attends fully in every layer, unless there is a GPU and "
        "vLLM is installed; else vLLM.",
    )
    vllm_url: str | None = Field(
        default=None,
        description="A vLLM server to sample with, on this machine's files; by default each job that "
        "needs one starts its own.",
    )
    vllm_api_key: SecretStr | None = Field(default=None, description="Key of that server.")
    log_level: LogLevel = Field(default="INFO", description="Least severe level that is logged.")

    @property
    def patience(self) -> Patience:
        """How long each part of an attempt may take."""
        return Patience(self.starting_seconds, self.step_seconds, self.checkpoint_seconds)
