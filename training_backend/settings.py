"""What a worker is told by its environment variables, all prefixed `FREESOLO_TRAIN_`."""

import os
import socket
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from freesolo.runtime.sandbox import SandboxMode
from freesolo.services import LogLevel
from training_backend.sampling.choice import SamplerKind


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
        description="Who samples while a model practises: `in-process`, `vllm`, or `auto`: on a "
        "CPU the training process, if the model attends fully in every layer, else vLLM.",
    )
    vllm_url: str | None = Field(
        default=None,
        description="A vLLM server to sample with, on this machine's files; by default each job that "
        "needs one starts its own.",
    )
    vllm_api_key: SecretStr | None = Field(default=None, description="Key of that server.")
    log_level: LogLevel = Field(default="INFO", description="Least severe level that is logged.")
