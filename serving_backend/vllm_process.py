"""How a vLLM engine is started and ended on this machine."""

import asyncio
import hashlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from freesolo import processes
from freesolo.base_models.store import local_path
from freesolo.domain.catalog import BaseModelEntry
from freesolo.errors import EngineUnavailable
from serving_backend.engine import BASE_MODEL, Endpoint
from serving_backend.settings import ServingSettings

# The ranks that vLLM can reserve room for.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Adapters that one batch may mix, and how many stay in memory beside them.
_ADAPTERS_IN_BATCH = 4
_ADAPTERS_IN_MEMORY = 16
_STOP_GRACE_SECONDS = 10.0


@dataclass
class VllmProcess:
    """vLLM's own API server for one base model, in a session of its own, on a loopback port."""

    entry: BaseModelEntry
    settings: ServingSettings
    _child: subprocess.Popen[bytes] | None = None

    async def start(self) -> Endpoint:
        """Start vLLM on a free port with a new key; whatever ran before is ended first."""
        if importlib.util.find_spec("vllm") is None:
            raise EngineUnavailable(
                "vLLM is not installed beside this gateway.",
                hint="`make setup` in a checkout installs the build for this machine; with a GPU, "
                "`pip install 'freesolo[serve-gpu]'` does too. `freesolo doctor` tells what is there.",
            )
        await self.stop()
        model = await asyncio.to_thread(
            local_path, self.entry, self.settings.cache_dir, hf_token=self.settings.hf_token
        )
        endpoint = Endpoint(f"http://127.0.0.1:{_free_port()}", secrets.token_urlsafe(32))
        self._child = self._spawn(model, endpoint)
        return endpoint

    def is_alive(self) -> bool:
        """Say whether the API server runs; it ends itself when the engine behind it dies."""
        return self._child is not None and self._child.poll() is None

    async def ended(self) -> None:
        """Return when the API server has ended."""
        if self._child is not None:
            await asyncio.to_thread(self._child.wait)

    async def stop(self) -> None:
        """End the whole session, also one that a killed gateway has left behind."""
        await asyncio.to_thread(
            processes.stop_recorded, self._record, grace=_STOP_GRACE_SECONDS if self._child else 0
        )
        if self._child is not None:
            await asyncio.to_thread(self._child.wait)
            self._child = None

    @property
    def _record(self) -> Path:
        return _records(self.settings) / f"engine-{self._slug}.json"

    @property
    def _slug(self) -> str:
        # Orgs may give one name to different weights, each with an engine of its own.
        weights = f"{self.entry.revision} {self.entry.source.model_dump_json()}".encode()
        return f"{self.entry.id.replace('/', '--')}-{hashlib.sha256(weights).hexdigest()[:8]}"

    def _spawn(self, model: Path, endpoint: Endpoint) -> "subprocess.Popen[bytes]":
        on_gpu = shutil.which("nvidia-smi") is not None
        return processes.start(
            command_line(self.entry, self.settings, model, endpoint=endpoint, on_gpu=on_gpu),
            env=_environment(self.settings, endpoint),
            log=self.settings.data_dir / "logs" / f"engine-{self._slug}.log",
            record=self._record,
        )


def stop_leftovers(settings: ServingSettings) -> None:
    """End the engines of an earlier gateway on this data folder that could not end them itself."""
    for record in _records(settings).glob("engine-*.json"):
        processes.stop_recorded(record, grace=0)


def command_line(
    entry: BaseModelEntry,
    settings: ServingSettings,
    model: Path,
    *,
    endpoint: Endpoint,
    on_gpu: bool,
) -> list[str]:
    """Return the command that serves `model`, a folder, with run-time LoRA at `endpoint`."""
    options: dict[str, object] = {
        "host": "127.0.0.1",
        "port": endpoint.url.rpartition(":")[2],
        "model": model,
        "served-model-name": BASE_MODEL,
        "max-model-len": min(entry.context, settings.max_model_len),
        "max-lora-rank": next(rank for rank in _RANKS if rank >= entry.max_rank),
        "max-loras": _ADAPTERS_IN_BATCH,
        "max-cpu-loras": _ADAPTERS_IN_MEMORY,
        # OpenAI's defaults for what a request leaves out, not the model folder's.
        "generation-config": "vllm",
    }
    if not on_gpu:
        options |= {"dtype": "bfloat16", "max-num-seqs": 32}
    flags = ["enable-lora", "enable-prompt-tokens-details", "enable-scale-out"]
    return [
        sys.executable,
        "-m",
        # Not `vllm serve`, which asks for a distribution of that name; the CPU build has another.
        "vllm.entrypoints.openai.api_server",
        *(f"--{flag}" for flag in flags),
        *(text for name, value in options.items() for text in (f"--{name}", str(value))),
    ]


def _environment(settings: ServingSettings, endpoint: Endpoint) -> dict[str, str]:
    inherited = {
        name: value
        # Its search paths, devices and proxies; never the gateway's own key.
        for name, value in os.environ.items()  # noqa: TID251
        if not name.startswith("FREESOLO_")
    }
    return inherited | {
        "VLLM_API_KEY": endpoint.api_key,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_PLUGINS": "freesolo_cpu_lora",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(settings.kv_cache_gib),
        "HF_HUB_OFFLINE": "1",
        # Idle threads sleep instead of spinning on cores that others need.
        "OMP_WAIT_POLICY": "passive",
    }


def _records(settings: ServingSettings) -> Path:
    return settings.data_dir / "run"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
