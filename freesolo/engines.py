"""How vLLM is started on this machine: by the gateway to serve, by a training job to sample."""

import importlib.util
import os
import secrets
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The ranks that vLLM can reserve room for.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
INSTALL_HINT = (
    "`make setup` in a checkout installs the build for this machine; with a GPU, "
    "`pip install 'freesolo[serve-gpu]'` does too. `freesolo doctor` tells what is there."
)


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens, and the key it asks for. `life` names this life of it."""

    url: str
    api_key: str
    life: str = field(default_factory=lambda: secrets.token_hex(8))


def is_installed() -> bool:
    """Say whether this interpreter has vLLM."""
    return importlib.util.find_spec("vllm") is not None


def new_endpoint(host: str = "127.0.0.1") -> Endpoint:
    """Return a free address of this machine, and a key that nobody knows."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return Endpoint(f"http://{host}:{port}", secrets.token_urlsafe(32))


def rank_room(rank: int) -> int:
    """Return the smallest rank that vLLM can reserve and that holds an adapter of `rank`."""
    return next(room for room in _RANKS if room >= rank)


def command(
    model: Path, endpoint: Endpoint, *, flags: Iterable[str], options: Mapping[str, object]
) -> list[str]:
    """Return the command that serves `model`, a folder, with run-time LoRA at `endpoint`.

    An option whose value is a tuple is given once for each of them.
    """
    host, _, port = endpoint.url.removeprefix("http://").rpartition(":")
    everywhere = {
        "host": host,
        "port": port,
        "model": model,
        # OpenAI's defaults for what a request leaves out, not the model folder's.
        "generation-config": "vllm",
    }
    return [
        sys.executable,
        "-m",
        # Not `vllm serve`, which asks for a distribution of that name; the CPU build has another.
        "vllm.entrypoints.openai.api_server",
        *(f"--{flag}" for flag in ("enable-lora", *flags)),
        *(
            text
            for name, value in (everywhere | dict(options)).items()
            for each in (value if isinstance(value, tuple) else (value,))
            for text in (f"--{name}", str(each))
        ),
    ]


def environment(endpoint: Endpoint, *, kv_cache_gib: int) -> dict[str, str]:
    """Return the variables of an engine's process; the memory for contexts matters on a CPU only."""
    inherited = {
        name: value
        # Its search paths, devices and proxies; never a key of the platform.
        for name, value in os.environ.items()  # noqa: TID251
        if not name.startswith("FREESOLO_")
    }
    return inherited | {
        "VLLM_API_KEY": endpoint.api_key,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        # Nothing else that may be installed is loaded.
        "VLLM_PLUGINS": "freesolo_cpu_lora,freesolo_residency",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),
        "HF_HUB_OFFLINE": "1",
        # Longer than those who talk to it keep a connection: none is closed as it is used again.
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "60",
        # Idle threads sleep instead of spinning on cores that others need.
        "OMP_WAIT_POLICY": "passive",
    }
